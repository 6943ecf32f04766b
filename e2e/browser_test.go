package e2e

import (
	"bufio"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSignInWithABrowser: people sign in at a real provider, zitadel's example, with
// a real Chromium, and what they typed, and what was issued to them on the way, is
// nowhere in clear afterwards.
func TestSignInWithABrowser(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_ALL") == "" {
		t.Skip("Chromium is in make test-all")
	}
	b := newBooth(t)
	watch := watchProcesses(t)
	t.Run("loopback", b.loopback)
	t.Run("device", b.device)
	t.Run("no scripts, denied", b.denied)
	t.Run("no scripts, with a password", b.password)
	t.Run("frame", b.frame)
	t.Run("leaver", b.leaver)
	b.searchAll(t)
	if seen := watch(b.secrets...); len(seen) > 0 {
		t.Errorf("secrets are in the arguments of %q", seen)
	}
}

// atProvider signs in on the page of the provider that the browser shows.
func (b *booth) atProvider(t *testing.T, name string) {
	t.Helper()
	b.page.click(t, ".button") // the only one
	b.page.see(t, "Username:")
	b.page.typed(t, "#username", name)
	b.page.typed(t, "#password", b.typed[name])
	b.page.click(t, "button")
}

// begin starts a login, and returns it and what it says.
func (b *booth) begin(t *testing.T, d *desk, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	login := exec.Command(binary, append([]string{"login", b.s.Host}, args...)...)
	login.Env = append(os.Environ(), d.run().Env...)
	said, err := login.StderrPipe()
	must(t, err)
	must(t, login.Start())
	t.Cleanup(func() { login.Process.Kill() })
	return login, bufio.NewReader(said)
}

// opened returns the page that a program here has opened.
func (b *booth) opened(t *testing.T, d *desk) string {
	t.Helper()
	file := filepath.Join(d.home, "page")
	until(t, "the login opens a browser", func() bool { _, err := os.Stat(file); return err == nil })
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Remove(file))
	return string(text)
}

// waiting begins a login of the device flow, and types its code.
func (b *booth) waiting(t *testing.T, d *desk) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	login, said := b.begin(t, d, "--device")
	line, err := said.ReadString('\n')
	found := deviceLine.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("login said %q, %v", line, err)
	}
	b.secrets = append(b.secrets, found[2], strings.ReplaceAll(found[2], "-", ""))
	b.page.open(t, found[1])
	b.page.see(t, "Never type one that somebody sent to you")
	b.page.typed(t, "input[name=user_code]", strings.ToLower(found[2]))
	b.page.click(t, "button")
	return login, said
}

// warning is what the page has to say of a program elsewhere (O-11).
var warning = []string{"At the address", registryIP, "sallyport/", "Asked at", "somebody else wants your rights"}

// pulls has docker and podman pull at a desk.
func (b *booth) pulls(t *testing.T, d *desk) {
	t.Helper()
	d.t = t
	d.ok("docker", "pull", b.image)
	d.ok("docker", "image", "rm", "--force", b.image)
	d.ok(append(d.storage("podman"), "pull", "--quiet", "--cert-dir", d.certs(), b.image)...)
}

// quiet fails when Chromium complained of anything but a page of the provider's.
func (b *booth) quiet(t *testing.T) {
	t.Helper()
	for _, said := range b.page.complaints(t) {
		if !strings.Contains(said, "("+b.page.issuer) {
			t.Errorf("Chromium says: %s", said)
		}
	}
}

// loggedIn waits for a login to succeed, and notes its identity token.
func (b *booth) loggedIn(t *testing.T, d *desk, login *exec.Cmd) {
	t.Helper()
	must(t, login.Wait())
	b.quiet(t)
	b.secrets = append(b.secrets, identityToken(t, loginOf(d), "https://"+b.s.Host))
}

// loginOf is the one file of a desk that may have a secret.
func loginOf(d *desk) string { return filepath.Join(d.home, ".config", "sallyport", "login.json") }

var codeInURL = regexp.MustCompile(`[?&]code=([^&]+)`)

// back is at the page of the program that the registry leads back to, by itself.
func (b *booth) back(t *testing.T) {
	t.Helper()
	a := b.page.see(t, "Back to the terminal")
	code := codeInURL.FindStringSubmatch(a.URL)
	if code == nil || !strings.HasPrefix(a.URL, "http://127.0.0.1:") {
		t.Fatalf("back at %s", a.URL)
	}
	b.secrets = append(b.secrets, code[1])
	b.cookies(t, 0)
}

// cookies fails unless the registry has left so many: one while a sign-in goes on,
// sealed, and none afterwards (W-06).
func (b *booth) cookies(t *testing.T, want int) {
	t.Helper()
	var ours []string
	for _, c := range b.page.do(t, "cookies", "", "").Found {
		if strings.HasPrefix(c, registryName) {
			ours = append(ours, c)
		}
	}
	if len(ours) != want {
		t.Fatalf("cookies %q", ours)
	}
	for _, c := range ours {
		if !strings.HasPrefix(c, registryName+" / __Host-sallyport=") || !strings.HasSuffix(c, " secure=true httponly=true Lax") {
			t.Errorf("cookie %s", c)
		}
		_, sealed, _ := strings.Cut(strings.Fields(c)[2], ".")
		plain, err := base64.RawURLEncoding.DecodeString(sealed)
		if err != nil || strings.Contains(string(plain), "{") && strings.Contains(string(plain), `"i":`) {
			t.Errorf("cookie %s is not sealed: %v", c, err)
		}
	}
}

// loopback: the browser of this machine, from the program and back to it.
func (b *booth) loopback(t *testing.T) {
	login, _ := b.begin(t, b.alice)
	b.page.open(t, b.opened(t, b.alice))
	b.page.see(t, "Sign in to "+b.s.Host, "The program sallyport on this computer wants to log in as you")
	b.cookies(t, 1)
	b.atProvider(t, "alice")
	b.back(t)
	b.loggedIn(t, b.alice, login)
	if who := b.alice.run().ok(t, binary, "whoami"); !strings.Contains(who, "user:corp/alice") || !strings.Contains(who, " corp/dev ") {
		t.Errorf("whoami says %s", who)
	}
	b.pulls(t, b.alice)
}

// device: the browser of another machine, where the person says yes.
func (b *booth) device(t *testing.T) {
	login, _ := b.waiting(t, b.bob)
	b.page.see(t, append([]string{"A program on another machine wants to log in as you"}, warning...)...)
	b.atProvider(t, "bob")
	b.page.see(t, append([]string{"Let this program log in as user:corp/bob?"}, warning...)...)
	b.cookies(t, 1)
	b.page.click(t, "button[value=approve]")
	b.page.see(t, "The program is logged in")
	b.cookies(t, 0)
	b.loggedIn(t, b.bob, login)
	b.pulls(t, b.bob)
}

// denied: the person says no, in a browser without JavaScript.
func (b *booth) denied(t *testing.T) {
	b.page.scripts(t, "off")
	defer b.page.scripts(t, "on")
	d := b.desk(t)
	login, said := b.waiting(t, d)
	b.page.see(t, append([]string{"A program on another machine wants to log in as you"}, warning...)...)
	b.atProvider(t, "alice")
	b.page.see(t, "Let this program log in as user:corp/alice?")
	b.page.click(t, "button[value=deny]")
	b.page.see(t, "The program gets nothing")
	line, err := said.ReadString('\n')
	if must(t, err); !strings.Contains(line, "denied") || login.Wait() == nil {
		t.Errorf("login said %q", line)
	}
	if _, err := os.Stat(loginOf(d)); err == nil {
		t.Error("it has a login")
	}
	b.quiet(t)
}

// password: a local account, in a browser without JavaScript, which goes back to the
// program all the same.
func (b *booth) password(t *testing.T) {
	b.page.scripts(t, "off")
	defer b.page.scripts(t, "on")
	d := b.desk(t)
	login, _ := b.begin(t, d)
	b.page.open(t, b.opened(t, d))
	b.page.typed(t, "input[name=name]", "carol")
	b.page.typed(t, "input[name=password]", b.local)
	b.page.click(t, "button")
	b.back(t)
	b.loggedIn(t, d, login)
	if who := d.run().ok(t, binary, "whoami"); !strings.Contains(who, "user:carol") {
		t.Errorf("whoami says %s", who)
	}
	d.run().ok(t, binary, "logout", b.s.Host)
}

// frame: no page of ours is shown in another's.
func (b *booth) frame(t *testing.T) {
	b.page.open(t, b.page.issuer+"/frame?of="+b.s.URL("/oauth/device"))
	b.page.see(t, "a frame")
	until(t, "Chromium refuses the frame", func() bool {
		return slices.ContainsFunc(b.page.complaints(t), func(said string) bool { return strings.Contains(said, "frame-ancestors 'none'") })
	})
}

// leaver: whom the provider vouches for no more is out, and who is still there
// stays, with a new refresh token.
func (b *booth) leaver(t *testing.T) {
	b.page.do(t, "forget", "", "bob")
	whoami := func(d *desk) (string, error) {
		stdout, stderr, err := d.run().try(t, binary, "whoami")
		return stdout + stderr, err
	}
	began := time.Now()
	until(t, "the session of who has left ends", func() bool { _, err := whoami(b.bob); return err != nil })
	if said, _ := whoami(b.bob); !strings.Contains(said, "the login has ended") {
		t.Errorf("whoami says %s", said)
	}
	b.bob.t = t
	if out, err := b.bob.try("docker", "pull", b.image); err == nil {
		t.Errorf("who has left pulls: %s", out)
	}
	t.Logf("out %s after the provider let them go, where recheck is 1m", time.Since(began).Round(time.Second))
	until(t, "the provider is asked about who is still there", func() bool {
		if said, err := whoami(b.alice); err != nil {
			t.Fatalf("who is still there: %s", said)
		}
		return slices.Contains(b.page.issued(t, "renewal"), "<nil>")
	})
	b.pulls(t, b.alice)
}

// searchAll looks for whatever was secret on the way.
func (b *booth) searchAll(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"code", "state", "access_token", "refresh_token", "id_token"} {
		issued := b.page.issued(t, kind)
		if len(issued) == 0 {
			t.Errorf("the provider issued no %s", kind)
		}
		b.secrets = append(b.secrets, issued...)
	}
	dirs := []string{b.s.Dir, filepath.Dir(b.e.dockerSocket), "/etc/docker", "/etc/containers"}
	for _, d := range b.desks {
		dirs = append(dirs, d.home)
	}
	want := []string{loginOf(b.alice), loginOf(b.bob)}
	if found := search(t, dirs, b.secrets...); !slices.Equal(found, want) {
		t.Errorf("secrets are in clear in %q, and should be in %q alone", found, want)
	}
	if len(b.secrets) < 30 {
		t.Errorf("only %d secrets to look for", len(b.secrets))
	}
}
