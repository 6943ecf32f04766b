package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHeavyClients walks the clients that take minutes to build: cosign and
// helm; heavyThroughHelper those, buildx and compose. "make test-all" builds them and sets the variable.
func TestHeavyClients(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_ALL") == "" {
		t.Skip("cosign and helm are in make test-all")
	}
	s := newServer(t, serverOptions{})
	s.Login()
	alice, mallory := s.AddUser("alice"), s.AddUser("mallory")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	t.Run("helm", func(t *testing.T) { helm(t, s, alice, mallory) })
	t.Run("cosign", func(t *testing.T) { cosign(t, s, alice, mallory) })
	t.Run("expiry during a push", expiryOfHeavyClients)
}

// expiryOfHeavyClients pushes 8 MiB that take longer than a token lives.
func expiryOfHeavyClients(t *testing.T) {
	front := freePort(t)
	s := newServer(t, serverOptions{Front: front, Extra: "tokens:\n  test_expiry: 5s\n"})
	slowProxy(t, front, func() int { return s.Port }, 700_000)
	d := &desk{t: t, s: s, home: t.TempDir(), engine: &engines{}}
	content := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	took := func(args ...string) {
		t.Helper()
		began := time.Now()
		d.ok(args...)
		if took := time.Since(began); took < 7*time.Second {
			t.Errorf("%s took %s, so no token ended during it", args[0], took)
		}
	}
	d.ok("helm", "create", "chart")
	for i, name := range []string{"a.bin", "b.bin"} { // Helm takes 5 MiB a file
		must(t, os.WriteFile(filepath.Join(d.home, "chart", name), content[i<<22:(i+1)<<22], 0o644))
	}
	d.ok("helm", "package", "chart")
	d.okWith(adminPassword, "helm", "registry", "login", "--ca-file", s.CA, "--username", "admin", "--password-stdin", s.Host)
	took("helm", "push", "--ca-file", s.CA, "chart-0.1.0.tgz", "oci://"+s.Host+"/team")
	must(t, os.WriteFile(filepath.Join(d.home, "blob"), content, 0o644))
	d.okWith(adminPassword, "crane", "auth", "login", "--username", "admin", "--password-stdin", s.Host)
	took("cosign", "upload", "blob", "--files", "blob", s.Host+"/team/blob:v1")
	whole(t, s, "team/chart", "0.1.0")
	whole(t, s, "team/blob", "v1")
}

func helm(t *testing.T, s *server, alice, mallory string) {
	d := &desk{t: t, s: s, home: t.TempDir(), engine: &engines{}}
	login := func(user, password string) {
		d.okWith(password, "helm", "registry", "login", "--ca-file", s.CA, "--username", user, "--password-stdin", s.Host)
	}
	d.ok("helm", "create", "chart")
	d.ok("helm", "package", "chart")
	login("alice", alice)
	d.ok("helm", "push", "--ca-file", s.CA, "chart-0.1.0.tgz", "oci://"+s.Host+"/team")
	pulled := t.TempDir()
	d.ok("helm", "pull", "--ca-file", s.CA, "--destination", pulled, "oci://"+s.Host+"/team/chart", "--version", "0.1.0")
	want, err := os.ReadFile(filepath.Join(d.home, "chart-0.1.0.tgz"))
	must(t, err)
	got, err := os.ReadFile(filepath.Join(pulled, "chart-0.1.0.tgz"))
	must(t, err)
	if digestOf(got) != digestOf(want) {
		t.Errorf("helm pulled %s, pushed %s", digestOf(got), digestOf(want))
	}
	login("mallory", mallory)
	if out, err := d.try("helm", "push", "--ca-file", s.CA, "chart-0.1.0.tgz", "oci://"+s.Host+"/team"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a push without a grant: %v\n%s", err, out)
	}
}

func cosign(t *testing.T, s *server, alice, mallory string) {
	d := &desk{t: t, s: s, home: t.TempDir(), engine: &engines{}}
	p := &pusher{Base: s.Base(), Client: s.HTTP(), User: "alice", Password: alice}
	must(t, p.push("team/signed", "v1", []byte(`{"architecture":"amd64","os":"linux"}`), []byte("a layer")))
	ref := s.Host + "/team/signed@" + p.acked["team/signed:v1"][0].Digest
	t.Setenv("COSIGN_PASSWORD", "")
	d.ok("cosign", "generate-key-pair")
	d.okWith(alice, "crane", "auth", "login", "--username", "alice", "--password-stdin", s.Host)
	sign := []string{"cosign", "sign", "--yes", "--key", "cosign.key", "--use-signing-config=false", "--tlog-upload=false", ref}
	d.ok(append([]string{}, sign...)...)
	out := d.ok("cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog", ref)
	if !strings.Contains(out, strings.Split(ref, "@")[1]) {
		t.Errorf("cosign verified something else:\n%s", out)
	}
	d.okWith(mallory, "crane", "auth", "login", "--username", "mallory", "--password-stdin", s.Host)
	if out, err := d.try(sign...); err == nil || !strings.Contains(out, "DENIED") {
		t.Errorf("a signature without a grant: %v\n%s", err, out)
	}
}

// heavyThroughHelper walks helm, cosign, buildx and compose, which nobody logs in: the
// credential helper that d's docker is configured with answers them.
func heavyThroughHelper(t *testing.T, d *desk) {
	defer func(was *testing.T) { d.t = was }(d.t)
	d.t = t
	team := d.s.Host + "/team/"
	d.ok("helm", "create", "chart")
	d.ok("helm", "package", "chart")
	d.ok("helm", "push", "--ca-file", d.s.CA, "chart-0.1.0.tgz", "oci://"+team+"charts")
	d.ok("helm", "pull", "--ca-file", d.s.CA, "--destination", t.TempDir(), "oci://"+team+"charts/chart", "--version", "0.1.0")

	must(t, os.WriteFile(filepath.Join(d.home, "blob"), []byte("a blob"), 0o644))
	must(t, os.WriteFile(filepath.Join(d.home, "Dockerfile"), []byte("FROM scratch\nCOPY blob /blob\n"), 0o644))
	d.ok("buildx", "build", "--push", "--tag", team+"built:v1", ".")
	d.ok("buildx", "imagetools", "create", "--tag", team+"built:v2", team+"built:v1")

	compose := "services:\n  app:\n    image: " + team + "built:v3\n    build: .\n"
	must(t, os.WriteFile(filepath.Join(d.home, "compose.yaml"), []byte(compose), 0o644))
	d.ok("docker", "pull", team+"built:v2")
	d.ok("docker", "tag", team+"built:v2", team+"built:v3")
	d.ok("compose", "push")
	d.ok("docker", "rmi", team+"built:v3")
	d.ok("compose", "pull")
	whole(t, d.s, "team/built", "v3")

	d.ok("cosign", "upload", "blob", "--files", "blob", team+"blob:v1")
}
