package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// hasHint fails unless err holds want and says what to do about it.
func hasHint(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var h interface{ Hint() string }
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || !errors.As(err, &h) || h.Hint() == "" {
		t.Errorf("got %v (%T), want %q and a hint", err, err, want)
	}
}

// settings returns a configuration that disturbs nobody.
func settings(t *testing.T) config.Config {
	c := config.Default()
	c.Data = filepath.Join(t.TempDir(), "data")
	c.Listen, c.Health.Listen = "localhost:0", "localhost:0"
	c.ShutdownTimeout = 10 * time.Second
	return c
}

// A running is a server in this process.
type running struct {
	*server.Server
	out    bytes.Buffer
	log    lines
	url    string
	client *http.Client
	stop   context.CancelFunc // asks it to stop
	err    func() error       // waits for the end
}

func start(t *testing.T, c config.Config, o server.Options) *running {
	t.Helper()
	r := &running{}
	o.Out, o.Logger = &r.out, r.log.logger()
	var err error
	if r.Server, err = server.New(t.Context(), c, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.err = sync.OnceValue(func() error { return <-ended })
	t.Cleanup(func() {
		cancel()
		if err := r.err(); err != nil {
			t.Errorf("end: %v", err)
		}
	})
	pool := x509.NewCertPool()
	scheme := "http://"
	if !c.InsecureHTTP {
		scheme = "https://"
		ca, err := os.ReadFile(filepath.Join(c.Data, "tls", "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(ca)
	}
	r.url = scheme + r.Address()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
	return r
}

func (r *running) get(t *testing.T, path string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("GET", r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(req)
	}
	return r.do(t, req)
}

func (r *running) do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// plainGet asks without TLS.
func plainGet(t *testing.T, address, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func asAdmin(password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth("admin", password) }
}

var shownPassword = regexp.MustCompile(`(?m)^  password       (\S+)   \(shown this once`)

func TestFirstAndSecondStart(t *testing.T) {
	c := settings(t)
	r := start(t, c, server.Options{})
	out := r.out.String()
	found := shownPassword.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no password in\n%s", out)
	}
	password := found[1]
	for _, line := range []string{
		"Sallyport serves " + r.url + "\n",
		"health on http://" + r.HealthAddress() + "/readyz\n",
		"  administrator  admin\n",
		"  CA to trust    " + c.Data + "/tls/ca.pem\n",
		"  docker login " + r.Address() + " -u admin\n",
		"  docker tag IMAGE " + r.Address() + "/team/app:1 && docker push " + r.Address() + "/team/app:1\n",
		"  podman login --cert-dir " + c.Data + "/tls " + r.Address() + " -u admin\n",
		"  sallyport login --username admin --ca-file " + c.Data + "/tls/ca.pem " + r.url + "\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
	if resp, body := r.get(t, "/token", asAdmin(password)); resp.StatusCode != 200 || !strings.Contains(body, `"token"`) {
		t.Errorf("the password does not count: %d %s", resp.StatusCode, body)
	}
	_, keys := r.get(t, "/.well-known/jwks.json")
	r.stop()
	if err := r.err(); err != nil {
		t.Fatal(err)
	}

	again := start(t, c, server.Options{})
	if out := again.out.String(); out != "Sallyport serves "+again.url+"\nhealth on http://"+again.HealthAddress()+"/readyz\n" {
		t.Errorf("the second start says\n%s", out)
	}
	if resp, _ := again.get(t, "/token", asAdmin(password)); resp.StatusCode != 200 {
		t.Error("the password was lost")
	}
	if _, same := again.get(t, "/.well-known/jwks.json"); same != keys {
		t.Error("another signing key")
	}
	if all := r.log.String() + again.log.String(); strings.Contains(all, password) {
		t.Error("L-01 the password is in the log")
	}

	other := start(t, settings(t), server.Options{})
	if _, different := other.get(t, "/.well-known/jwks.json"); different == keys {
		t.Error("X-04 two installs share a signing key")
	}
	if strings.Contains(other.out.String(), password) {
		t.Error("X-04 two installs share a password")
	}
}

// whatever the umask, what we write is ours alone.
func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(old) })
	c := settings(t)
	r := start(t, c, server.Options{})
	found := shownPassword.FindStringSubmatch(r.out.String())
	if resp, _ := r.get(t, "/token?offline_token=true&service="+r.Address(), asAdmin(found[1])); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if status, body := plainGet(t, r.HealthAddress(), "/readyz"); status != 200 {
		t.Fatal(body)
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(c.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen[d.Name()] = true
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"metadata.db", "metadata.db-wal", "metadata.db-shm", "ca-key.pem", "server-key.pem"} {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
	open := settings(t)
	if err := os.Mkdir(open.Data, 0o777); err != nil {
		t.Fatal(err)
	}
	start(t, open, server.Options{})
	if info, err := os.Stat(open.Data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("an open data directory stays open: %v %v", info.Mode(), err)
	}
}

// nothing listens beyond loopback by default; health apart.
func TestSockets(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	for _, address := range []string{r.Address(), r.HealthAddress()} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", "::1"} {
			conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err != nil {
				if errors.Is(err, syscall.EADDRNOTAVAIL) {
					continue
				}
				t.Fatal(err)
			}
			conn.Close()
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			ip := a.(*net.IPNet).IP
			if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
				continue
			}
			if conn, err := net.Dial("tcp", net.JoinHostPort(ip.String(), port)); err == nil {
				conn.Close()
				t.Errorf("X-02 listens on %s", ip)
			}
		}
	}
	if resp, _ := r.get(t, "/healthz"); resp.StatusCode != 404 {
		t.Error("X-02 health is served to clients")
	}
	if status, _ := plainGet(t, r.HealthAddress(), "/v2/"); status != 404 {
		t.Error("X-02 the registry is served on the health listener")
	}
}

// nobody gets anything without a token.
func TestAnonymous(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/b/manifests/1", "/api/v1/users"} {
		resp, body := r.get(t, path)
		want := `Bearer realm="` + r.url + `/token",service="` + r.Address() + `"`
		if challenge := resp.Header.Values("WWW-Authenticate"); resp.StatusCode != 401 || len(challenge) != 1 || !strings.HasPrefix(challenge[0], want) {
			t.Errorf("X-06 %s: %d %q %s", path, resp.StatusCode, challenge, body)
		}
		if id := resp.Header.Get("X-Request-Id"); id == "" {
			t.Errorf("%s: no request id", path)
		}
	}
}

func TestPlainHTTP(t *testing.T) {
	c := settings(t)
	c.InsecureHTTP = true
	r := start(t, c, server.Options{})
	resp, _ := r.get(t, "/v2/")
	if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="http://`+r.Address()+`/token"`) {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(c.Data, "tls")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("made a CA for nothing")
	}
	if out := r.out.String(); !strings.Contains(out, "podman login --tls-verify=false "+r.Address()) || strings.Contains(out, "CA to trust") {
		t.Error(out)
	}
}

// H-09, H-10: what is too long is refused before it is read.
func TestTooLong(t *testing.T) {
	c := settings(t)
	c.InsecureHTTP = true
	r := start(t, c, server.Options{})
	many := func(s string, n int) string { return strings.Repeat(s, n) }
	for name, request := range map[string]string{
		"H-09 1 MiB header":         "GET /v2/ HTTP/1.1\r\nHost: SELF\r\nX-A: " + many("a", 1<<20) + "\r\n\r\n",
		"H-09 10k cookies":          "GET /v2/ HTTP/1.1\r\nHost: SELF\r\n" + many("Cookie: a=b\r\n", 10_000) + "\r\n",
		"H-09 10k query parameters": "GET /v2/?" + many("a=b&", 10_000) + " HTTP/1.1\r\nHost: SELF\r\n\r\n",
		"T-22 1 MiB bearer":         "GET /v2/ HTTP/1.1\r\nHost: SELF\r\nAuthorization: Bearer " + many("a", 1<<20) + "\r\n\r\n",
		"T-22 a million dots":       "GET /v2/ HTTP/1.1\r\nHost: SELF\r\nAuthorization: Bearer " + many(".", 1_000_000) + "\r\n\r\n",
		"H-10 form of 100 MB":       "POST /token HTTP/1.1\r\nHost: SELF\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000000\r\n\r\n",
		"H-10 endless form":         "POST /token HTTP/1.1\r\nHost: SELF\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", r.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				io.WriteString(conn, strings.ReplaceAll(request, "SELF", r.Address()))
				for strings.Contains(name, "form") { // until the server hangs up
					if _, err := io.WriteString(conn, "10000\r\n"+many("a", 0x10000)+"\r\n"); err != nil {
						return
					}
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			refused := resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge
			if strings.Contains(name, "form") {
				body, err := io.ReadAll(resp.Body)
				refused = err == nil && resp.StatusCode/100 == 4 && strings.Contains(string(body), "65536 bytes")
			}
			if !refused {
				t.Error(resp.Status)
			}
		})
	}
}

// field returns a string of a JSON object.
func field(t *testing.T, body, name string) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	s, ok := object[name].(string)
	if !ok {
		t.Fatalf("no %s in %s", name, body)
	}
	return s
}
