package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/server"
)

// A mutual is a running server that takes the client certificates of ca.
type mutual struct {
	*running
	t      *testing.T
	ca     *ft.CA
	caFile string
	roots  *x509.CertPool
}

func startMutual(t *testing.T, now *clock, change func(*config.Config)) mutual {
	t.Helper()
	dir := t.TempDir()
	m := mutual{t: t, ca: ft.NewCA(t, "clients"), caFile: filepath.Join(dir, "clients.pem")}
	ft.Write(t, m.caFile, ft.PEM(m.ca))
	c := settings(t)
	c.AdminPasswordFile = filepath.Join(dir, "password")
	write(t, c.AdminPasswordFile, []byte("quite-long-and-unusual-7"))
	c.TLS.ClientAuthorities = []config.ClientAuthority{{Name: "build", CA: m.caFile, Identity: "spiffe"}}
	change(&c)
	m.running = start(t, c, server.Options{Now: now.Now})
	m.roots = x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(c.Data, "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	m.roots.AppendCertsFromPEM(pem)
	return m
}

// with returns a client that presents c, whatever the server says it takes;
// without one if c is nil.
func (m mutual) with(c *tls.Certificate, change ...func(*tls.Config)) *http.Client {
	conf := &tls.Config{RootCAs: m.roots}
	if c != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	for _, f := range change {
		f(conf)
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (m mutual) do(c *http.Client, path string, change ...func(*http.Request)) (*http.Response, string) {
	m.t.Helper()
	r, err := http.NewRequest("GET", m.url+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	resp, err := c.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, string(body)
}

// token asks for a token without any other credential.
func (m mutual) token(c *http.Client, scope string) (int, string) {
	m.t.Helper()
	resp, body := m.do(c, "/token?scope="+scope)
	var a struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		m.t.Fatalf("%v: %s", err, body)
	}
	return resp.StatusCode, a.Token
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// I-24 on the wire, with and without HTTP/2.
func TestClientCertificates(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2=%t", http2), func(t *testing.T) {
			var now clock
			m := startMutual(t, &now, func(c *config.Config) { c.TLS.HTTP2 = http2 })
			good := m.ca.Client(ft.URI("spiffe://prod.test/ci"))
			client := m.with(&good)
			status, token := m.token(client, "repository:a/b:pull")
			if status != http.StatusOK || token == "" {
				t.Fatalf("a certificate: %d", status)
			}
			resp, body := m.do(client, "/v2/", bearer(token))
			if resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != http2 {
				t.Errorf("ping: %s %s %s", resp.Proto, resp.Status, body)
			}
			if resp, _ := m.do(m.with(nil), "/v2/", bearer(token)); resp.StatusCode != http.StatusOK {
				t.Error("the token on another connection:", resp.Status)
			}
			if resp, body := m.do(client, "/v2/a/b/manifests/1", bearer(token)); resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized {
				t.Error("no right:", resp.Status, body)
			}
			if resp, _ := m.do(m.with(nil), "/token", func(r *http.Request) { r.SetBasicAuth("admin", "quite-long-and-unusual-7") }); resp.StatusCode != http.StatusOK {
				t.Error("a password without a certificate:", resp.Status)
			}
			if status, token := m.token(m.with(nil), ""); status != http.StatusOK || token == "" {
				t.Error("anonymous:", status)
			}
			stranger := ft.NewCA(t, "clients").Client(ft.URI("spiffe://prod.test/ci"))
			if status, _ := m.token(m.with(&stranger), ""); status != http.StatusUnauthorized {
				t.Error("a stranger's certificate:", status)
			}
			// The same connection, after the authority was taken away.
			ft.Write(t, m.caFile, ft.PEM(ft.NewCA(t, "other")))
			now.advance(1e9)
			if status, _ := m.token(client, ""); status != http.StatusUnauthorized {
				t.Error("after the CA was removed:", status)
			}
			if resp, _ := m.do(client, "/v2/", bearer(token)); resp.StatusCode != http.StatusUnauthorized {
				t.Error("token after the CA was removed:", resp.Status)
			}
		})
	}
}

// I-24: no handshake is shortened to one without a certificate.
func TestNoResumption(t *testing.T) {
	m := startMutual(t, new(clock), func(*config.Config) {})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(8)
		for range 3 {
			c := m.with(nil, func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = cache, version })
			resp, _ := m.do(c, "/v2/")
			if resp.TLS.DidResume {
				t.Errorf("version %x: resumed", version)
			}
			c.CloseIdleConnections()
		}
	}
}

// The handshake names the authorities, so that a client with several
// certificates presents the right one.
func TestAcceptedAuthorities(t *testing.T) {
	m := startMutual(t, new(clock), func(*config.Config) {})
	var named [][]byte
	c := m.with(nil, func(c *tls.Config) {
		c.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			named = info.AcceptableCAs
			return new(tls.Certificate), nil
		}
	})
	m.do(c, "/v2/")
	if len(named) != 1 || !bytes.Equal(named[0], m.ca.Cert.RawSubject) {
		t.Errorf("named %q", named)
	}
}

// I-25: a connection made for one name serves no other.
func TestSNIMustMatchHost(t *testing.T) {
	m := startMutual(t, new(clock), func(*config.Config) {})
	_, port, err := net.SplitHostPort(m.Address())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		sni, host string
		want      int
	}{
		{"localhost", "localhost:" + port, http.StatusUnauthorized},
		{"localhost", "LOCALHOST:" + port, http.StatusUnauthorized},
		{"", "127.0.0.1:" + port, http.StatusUnauthorized},
		{"localhost", "127.0.0.1:" + port, http.StatusMisdirectedRequest},
		{"", "localhost:" + port, http.StatusMisdirectedRequest},
		{"other.test", "localhost:" + port, http.StatusMisdirectedRequest},
		{"other.test", "other.test", http.StatusMisdirectedRequest},
	} {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: tt.sni, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /v2/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tt.host)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", tt.want)) {
			t.Errorf("SNI %q, Host %q: %.100s", tt.sni, tt.host, answer)
		}
	}
}

// What a declared proxy presents is the proxy's, not the client's.
func TestCertificateOfAProxy(t *testing.T) {
	m := startMutual(t, new(clock), func(c *config.Config) { c.TrustedProxies = prefixes("127.0.0.0/8", "::1/128") })
	good := m.ca.Client(ft.URI("spiffe://prod.test/ci"))
	resp, body := m.do(m.with(&good), "/token")
	var a struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if _, body := m.do(m.with(&good), "/v2/", bearer(a.Token)); strings.Contains(body, "spiffe") {
		t.Error(body)
	}
	if payload := middle(t, a.Token); strings.Contains(payload, "spiffe") || !strings.Contains(payload, `"sub":""`) {
		t.Error("the proxy's certificate counts for its clients:", payload)
	}
}

// An outsider without rights has none at the API either, and no route breaks.
func TestCertificateAtTheAPI(t *testing.T) {
	m := startMutual(t, new(clock), func(*config.Config) {})
	good := m.ca.Client(ft.URI("spiffe://prod.test/ci"))
	client := m.with(&good)
	_, token := m.token(client, "registry:api:*")
	for _, path := range []string{"/api/v1/me", "/api/v1/users", "/api/v1/keys", "/api/v1/sessions", "/api/v1/policy", "/api/v1/gc", "/api/v1/users/spiffe:~~prod.test~ci"} {
		resp, body := m.do(client, path, bearer(token))
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusOK && strings.Contains(body, "admin") {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

// middle returns the payload of a token.
func middle(t *testing.T, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}
