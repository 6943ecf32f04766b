package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// A certified server takes the client certificates of an authority.
type certified struct {
	*server
	clients *ft.CA
	crl     string
}

func newCertified(t *testing.T) certified {
	t.Helper()
	s := prepareServer(t, serverOptions{})
	c := certified{s, ft.NewCA(t, "clients"), filepath.Join(s.Dir, "crl.pem")}
	ca := filepath.Join(s.Dir, "clients.pem")
	ft.Write(t, ca, ft.PEM(c.clients))
	ft.Write(t, c.crl, c.clients.CRL(time.Now().Add(12*time.Hour)))
	s.configure(fmt.Sprintf("tls:\n  client_authorities:\n    - {name: build, ca: %s, crl: %s, identity: spiffe}\n", ca, c.crl))
	s.Start()
	t.Cleanup(s.Stop)
	s.Login()
	s.CLI(`version: 2
rules:
  - name: administrators
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
  - name: build-pushes
    subjects:
      - issuer: x509:build
        name: spiffe://prod.test/ns/build/ci
    repositories: ["team/**"]
    actions: [pull, push]
`, "policy", "apply", "-", "--base", "latest")
	return c
}

// give puts a certificate where podman, skopeo and Docker Engine look for it.
func (d *desk) give(c tls.Certificate) {
	d.t.Helper()
	must(d.t, os.WriteFile(filepath.Join(d.home, "auth.json"), []byte("{}"), 0o600)) // podman wants the file it was told of
	for _, dir := range []string{d.certs(), filepath.Join("/etc/docker/certs.d", d.s.Host)} {
		ft.WriteFiles(d.t, c, filepath.Join(dir, "client.cert"), filepath.Join(dir, "client.key"))
	}
}

// TestClientCertificate: clients push and pull with a certificate alone, without
// any login.
func TestClientCertificate(t *testing.T) {
	s := newCertified(t)
	e := startEngines(t, s.server)
	b := newBundle(t, e, 2, 1<<20)
	ci := s.clients.Client(ft.URI("spiffe://prod.test/ns/build/ci"))
	other := s.clients.Client(ft.URI("spiffe://prod.test/ns/build/other"))
	for _, c := range clients {
		switch c.name {
		case "docker", "podman", "skopeo":
		default:
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, s.server, e, b)
			d.give(ci)
			ref := s.Host + "/team/" + c.name + ":v1"
			if out, err := c.push(d, ref, "", ""); err != nil {
				t.Fatalf("push: %v\n%s", err, out)
			}
			c.pull(d, ref, "", "")
			whole(t, s.server, "team/"+c.name, "v1")
			d = newDesk(t, s.server, e, b)
			d.give(other)
			if out, err := c.push(d, s.Host+"/team/"+c.name+":v2", "", ""); err == nil || !strings.Contains(strings.ToLower(out), "denied") && !strings.Contains(out, "403") {
				t.Errorf("a certificate without rights: %v\n%s", err, out)
			}
		})
	}
	t.Run("ctr", func(t *testing.T) {
		d := newDesk(t, s.server, e, b)
		d.give(ci)
		out, err := d.try("ctr", "--address", e.containerdSocket, "content", "fetch", "--tlscacert", s.CA,
			"--tlscert", filepath.Join(d.certs(), "client.cert"), "--tlskey", filepath.Join(d.certs(), "client.key"), s.Host+"/team/docker:v1")
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("curl", func(t *testing.T) { s.curl(t, newDesk(t, s.server, e, b), ci) })
	t.Run("docker after the certificate was revoked", func(t *testing.T) {
		d := newDesk(t, s.server, e, b)
		d.give(ci)
		d.ok("docker", "pull", s.Host+"/team/docker:v1")
		ft.Write(t, s.crl, s.clients.CRL(time.Now().Add(13*time.Hour), ci.Leaf))
		time.Sleep(time.Second)
		out, err := d.try("docker", "pull", s.Host+"/team/docker:v1")
		if err == nil || !strings.Contains(out, "client certificate is not accepted") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// curl does what docs/mtls.md shows.
func (s certified) curl(t *testing.T, d *desk, c tls.Certificate) {
	d.give(c)
	docs, err := os.ReadFile("../docs/mtls.md")
	must(t, err)
	_, example, _ := strings.Cut(string(docs), "```console\n")
	example, _, _ = strings.Cut(example, "```")
	example = strings.NewReplacer("registry.example.com", s.Host, "--cacert ca.pem", "--cacert "+s.CA, "team/app", "team/docker").Replace(example)
	r := d.run()
	r.Dir = d.certs()
	var answer struct{ Token, Scope string }
	must(t, json.Unmarshal([]byte(r.ok(t, "sh", "-c", example)), &answer))
	if answer.Scope != "repository:team/docker:pull" {
		t.Errorf("scope %q", answer.Scope)
	}
	req, err := http.NewRequest("GET", s.URL("/v2/team/docker/tags/list"), nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+answer.Token)
	resp, err := s.HTTP().Do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error("its token:", resp.Status)
	}
}

// configure adds to the configuration of a server that was not started yet.
func (s *server) configure(more string) {
	s.t.Helper()
	path := filepath.Join(s.Dir, "sallyport.yaml")
	text, err := os.ReadFile(path)
	must(s.t, err)
	must(s.t, os.WriteFile(path, append(text, more...), 0o600))
}
