package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A desk is where one person sits with one client: a home of its own, a server
// and the image to work with.
type desk struct {
	t      *testing.T
	s      *server
	home   string
	bundle *bundle
	engine *engines
	env    []string // of clients, over the usual
}

// A bundle is one image in the forms that clients read.
type bundle struct {
	dir     string // a Docker build context
	archive string // docker save
	layout  string // OCI image layout directory, its tag is "v1"
}

// A client is a program, as its users run it.
type client struct {
	name string
	// login stores the credential the way the program does; nil for a program
	// without a login of its own.
	login func(d *desk, user, password string)
	// push copies the bundle to ref. user and password serve only programs
	// without a login.
	push func(d *desk, ref, user, password string) (output string, err error)
	// pull fetches ref into an empty place and fails the test unless it is the
	// same, bit by bit.
	pull func(d *desk, ref, user, password string)
	// stored is the file the login is kept in, below the home; "" for none.
	stored string
	// left is what the login leaves there: "identity token" or "password".
	left string
}

func (d *desk) run() run {
	return run{Env: append([]string{
		"HOME=" + d.home, "DOCKER_CONFIG=" + filepath.Join(d.home, ".docker"), "XDG_RUNTIME_DIR=" + d.home,
		"REGISTRY_AUTH_FILE=" + filepath.Join(d.home, "auth.json"), "SSL_CERT_FILE=" + d.s.CA, "STORAGE_DRIVER=vfs",
		"DOCKER_HOST=unix://" + d.engine.dockerSocket, "DOCKER_BUILDKIT=0", "XDG_CONFIG_HOME=" + filepath.Join(d.home, ".config"),
	}, d.env...), Dir: d.home}
}

func (d *desk) try(args ...string) (string, error) {
	d.t.Helper()
	args[0] = tool(d.t, args[0])
	stdout, stderr, err := d.run().try(d.t, args...)
	return stdout + stderr, err
}

func (d *desk) ok(args ...string) string {
	d.t.Helper()
	args[0] = tool(d.t, args[0])
	return strings.TrimSpace(d.run().ok(d.t, args...))
}

func (d *desk) okWith(stdin string, args ...string) {
	d.t.Helper()
	args[0] = tool(d.t, args[0])
	r := d.run()
	r.Stdin = stdin
	r.ok(d.t, args...)
}

func (d *desk) storage(program string) []string {
	root := filepath.Join(d.home, "storage")
	return []string{program, "--root", root, "--runroot", filepath.Join(root, "run"), "--storage-driver", "vfs"}
}

func (d *desk) certs() string {
	dir := filepath.Join(d.home, "certs")
	must(d.t, os.MkdirAll(dir, 0o755))
	ca, err := os.ReadFile(d.s.CA)
	must(d.t, err)
	must(d.t, os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o644))
	return dir
}

// same fails unless the blobs of two OCI layouts are the same bytes.
func (d *desk) same(pulled string) {
	d.t.Helper()
	sums := func(layout string) []string {
		files, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
		must(d.t, err)
		var out []string
		for _, f := range files {
			b, err := os.ReadFile(f)
			must(d.t, err)
			if sum := fmt.Sprintf("%x", sha256.Sum256(b)); sum != filepath.Base(f) {
				d.t.Errorf("%s holds bytes of digest %s", f, sum)
			}
			out = append(out, filepath.Base(f))
		}
		slices.Sort(out)
		return out
	}
	want, got := sums(d.bundle.layout), sums(pulled)
	if !slices.Equal(want, got) {
		d.t.Errorf("the layout that came back has blobs\n%v, want\n%v", got, want)
	}
}

var clients = []client{
	{
		name: "docker", stored: ".docker/config.json", left: "identity token",
		login: func(d *desk, user, password string) {
			d.okWith(password, "docker", "login", "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			d.ok("docker", "build", "--quiet", "--tag", ref, d.bundle.dir)
			return d.try("docker", "push", ref)
		},
		pull: func(d *desk, ref, _, _ string) {
			before := d.ok("docker", "image", "inspect", "--format", "{{.Id}} {{.RootFS.Layers}} {{index .RepoDigests 0}}", ref)
			d.ok("docker", "image", "rm", "--force", ref)
			d.ok("docker", "pull", ref)
			if after := d.ok("docker", "image", "inspect", "--format", "{{.Id}} {{.RootFS.Layers}} {{index .RepoDigests 0}}", ref); after != before {
				d.t.Errorf("pulled %s, pushed %s", after, before)
			}
		},
	},
	{
		name: "ctr",
		push: func(d *desk, ref, user, password string) (string, error) {
			d.ok("ctr", "--address", d.engine.containerdSocket, "images", "import", "--no-unpack", "--base-name", "bundle", d.bundle.archive)
			local := d.ok("ctr", "--address", d.engine.containerdSocket, "images", "list", "--quiet")
			local, _, _ = strings.Cut(local, "\n")
			d.ok("ctr", "--address", d.engine.containerdSocket, "images", "tag", "--force", local, ref)
			return d.try("ctr", "--address", d.engine.containerdSocket, "images", "push", "--tlscacert", d.s.CA, "--user", user+":"+password, ref)
		},
		pull: func(d *desk, ref, user, password string) {
			digest := func() string {
				return d.ok("ctr", "--address", d.engine.containerdSocket, "images", "list", "name=="+ref)
			}
			before := strings.Fields(digest())
			d.ok("ctr", "--address", d.engine.containerdSocket, "images", "remove", "--sync", ref)
			d.ok("ctr", "--address", d.engine.containerdSocket, "content", "fetch", "--tlscacert", d.s.CA, "--user", user+":"+password, ref)
			if after := strings.Fields(digest()); after[8] != before[8] || !strings.HasPrefix(after[8], "sha256:") {
				d.t.Errorf("fetched %v, pushed %v", after, before)
			}
		},
	},
	{
		name: "podman", stored: "auth.json", left: "password",
		login: func(d *desk, user, password string) {
			d.okWith(password, "podman", "login", "--cert-dir", d.certs(), "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			d.ok(append(d.storage("podman"), "load", "--quiet", "--input", d.bundle.archive)...)
			id := d.ok(append(d.storage("podman"), "images", "--quiet")...)
			return d.try(append(d.storage("podman"), "push", "--cert-dir", d.certs(), id, ref)...)
		},
		pull: func(d *desk, ref, _, _ string) {
			before := d.ok(append(d.storage("podman"), "images", "--quiet", "--no-trunc")...)
			d.ok(append(d.storage("podman"), "rmi", "--all", "--force")...)
			d.ok(append(d.storage("podman"), "pull", "--quiet", "--cert-dir", d.certs(), ref)...)
			if after := d.ok(append(d.storage("podman"), "images", "--quiet", "--no-trunc")...); after != before {
				d.t.Errorf("pulled %s, pushed %s", after, before)
			}
		},
	},
	{
		name: "buildah", stored: "auth.json", left: "password",
		login: func(d *desk, user, password string) {
			d.okWith(password, "buildah", "login", "--cert-dir", d.certs(), "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			from := d.ok(append(d.storage("buildah"), "from", "scratch")...)
			layers, err := filepath.Glob(filepath.Join(d.bundle.dir, "layer-*.tar"))
			must(d.t, err)
			d.ok(append(append(append(d.storage("buildah"), "add", from), layers...), "/")...)
			id := d.ok(append(d.storage("buildah"), "commit", "--quiet", "--rm", from)...)
			return d.try(append(d.storage("buildah"), "push", "--cert-dir", d.certs(), id, "docker://"+ref)...)
		},
		pull: func(d *desk, ref, _, _ string) {
			before := d.ok(append(d.storage("buildah"), "images", "--quiet", "--no-trunc")...)
			d.ok(append(d.storage("buildah"), "rmi", "--all", "--force")...)
			d.ok(append(d.storage("buildah"), "pull", "--quiet", "--cert-dir", d.certs(), "docker://"+ref)...)
			if after := d.ok(append(d.storage("buildah"), "images", "--quiet", "--no-trunc")...); after != before {
				d.t.Errorf("pulled %s, pushed %s", after, before)
			}
		},
	},
	{
		name: "skopeo", stored: "auth.json", left: "password",
		login: func(d *desk, user, password string) {
			d.okWith(password, "skopeo", "login", "--cert-dir", d.certs(), "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			return d.try("skopeo", "copy", "--preserve-digests", "--dest-cert-dir", d.certs(), "oci:"+d.bundle.layout+":v1", "docker://"+ref)
		},
		pull: func(d *desk, ref, _, _ string) {
			pulled := filepath.Join(d.home, "pulled")
			d.ok("skopeo", "copy", "--preserve-digests", "--src-cert-dir", d.certs(), "docker://"+ref, "oci:"+pulled+":v1")
			d.same(pulled)
		},
	},
	{
		name: "crane", stored: ".docker/config.json", left: "password",
		login: func(d *desk, user, password string) {
			d.okWith(password, "crane", "auth", "login", "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) { return d.try("crane", "push", d.bundle.layout, ref) },
		pull: func(d *desk, ref, _, _ string) {
			pulled := filepath.Join(d.home, "pulled")
			d.ok("crane", "pull", "--format", "oci", ref, pulled)
			d.same(pulled)
		},
	},
	{
		name: "oras", stored: ".docker/config.json", left: "password",
		login: func(d *desk, user, password string) {
			d.okWith(password, "oras", "login", "--ca-file", d.s.CA, "--username", user, "--password-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			return d.try("oras", "cp", "--to-ca-file", d.s.CA, "--from-oci-layout", d.bundle.layout+":v1", ref)
		},
		pull: func(d *desk, ref, _, _ string) {
			pulled := filepath.Join(d.home, "pulled")
			d.ok("oras", "cp", "--from-ca-file", d.s.CA, ref, "--to-oci-layout", pulled+":v1")
			d.same(pulled)
		},
	},
	{
		name: "regctl", stored: ".regctl/config.json", left: "password",
		login: func(d *desk, user, password string) {
			ca, err := os.ReadFile(d.s.CA)
			must(d.t, err)
			d.ok("regctl", "registry", "set", "--skip-check", "--cacert", string(ca), d.s.Host)
			d.okWith(password, "regctl", "registry", "login", "--user", user, "--pass-stdin", d.s.Host)
		},
		push: func(d *desk, ref, _, _ string) (string, error) {
			return d.try("regctl", "image", "copy", "ocidir://"+d.bundle.layout+":v1", ref)
		},
		pull: func(d *desk, ref, _, _ string) {
			pulled := filepath.Join(d.home, "pulled")
			d.ok("regctl", "image", "copy", ref, "ocidir://"+pulled+":v1")
			d.same(pulled)
		},
	},
}

// TestClients walks every client through login, push, pull, a push that is
// denied, and reads what its login left on the disk.
func TestClients(t *testing.T) {
	s := newServer(t, serverOptions{})
	e := startEngines(t, s)
	b := newBundle(t, e, 3, 1<<20)
	s.Login()
	alice, mallory := s.AddUser("alice"), s.AddUser("mallory")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, s, e, b)
			ref := s.Host + "/team/" + c.name + ":v1"
			if c.login != nil {
				c.login(d, "alice", alice)
				d.checkStored(c, alice)
			}
			if out, err := c.push(d, ref, "alice", alice); err != nil {
				t.Fatalf("push: %v\n%s", err, out)
			}
			c.pull(d, ref, "alice", alice)

			d = newDesk(t, s, e, b)
			if c.login != nil {
				c.login(d, "mallory", mallory)
			}
			out, err := c.push(d, ref, "mallory", mallory)
			if err == nil {
				t.Errorf("a push without a grant went through:\n%s", out)
			}
			t.Logf("a push without a grant: %.300s", lastLine(out))
			if !strings.Contains(strings.ToLower(out), "denied") && !strings.Contains(out, "403") {
				t.Errorf("the client does not say that the push was denied:\n%s", out)
			}
		})
	}
	t.Run("docker logout", func(t *testing.T) {
		d := newDesk(t, s, e, b)
		clients[0].login(d, "alice", alice)
		d.ok("docker", "logout", s.Host)
		if b, _ := os.ReadFile(filepath.Join(d.home, ".docker/config.json")); strings.Contains(string(b), "identitytoken") {
			t.Errorf("docker logout left %s", b)
		}
	})
	t.Run("another client pulls what docker pushed", func(t *testing.T) {
		d := newDesk(t, s, e, b)
		d.okWith(alice, "crane", "auth", "login", "--username", "alice", "--password-stdin", s.Host)
		d.ok("crane", "pull", s.Host+"/team/docker:v1", filepath.Join(d.home, "docker.tar"))
		d.ok("crane", "validate", "--remote", s.Host+"/team/docker:v1")
	})
}

// checkStored reads the client's credential file and says where a password was left.
func (d *desk) checkStored(c client, password string) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.home, c.stored))
	must(d.t, err)
	var file struct {
		Auths map[string]struct{ Auth, IdentityToken string }
		Hosts map[string]struct{ Pass string }
	}
	must(d.t, json.Unmarshal(text, &file))
	left := ""
	for _, a := range file.Auths {
		pair, err := base64.StdEncoding.DecodeString(a.Auth)
		must(d.t, err)
		switch {
		case strings.HasSuffix(string(pair), ":"+password):
			left = "password"
		case a.IdentityToken != "":
			left = "identity token"
		}
	}
	for _, h := range file.Hosts {
		if h.Pass == password {
			left = "password"
		}
	}
	d.t.Logf("%s keeps in %[3]s: %[2]s", c.name, left, c.stored)
	if left != c.left || (left != "password" && strings.Contains(string(text), password)) {
		d.t.Errorf("%s keeps %q in %s, want %q", c.name, left, c.stored, c.left)
	}
}

// TestExpiryDuringPush: a push outlives the token it began with. Tokens end
// after 3 s although clients are told 300; the way to the registry is so slow
// that the push takes longer.
func TestExpiryDuringPush(t *testing.T) {
	front := freePort(t)
	s := newServer(t, serverOptions{Front: front, Extra: "tokens:\n  test_expiry: 3s\n"})
	slowProxy(t, front, func() int { return s.Port }, 700_000)
	e := startEngines(t, s)
	s.Login()
	alice := s.AddUser("alice")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			b := newBundle(t, e, 4, 1200<<10) // of its own, or its layers would be mounted
			d := newDesk(t, s, e, b)
			if c.login != nil {
				c.login(d, "alice", alice)
			}
			began := time.Now()
			out, err := c.push(d, s.Host+"/team/"+c.name+":v1", "alice", alice)
			took := time.Since(began)
			if err != nil {
				t.Fatalf("push: %v\n%s", err, out)
			}
			if took < 5*time.Second {
				t.Errorf("the push took %s, so no token ended during it", took)
			}
			whole(t, s, "team/"+c.name, "v1")
		})
	}
}

// whole fails unless a tag's manifest and all its blobs are there, bit by bit.
func whole(t *testing.T, s *server, repo, tag string) {
	t.Helper()
	p := &pusher{Base: s.Base(), Client: s.HTTP(), User: "admin", Password: adminPassword}
	status, _, body, err := p.do("GET", repo, "/v2/"+repo+"/manifests/"+tag, nil, nil)
	must(t, err)
	var m struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	must(t, json.Unmarshal(body, &m))
	if status != http.StatusOK || len(m.Layers) == 0 {
		t.Fatalf("%s:%s: %d %s", repo, tag, status, body)
	}
	p.forgetTokens() // a slow way and tokens of three seconds
	for _, d := range append(m.Layers, m.Config) {
		status, _, body, err := p.do("GET", repo, "/v2/"+repo+"/blobs/"+d.Digest, nil, nil)
		if err != nil || status != http.StatusOK || digestOf(body) != d.Digest {
			t.Errorf("%s:%s: blob %s: %d %v", repo, tag, d.Digest, status, err)
		}
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func newDesk(t *testing.T, s *server, e *engines, b *bundle) *desk {
	home, err := os.MkdirTemp("", "desk-") // short: podman's runroot is at most 50 characters long
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(home) })
	d := &desk{t: t, s: s, home: home, bundle: b, engine: e}
	// Storage of podman and buildah holds files that only they may remove.
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+rwX", d.home).Run() })
	return d
}

// engines are the daemons: dockerd and containerd, each on a private socket and
// data directory.
type engines struct{ dockerSocket, containerdSocket string }

func startEngines(t *testing.T, s *server) *engines {
	t.Helper()
	dir, err := os.MkdirTemp("", "engines-") // short: a socket's path is at most 108 bytes
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	certs := filepath.Join("/etc/docker/certs.d", s.Host)
	must(t, os.MkdirAll(certs, 0o755))
	ca, err := os.ReadFile(s.CA)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644))
	e := &engines{dockerSocket: filepath.Join(dir, "d.sock"), containerdSocket: filepath.Join(dir, "c.sock")}
	daemon(t, dir, e.containerdSocket, tool(t, "containerd"), "--root", filepath.Join(dir, "c"), "--state", filepath.Join(dir, "cs"), "--address", e.containerdSocket)
	daemon(t, dir, e.dockerSocket, tool(t, "dockerd"), "--host", "unix://"+e.dockerSocket, "--data-root", filepath.Join(dir, "d"),
		"--exec-root", filepath.Join(dir, "x"), "--pidfile", filepath.Join(dir, "pid"), "--containerd", e.containerdSocket,
		"--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false")
	return e
}

// daemon starts a program, waits for its socket, and stops it at the end.
func daemon(t *testing.T, dir, socket string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(args[0])+".log"))
	must(t, err)
	c := exec.Command(args[0], args[1:]...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, c.Start())
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { c.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			c.Process.Kill()
			<-done
		}
	})
	for range 300 {
		if _, err := os.Stat(socket); err == nil {
			time.Sleep(300 * time.Millisecond) // the socket comes before the service
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	t.Fatalf("%s did not start:\n%s", args[0], text)
}

func newBundle(t *testing.T, e *engines, layers, size int) *bundle {
	t.Helper()
	b := &bundle{dir: buildContext(t, layers, size), archive: filepath.Join(t.TempDir(), "bundle.tar"), layout: filepath.Join(t.TempDir(), "layout")}
	r := run{Env: []string{"DOCKER_HOST=unix://" + e.dockerSocket, "DOCKER_BUILDKIT=0", "HOME=" + t.TempDir()}}
	docker, skopeo := tool(t, "docker"), tool(t, "skopeo")
	r.ok(t, docker, "build", "--quiet", "--tag", "bundle:v1", b.dir)
	r.ok(t, docker, "save", "--output", b.archive, "bundle:v1")
	r.ok(t, skopeo, "copy", "docker-archive:"+b.archive, "oci:"+b.layout+":v1")
	return b
}
