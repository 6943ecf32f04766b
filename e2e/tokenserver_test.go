package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A neighbour is a CNCF Distribution registry that leaves decisions to a server.
type neighbour struct {
	t       *testing.T
	s       *server
	host    string // host:port that clients use
	address string
	dir     string
	jwks    string
	cmd     *exec.Cmd
}

// newNeighbour configures a registry as docs/token-server.md says, on a port.
func newNeighbour(t *testing.T, s *server, port int) *neighbour {
	t.Helper()
	n := &neighbour{t: t, s: s, dir: t.TempDir(), host: fmt.Sprintf("%s:%d", registryName, port), address: fmt.Sprintf("%s:%d", registryIP, port)}
	n.jwks = filepath.Join(n.dir, "jwks.json")
	doc, err := os.ReadFile("../docs/token-server.md")
	must(t, err)
	_, config, found := strings.Cut(string(doc), "```yaml\nversion: 0.1\n")
	config, _, closed := strings.Cut(config, "```")
	if !found || !closed {
		t.Fatal("docs/token-server.md has no configuration of the other registry")
	}
	config = strings.NewReplacer(
		"sallyport.example.com", s.Host, "registry.example.com", n.host,
		"/var/lib/registry", filepath.Join(n.dir, "data"), ":443", n.address,
		"/etc/distribution/tls.pem", filepath.Join(s.Data, "tls", "server.pem"),
		"/etc/distribution/tls-key.pem", filepath.Join(s.Data, "tls", "server-key.pem"),
		"/etc/distribution/jwks.json", n.jwks,
	).Replace("version: 0.1\n" + config)
	must(t, os.WriteFile(filepath.Join(n.dir, "config.yml"), []byte(config), 0o600))
	certs := filepath.Join("/etc/docker/certs.d", n.host)
	must(t, os.MkdirAll(certs, 0o755))
	ca, err := os.ReadFile(s.CA)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644))
	t.Cleanup(n.stop)
	return n
}

// restart writes the key set as it is now to the registry's file, and starts it
// anew.
func (n *neighbour) restart() {
	n.t.Helper()
	n.stop()
	must(n.t, os.WriteFile(n.jwks, []byte(n.s.CLI("", "signing-key", "jwks")), 0o644))
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(n.t, err)
	defer log.Close()
	n.cmd = exec.Command(tool(n.t, "registry"), "serve", filepath.Join(n.dir, "config.yml"))
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(n.t, n.cmd.Start())
	for range 300 {
		if c, err := net.Dial("tcp", n.address); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	n.t.Fatalf("the other registry did not start:\n%s", text)
}

func (n *neighbour) stop() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

// TestTokenServer: CNCF Distribution with our tokens, driven by docker: login,
// push, denied push, pull, and the same across a new signing key that was in its
// file before it signed.
func TestTokenServer(t *testing.T) {
	port := freePort(t)
	s := newServer(t, serverOptions{Extra: fmt.Sprintf("tokens:\n  services: [\"%s:%d\"]\n", registryName, port)})
	e := startEngines(t, s)
	b := newBundle(t, e, 2, 1<<16)
	s.Login()
	alice, carol := s.AddUser("alice"), s.AddUser("carol")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n  - who: [\"user:carol\"]\n    what: [\"team/**\"]\n    may: [pull]\n")
	n := newNeighbour(t, s, port)
	n.restart()

	a, c := newDesk(t, s, e, b), newDesk(t, s, e, b)
	a.okWith(alice, "docker", "login", "--username", "alice", "--password-stdin", n.host)
	c.okWith(carol, "docker", "login", "--username", "carol", "--password-stdin", n.host)
	if text, err := os.ReadFile(filepath.Join(a.home, ".docker", "config.json")); err != nil || !strings.Contains(string(text), "identitytoken") || strings.Contains(string(text), alice) {
		t.Errorf("docker keeps %s, %v", text, err)
	}
	ref := n.host + "/team/app:v1"
	push := func(d *desk, ref string) (string, error) {
		d.ok("docker", "tag", "bundle:v1", ref)
		return d.try("docker", "push", ref)
	}
	if out, err := push(a, ref); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	for what, try := range map[string]func() (string, error){
		"who may only pull":            func() (string, error) { return push(c, n.host+"/team/app:v2") },
		"a repository of another team": func() (string, error) { return push(a, n.host+"/other/app:v1") },
	} {
		if out, err := try(); err == nil || !strings.Contains(strings.ToLower(out), "denied") {
			t.Errorf("%s pushes: %v\n%s", what, err, out)
		}
	}
	c.ok("docker", "image", "rm", "--force", ref)
	c.ok("docker", "pull", ref)
	theirs := foreignToken(t, s, n.host, alice)
	if status := ping(t, s.HTTP(), "https://"+n.host, theirs); status != http.StatusOK {
		t.Errorf("the other registry answers %d to a token for it", status)
	}
	if status := ping(t, s.HTTP(), s.Base(), theirs); status != http.StatusUnauthorized {
		t.Errorf("T-13: a token for the other registry gives %d here", status)
	}

	// The next key is in the file before it signs, so nobody notices it.
	s.CLI("", "signing-key", "rotate")
	n.restart()
	before := activeKey(t, s)
	s.CLI("", "signing-key", "rotate", "--now")
	for range 200 {
		if activeKey(t, s) != before {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if activeKey(t, s) == before {
		t.Fatal("the next key does not sign")
	}
	if out, err := push(a, n.host+"/team/app:v3"); err != nil {
		t.Errorf("push with the next key: %v\n%s", err, out)
	}
	c.ok("docker", "pull", n.host+"/team/app:v3")
}

func activeKey(t *testing.T, s *server) string {
	t.Helper()
	var keys []struct{ ID, State string }
	must(t, json.Unmarshal([]byte(s.CLI("", "signing-key", "list", "-o", "json")), &keys))
	for _, k := range keys {
		if k.State == "active" {
			return k.ID
		}
	}
	t.Fatalf("no active key in %v", keys)
	return ""
}

// foreignToken returns an access token of alice for another registry.
func foreignToken(t *testing.T, s *server, service, password string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL("/token?scope=repository:team/app:pull&service="+service), nil)
	must(t, err)
	r.SetBasicAuth("alice", password)
	resp, err := s.HTTP().Do(r)
	must(t, err)
	defer resp.Body.Close()
	var a struct{ Token string }
	must(t, json.NewDecoder(resp.Body).Decode(&a))
	return a.Token
}

// ping returns how a registry answers a token at its base.
func ping(t *testing.T, c *http.Client, base, token string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, base+"/v2/", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(r)
	must(t, err)
	resp.Body.Close()
	return resp.StatusCode
}
