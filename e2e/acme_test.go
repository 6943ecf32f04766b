package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// A pebble is Let's Encrypt's small ACME server for tests, with a DNS server
// that knows one address.
type pebble struct {
	t          *testing.T
	dir        string
	directory  string // URL
	ca         string // PEM file with the authority of its own certificate
	management string
	client     *http.Client
}

// pebbleOptions say where pebble looks for answers, and what it gives.
type pebbleOptions struct {
	HTTPPort, TLSPort int
	Life              int               // of a certificate, seconds
	Bindings          map[string]string // key id → key, base64url; nil: none needed
}

func startPebble(t *testing.T, o pebbleOptions) *pebble {
	t.Helper()
	dns, api, management, dnsManagement := freePort(t), freePort(t), freePort(t), freePort(t)
	p := &pebble{t: t, dir: t.TempDir()}
	p.directory = fmt.Sprintf("https://127.0.0.1:%d/dir", api)
	p.management = fmt.Sprintf("https://127.0.0.1:%d", management)
	p.ca = filepath.Join(p.dir, "ca.pem")
	ca := ft.NewCA(t, "pebble")
	ft.Write(t, p.ca, ft.PEM(ca))
	cert := ca.Client(func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	ft.WriteFiles(t, cert, filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem"))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", api), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management),
		"certificate": filepath.Join(p.dir, "cert.pem"), "privateKey": filepath.Join(p.dir, "key.pem"),
		"httpPort": o.HTTPPort, "tlsPort": o.TLSPort,
		"externalAccountBindingRequired": o.Bindings != nil, "externalAccountMACKeys": o.Bindings,
		"profiles": map[string]any{"default": map[string]any{"description": "the default", "validityPeriod": o.Life}},
	}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.dir, "config.json"), config, 0o600))
	p.run("pebble-challtestsrv", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns), "-defaultIPv4", registryIP, "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", fmt.Sprintf("127.0.0.1:%d", dnsManagement))
	p.run("pebble", "-config", filepath.Join(p.dir, "config.json"), "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns))
	for range 300 {
		if resp, err := p.client.Get(p.directory); err == nil {
			resp.Body.Close()
			return p
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("pebble did not start:\n%s", p.log("pebble"))
	return nil
}

// run starts a program until the test ends.
func (p *pebble) run(args ...string) {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.dir, args[0]+".log"))
	must(p.t, err)
	c := exec.Command(tool(p.t, args[0]), args[1:]...)
	c.Stdout, c.Stderr = log, log
	c.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(p.t, c.Start())
	p.t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		log.Close()
	})
}

func (p *pebble) log(program string) string {
	b, _ := os.ReadFile(filepath.Join(p.dir, program+".log"))
	return string(b)
}

// root writes the authority of the certificates to a file.
func (p *pebble) root() string {
	p.t.Helper()
	resp, err := p.client.Get(p.management + "/roots/0")
	must(p.t, err)
	defer resp.Body.Close()
	pem, err := io.ReadAll(resp.Body)
	must(p.t, err)
	path := filepath.Join(p.dir, "root.pem")
	must(p.t, os.WriteFile(path, pem, 0o600))
	return path
}

// config is the part of the configuration about pebble.
func (p *pebble) config(more string) string {
	return fmt.Sprintf("acme:\n  accept_terms: true\n  email: ops@sallyport.test\n  directory: %s\n  ca_file: %s\n%s", p.directory, p.ca, more)
}

// served returns the certificate that a client gets which trusts root and asks
// for name, or why it gets none.
func (s *server) served(root, name string) (*x509.Certificate, error) {
	pem, err := os.ReadFile(root)
	must(s.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", fmt.Sprintf("%s:%d", registryIP, s.Port), &tls.Config{ServerName: name, RootCAs: pool})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// awaitCertificate returns the first certificate served that is another than
// before.
func (s *server) awaitCertificate(p *pebble, before *x509.Certificate) *x509.Certificate {
	s.t.Helper()
	root := p.root()
	var cert *x509.Certificate
	var err error
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if cert, err = s.served(root, registryName); err == nil && (before == nil || !bytes.Equal(cert.Raw, before.Raw)) {
			return cert
		}
	}
	s.t.Fatalf("no other certificate is served: %v\n%s\n%s", err, s.Log(), tail(p.log("pebble")))
	return nil
}

// TestACMEByTLS: a certificate by TLS-ALPN-01, its renewal, and its keeping.
func TestACMEByTLS(t *testing.T) {
	s := prepareServer(t, serverOptions{})
	p := startPebble(t, pebbleOptions{HTTPPort: freePort(t), TLSPort: s.Port, Life: 24})
	s.configure(p.config(""))
	s.Start()
	t.Cleanup(s.Stop)
	first := s.awaitCertificate(p, nil)
	if err := first.VerifyHostname(registryName); err != nil {
		t.Error(err)
	}
	root := p.root()
	s.CA = root
	s.Login()

	// neither account nor certificate keys are readable in the database.
	for _, name := range []string{"metadata.db", "metadata.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.Data, name))
		if err == nil && bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key in the clear", name)
		}
	}
	if _, err := s.served(root, "other.sallyport.test"); err == nil {
		t.Error("a name that is not ours got a certificate")
	}
	if strings.Contains(p.log("pebble"), "other.sallyport.test") {
		t.Error("a stranger made us ask for a certificate")
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("%s:%d", registryIP, s.Port), &tls.Config{InsecureSkipVerify: true}) // by address
	must(t, err)
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(registryName); err != nil {
		t.Error(err)
	}
	conn.Close()
	if _, err := tls.Dial("tcp", fmt.Sprintf("%s:%d", registryIP, s.Port), &tls.Config{ServerName: registryName, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}); err == nil {
		t.Error("a challenge that nobody asked for was answered")
	}

	renewed := s.awaitCertificate(p, first)
	if !renewed.NotAfter.After(first.NotAfter) {
		t.Errorf("renewed until %s after %s", renewed.NotAfter, first.NotAfter)
	}
	orders := strings.Count(p.log("pebble"), "Issued certificate")
	s.Stop()
	s.Start()
	s.awaitCertificate(p, nil)
	if n := strings.Count(p.log("pebble"), "Issued certificate"); n > orders+1 { // one renewal may fall into it
		t.Errorf("a restart asked for %d certificates", n-orders)
	}
}

// TestACMEByHTTP: a certificate by HTTP-01 for an account that is bound to
// another, with client certificates beside it; and what the log says meanwhile.
func TestACMEByHTTP(t *testing.T) {
	s := prepareServer(t, serverOptions{})
	http01 := freePort(t)
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	p := startPebble(t, pebbleOptions{HTTPPort: http01, TLSPort: freePort(t), Life: 24 * 3600, Bindings: map[string]string{"kid-1": key}})
	must(t, os.WriteFile(filepath.Join(s.Dir, "eab"), []byte(key+"\n"), 0o600))
	clients := filepath.Join(s.Dir, "clients.pem")
	ft.Write(t, clients, ft.PEM(ft.NewCA(t, "clients")))
	s.configure(p.config(fmt.Sprintf("  http_listen: %s:%d\n  eab_key_id: kid-1\n  eab_key_file: %s\n", registryIP, http01, filepath.Join(s.Dir, "eab"))) +
		"tls:\n  client_authorities:\n    - {name: build, ca: " + clients + ", identity: dns}\n")
	s.Start()
	t.Cleanup(s.Stop)
	s.awaitCertificate(p, nil)
	s.CA = p.root()
	s.Login()
	for _, path := range []string{"/", "/v2/", "/token", "/.well-known/acme-challenge/x", "/.well-known/acme-challenge/" + strings.Repeat("x", 5000)} {
		resp, err := http.Get(fmt.Sprintf("http://%s:%d%s", registryName, http01, path))
		must(t, err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound || len(body) > 200 {
			t.Errorf("%s: %s %.300s", path, resp.Status, body)
		}
	}
}

// TestACMEUnreachable: without its ACME server the registry runs, says so, and
// ends at once.
func TestACMEUnreachable(t *testing.T) {
	s := prepareServer(t, serverOptions{})
	s.configure(fmt.Sprintf("acme:\n  accept_terms: true\n  directory: https://127.0.0.1:%d/dir\n", freePort(t)))
	s.Start() // ready, though without a certificate
	t.Cleanup(s.Stop)
	const want = "no certificate from the ACME server"
	for range 200 {
		if strings.Contains(s.Log(), want) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if log := s.Log(); !strings.Contains(log, want) || !strings.Contains(log, "acme.http_listen") {
		t.Errorf("the log says nothing:\n%s", log)
	}
}
