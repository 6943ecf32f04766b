package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

// How often is looked whether there is a certificate, and asked again for one:
// ACME servers count failures, so the pause doubles.
const (
	acmeLook       = time.Hour
	acmeFirstPause = 70 * time.Second // autocert remembers a failure for a minute
	acmeTimeout    = 30 * time.Second // for one request to the ACME server
)

const acmeCure = "see whether the ACME server reaches this registry under its name (port 443, or 80 with acme.http_listen), and acme.directory, acme.ca_file and the clock; it is tried again by itself"

// An acmeSource is where the listener's certificates come from when an ACME
// server gives them. Handshakes only take what is there: a stranger cannot make
// us ask for a certificate, nor wait for one. Safe for concurrent use.
type acmeSource struct {
	manager *autocert.Manager
	hosts   []string
	stop    func() // breaks off what is asked of the ACME server
	now     func() time.Time
	log     *slog.Logger

	mu    sync.Mutex
	ready map[string]bool // there is a certificate for the host
}

// openACME takes the listener's certificates from an ACME server, if that is
// configured.
func (s *Server) openACME(sealer *token.Sealer) (err error) {
	c := s.config
	if !c.ACME.AcceptTerms {
		return nil
	}
	cache := newACMECache(s.rooms.db.ACME(), sealer, c.ACME.Directory, s.now, s.log)
	if s.acme.source, err = newACME(c, cache, s.now, s.log); err != nil {
		return err
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.acme.source.get, NextProtos: []string{acme.ALPNProto}}
	return nil
}

// newACME makes the source; watch fetches certificates.
func newACME(c config.Config, cache autocert.Cache, now func() time.Time, log *slog.Logger) (*acmeSource, error) {
	done := make(chan struct{})
	client, err := acmeHTTP(done, c.ACME.CAFile, log)
	if err != nil {
		return nil, err
	}
	binding, err := acmeBinding(c.ACME)
	if err != nil {
		return nil, err
	}
	a := &acmeSource{hosts: c.ACMEHosts(), now: now, log: log, ready: map[string]bool{}}
	a.stop = sync.OnceFunc(func() { close(done) })
	a.manager = &autocert.Manager{
		Prompt:                 autocert.AcceptTOS, // acme.accept_terms is what made us
		Cache:                  cache,
		HostPolicy:             a.mayAsk,
		Email:                  c.ACME.Email,
		ExternalAccountBinding: binding,
		Client:                 &acme.Client{DirectoryURL: c.ACME.Directory, HTTPClient: client, UserAgent: "sallyport"},
	}
	return a, nil
}

// acmeHTTP returns the client that speaks to the ACME server.
func acmeHTTP(done <-chan struct{}, caFile string, log *slog.Logger) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, cannot("name the PEM file with the ACME server's authority", "acme.ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, cannot("name the PEM file with the ACME server's authority", "acme.ca_file: %s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: acmeTransport{done, transport, log}, Timeout: acmeTimeout}, nil
}

// acmeBinding reads the external account binding, if there is one.
func acmeBinding(c config.ACME) (*acme.ExternalAccountBinding, error) {
	if c.EABKeyID == "" {
		return nil, nil
	}
	line, err := readSecretLine("acme.eab_key_file", c.EABKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(line, "="))
	if err != nil || len(key) < 16 {
		return nil, cannot("write the key that the ACME server gave, in base64url, into the first line", "acme.eab_key_file: %s holds no such key", c.EABKeyFile)
	}
	return &acme.ExternalAccountBinding{KID: c.EABKeyID, Key: key}, nil
}

// mayAsk is the host policy: certificates are for the configured names alone.
// A name comes with a port where HTTP-01 is answered on another than 80.
func (a *acmeSource) mayAsk(_ context.Context, host string) error {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !slices.Contains(a.hosts, strings.ToLower(host)) {
		return errors.New("this host has no certificate here")
	}
	return nil
}

// get serves tls.Config.GetCertificate.
func (a *acmeSource) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	if host == "" {
		host = a.hosts[0] // a client that goes by address
	}
	if err := a.mayAsk(hello.Context(), host); err != nil {
		return nil, err
	}
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return a.manager.GetCertificate(hello) // the ACME server's challenge
	}
	a.mu.Lock()
	ready := a.ready[host]
	a.mu.Unlock()
	if !ready {
		return nil, errors.New("there is no certificate yet: see the registry's log")
	}
	return a.manager.GetCertificate(ecdsaHello(host))
}

// ecdsaHello asks for the one kind of certificate that we use.
func ecdsaHello(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

// watch fetches the certificate of a host, sees that it is renewed, and
// complains aloud, until ctx ends. The manager renews by itself but silently.
func (a *acmeSource) watch(ctx context.Context, host string) {
	defer context.AfterFunc(ctx, a.stop)()
	pause, end := acmeFirstPause, time.Time{}
	for {
		wait := acmeLook
		cert, err := a.manager.GetCertificate(ecdsaHello(host))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.LogAttrs(ctx, slog.LevelError, "no certificate from the ACME server", slog.String("host", host),
				slog.Any("err", err), slog.String("hint", acmeCure), slog.Duration("again", pause))
			wait, pause = pause, min(2*pause, acmeLook)
		default:
			pause = acmeFirstPause
			a.judge(ctx, host, cert.Leaf, &end)
			wait = min(acmeLook, max(time.Second, cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)/10))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// judge tells of a new certificate, and of one whose renewal is overdue: it
// begins when a third of its life is left, 30 days at most.
func (a *acmeSource) judge(ctx context.Context, host string, leaf *x509.Certificate, end *time.Time) {
	a.mu.Lock()
	a.ready[host] = true
	a.mu.Unlock()
	if !leaf.NotAfter.Equal(*end) {
		*end = leaf.NotAfter
		a.log.LogAttrs(ctx, slog.LevelInfo, "certificate from the ACME server", slog.String("host", host), slog.Time("expires", leaf.NotAfter))
	}
	overdue := min(leaf.NotAfter.Sub(leaf.NotBefore)/5, 20*24*time.Hour)
	if left := leaf.NotAfter.Sub(a.now()); left < overdue {
		a.log.LogAttrs(ctx, slog.LevelError, "certificate not renewed", slog.String("host", host),
			slog.Time("expires", leaf.NotAfter), slog.String("hint", acmeCure))
	}
}

// handler answers HTTP-01 challenges and nothing else.
func (a *acmeSource) handler() http.Handler {
	return a.manager.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "only ACME challenges are answered here; use https", http.StatusNotFound)
	}))
}

// An acmeTransport ends with the server, and logs what the ACME server refuses.
type acmeTransport struct {
	done <-chan struct{}
	next http.RoundTripper
	log  *slog.Logger
}

// RoundTrip implements http.RoundTripper.
func (t acmeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		select {
		case <-t.done:
		case <-ctx.Done():
		}
		cancel()
	}()
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask ACME server: %w", err)
	}
	body := bufio.NewReader(resp.Body)
	if resp.StatusCode >= http.StatusBadRequest {
		start, _ := body.Peek(maxACMEAnswer)
		t.log.LogAttrs(r.Context(), slog.LevelWarn, "ACME server refused", slog.String("url", r.URL.Redacted()),
			slog.Int("status", resp.StatusCode), slog.String("answer", cut(string(start), maxACMEAnswer)))
	}
	resp.Body = acmeBody{body, resp.Body, cancel}
	return resp, nil
}

// maxACMEAnswer bounds what of a refusal is logged, in bytes.
const maxACMEAnswer = 1024

// An acmeBody is the body of an answer; its request ends when it is closed.
type acmeBody struct {
	io.Reader
	body io.Closer
	end  context.CancelFunc
}

// Close implements io.Closer.
func (b acmeBody) Close() error {
	defer b.end()
	return b.body.Close()
}
