package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client/browser/browsertest"
)

var deviceLine = regexp.MustCompile(`(https://\S+/oauth/device) .* ([A-Z]{5}-[A-Z]{5}), until`)

// TestLogin: who signs in with the browser of another machine pushes and pulls with
// docker and podman at once, without any password here; and the logout ends that at
// the server.
func TestLogin(t *testing.T) {
	s := newServer(t, serverOptions{})
	e := startEngines(t, s)
	s.Login()
	alice := s.AddUser("alice")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	d := newDesk(t, s, e, newBundle(t, e, 1, 64<<10))
	must(t, os.MkdirAll(filepath.Join(d.home, "bin"), 0o755))
	must(t, os.Symlink(binary, filepath.Join(d.home, "bin", "docker-credential-sallyport")))
	d.env = []string{"REGISTRY_AUTH_FILE="} // podman comes to docker's file then
	path := os.Getenv("PATH")
	t.Setenv("PATH", filepath.Join(d.home, "bin")+":"+path)
	t.Setenv("SALLYPORT_KEYCHAIN", "none")
	d.loginElsewhere("alice", alice)
	work := func() {
		for _, c := range clients {
			if c.name != "docker" && c.name != "podman" {
				continue
			}
			ref := s.Host + "/team/" + c.name + ":v1"
			if out, err := c.push(d, ref, "", ""); err != nil {
				t.Fatalf("%s: push: %v\n%s", c.name, err, out)
			}
			c.pull(d, ref, "", "")
		}
	}
	work()
	file := filepath.Join(d.home, ".config", "sallyport", "login.json")
	token := identityToken(t, file, "https://"+s.Host)
	if found := search(t, []string{d.home}, alice, token); len(found) != 1 || found[0] != file {
		t.Errorf("secrets are in %q, and should be in %s alone", found, file)
	}

	kept, err := os.ReadFile(file)
	must(t, err)
	d.run().ok(t, binary, "logout", s.Host)
	if found := search(t, []string{d.home}, token); len(found) > 0 {
		t.Errorf("after the logout the identity token is in %q", found)
	}
	config := filepath.Join(d.home, ".docker", "config.json")
	if text, err := os.ReadFile(config); err != nil || strings.Contains(string(text), s.Host) {
		t.Errorf("after the logout %s is %s, %v", config, text, err)
	}
	must(t, os.WriteFile(file, kept, 0o600))
	if out := d.run().fails(t, binary, "whoami"); !strings.Contains(out, "the login has ended") {
		t.Errorf("C-20: after the logout the identity token says %s", out)
	}

	// Where there is no helper docker's file has the identity token, and no password.
	t.Setenv("PATH", path)
	r := d.run()
	r.Stdin = alice
	r.ok(t, binary, "login", s.Host, "--username", "alice", "--password-stdin")
	work()
	token = identityToken(t, file, "https://"+s.Host)
	if found := search(t, []string{d.home}, alice, token); !slices.Equal(found, []string{file, config}) {
		t.Errorf("secrets are in %q, and should be in %s and %s alone", found, file, config)
	}
	d.run().ok(t, binary, "logout")
	if found := search(t, []string{d.home}, token); len(found) > 0 {
		t.Errorf("after the logout the identity token is in %q", found)
	}
}

// loginElsewhere logs in with a code, which a person approves with a browser.
func (d *desk) loginElsewhere(user, password string) {
	d.t.Helper()
	ca, err := os.ReadFile(d.s.CA)
	must(d.t, err)

	login := exec.Command(binary, "login", d.s.Host, "--device")
	login.Env = append(os.Environ(), d.run().Env...)
	said, err := login.StderrPipe()
	must(d.t, err)
	must(d.t, login.Start())
	d.t.Cleanup(func() { login.Process.Kill() })
	lines := bufio.NewReader(said)
	line, err := lines.ReadString('\n')
	shown := deviceLine.FindStringSubmatch(line)
	if err != nil || shown == nil {
		d.t.Fatalf("login said %q, %v", line, err)
	}
	b, err := browsertest.New(ca)
	must(d.t, err)
	b.Name, b.Password = user, password
	if page, err := b.Approve(shown[1], shown[2], "approve"); err != nil || !strings.Contains(page, "is logged in") {
		d.t.Fatalf("the page says %s, %v", page, err)
	}
	line, err = lines.ReadString('\n')
	if must(d.t, err); !strings.Contains(line, "docker and podman get the identity token from docker-credential-sallyport") {
		d.t.Errorf("login said %q", line)
	}
	must(d.t, login.Wait())
}
