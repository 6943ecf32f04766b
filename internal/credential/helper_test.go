package credential_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker-credential-helpers/credentials"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/credential"
)

func TestMain(m *testing.M) {
	os.Setenv("SALLYPORT_KEYCHAIN", "none")
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A desk has a helper and what it said.
type desk struct {
	credential.Helper
	notes bytes.Buffer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	store, err := client.NewStore()
	must(t, err)
	d := &desk{}
	d.Helper = credential.Helper{Store: store, Version: "1", Notes: &d.notes}
	return d
}

func (d *desk) run(action, in string) (out string, code int) {
	var b bytes.Buffer
	code = d.Serve(context(), []string{action}, strings.NewReader(in), &b)
	return b.String(), code
}

func stored(url, user, secret string) string {
	b, err := json.Marshal(map[string]string{"ServerURL": url, "Username": user, "Secret": secret})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A memory is a store for docker's own library, which is the oracle.
type memory map[string]*credentials.Credentials

func (m memory) Add(c *credentials.Credentials) error { m[c.ServerURL] = c; return nil }
func (m memory) Delete(url string) error              { delete(m, url); return nil }
func (m memory) Get(url string) (string, string, error) {
	if c, ok := m[url]; ok {
		return c.Username, c.Secret, nil
	}
	return "", "", credentials.NewErrCredentialsNotFound()
}
func (m memory) List() (map[string]string, error) {
	out := map[string]string{}
	for url, c := range m {
		out[url] = c.Username
	}
	return out, nil
}

// TestProtocol compares every answer, to the byte, with that of the library that
// docker's own helpers are made of.
func TestProtocol(t *testing.T) {
	d, oracle := newDesk(t), memory{}
	for _, c := range []struct{ action, in string }{
		{"list", "unused"},
		{"get", "reg.test"},
		{"get", ""},
		{"get", "\n"},
		{"store", stored("", "alice", "pw")},
		{"store", stored("reg.test", "", "pw")},
		{"store", stored("reg.test", "alice", `p"w<&>é`)},
		{"get", "reg.test"},
		{"get", "reg.test\n"},
		{"get", "  reg.test\r\n"},
		{"list", ""},
		{"store", stored("reg.test", "<token>", "sallyport_idt_x")},
		{"get", "reg.test"},
		{"store", stored("https://index.docker.io/v1/", "bob", "pw")},
		{"get", "https://index.docker.io/v1/"},
		{"list", "unused"},
		{"erase", "reg.test"},
		{"erase", "reg.test"},
		{"erase", ""},
		{"get", "reg.test"},
		{"list", ""},
	} {
		var want bytes.Buffer
		wantCode := 0
		if err := credentials.HandleCommand(oracle, c.action, strings.NewReader(c.in), &want); err != nil {
			fmt.Fprintln(&want, err)
			wantCode = 1
		}
		if got, code := d.run(c.action, c.in); got != want.String() || code != wantCode {
			t.Errorf("%s %q: %q (%d), the library says %q (%d)", c.action, c.in, got, code, want.String(), wantCode)
		}
	}
	if out, code := d.run("version", ""); code != 0 || !strings.HasPrefix(out, "docker-credential-sallyport ") {
		t.Errorf("version: %q, %d", out, code)
	}
	if out, code := d.run("frobnicate", ""); code != 1 || !strings.Contains(out, "unknown action") {
		t.Errorf("an unknown action: %q, %d", out, code)
	}
}

// TestExactHost: a credential is for one host and port and for no other name (C-02).
func TestExactHost(t *testing.T) {
	d := newDesk(t)
	d.run("store", stored("reg.test", "alice", "pw"))
	d.run("store", stored("two.test:5000", "alice", "pw"))
	must(t, d.Store.Save(client.Login{Server: "https://cli.test:8443", Username: "alice", Realm: "https://cli.test:8443/token", Token: client.Secret{Secret: access.NewSecret("idt")}}))
	for _, c := range []struct {
		url   string
		found bool
	}{
		{"reg.test", true}, {"https://reg.test", true}, {"https://reg.test/", true}, {"two.test:5000", true}, {"cli.test:8443", true},
		{"reg.test.evil", false}, {"evil/reg.test", false}, {"reg.test/evil", false}, {"reg.test:8443", false}, {"reg.test:443", false},
		{"http://reg.test", false}, {"u@reg.test", false}, {"https://u@reg.test", false}, {"REG.TEST.", false}, {"REG.TEST", false}, {"reg.test.", false},
		{"xn--reg-test", false}, {"reg", false}, {"test", false}, {"two.test", false}, {"two.test:50000", false}, {"https://reg.test/v2/", false},
		{"reg.test?x", false}, {"reg.test#", false}, {"//reg.test", false}, {"https://https://reg.test", false}, {"cli.test", false}, {"http://cli.test:8443", false},
	} {
		out, code := d.run("get", c.url)
		if c.found != (code == 0) || !c.found && out != "credentials not found in native keychain\n" {
			t.Errorf("C-02: %q: %q, %d", c.url, out, code)
		}
	}
	if out, _ := d.run("get", "rég.test"); strings.Contains(out, "pw") {
		t.Errorf("C-02: an IDN finds %q", out)
	}
}

// TestRefuses: names and secrets with more than they may hold (C-01), and that
// nothing secret is in what is said (C-10).
func TestRefuses(t *testing.T) {
	const canary = "canary-of-a-secret"
	long := strings.Repeat("a", 1<<20)
	for _, bad := range []string{"reg.test\nevil", "reg.test\revil", "reg.test\x00", "reg%0a.test", "-reg.test", "reg test", `reg"test`, `reg\test`, "rég.test", "\u202ereg", long} {
		d := newDesk(t)
		for action, in := range map[string]string{"get": bad, "erase": bad, "store": stored(bad, "alice", canary)} {
			out, code := d.run(action, in)
			if said := out + d.notes.String(); code == 0 || strings.Contains(said, canary) || strings.ContainsAny(out[:len(out)-1], "\n\r\x00") || len(said) > 5000 {
				t.Errorf("C-01: %s %.20q: %.200q, %d", action, bad, said, code)
			}
		}
	}
	for _, user := range []string{"-alice", "a\nb", "a\x00b", "a\x7fb", long} {
		d := newDesk(t)
		if out, code := d.run("store", stored("reg.test", user, canary)); code == 0 || strings.Contains(out, canary) {
			t.Errorf("C-01: user %.20q: %q, %d", user, out, code)
		}
	}
	for _, text := range []string{"", "{", `{"ServerURL":1,"Secret":"` + canary + `"}`, stored("reg.test", "alice", ""), stored("reg.test", "alice", "a\x00"+canary), stored("reg.test", "alice", long), canary} {
		d := newDesk(t)
		if out, code := d.run("store", text); code == 0 || strings.Contains(out+d.notes.String(), canary) {
			t.Errorf("C-10: store %.40q: %q, %d", text, out, code)
		}
	}
	d := newDesk(t)
	d.run("store", stored("reg.test", "alice", canary))
	if out, _ := d.run("list", ""); strings.Contains(out+d.notes.String(), canary) {
		t.Errorf("C-10: list and notes say %q %q", out, d.notes.String())
	}
	if !strings.Contains(d.notes.String(), "login.json") {
		t.Errorf("it does not say where the secret is: %q", d.notes.String())
	}
}

const metadataPath = "/.well-known/oauth-authorization-server"

// TestErase ends the session at the server, where that says and is its own, and is no
// failure when the server is not there or sends elsewhere (C-04).
func TestErase(t *testing.T) {
	idt, err := access.RefreshSecret.New(zeros{})
	must(t, err)
	var asked []string
	revoke := ""
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch r.URL.Path {
		case metadataPath:
			fmt.Fprintf(w, `{"revocation_endpoint":%q}`, revoke)
		case "/oauth/revoke":
			if r.FormValue("token") != idt.Reveal() || r.URL.RawQuery != "" {
				t.Error("another token came")
			}
		}
	})
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "https://")
	ca := pemOf(s.Certificate())
	for _, c := range []struct{ name, revoke, user, secret, want string }{
		{"ours", s.URL + "/oauth/revoke", "<token>", idt.Reveal(), "POST /oauth/revoke"},
		{"C-04: an end elsewhere", "https://evil.test/oauth/revoke", "<token>", idt.Reveal(), "GET " + metadataPath},
		{"none", "", "<token>", idt.Reveal(), "GET " + metadataPath},
		{"not ours", s.URL + "/oauth/revoke", "<token>", "another registry's", ""},
		{"a password", s.URL + "/oauth/revoke", "alice", idt.Reveal(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			must(t, d.Store.SetAmbient(host, &client.Ambient{Identity: "auto", CA: ca}))
			asked, revoke = nil, c.revoke
			d.run("store", stored(host, c.user, c.secret))
			for range 2 {
				if out, code := d.run("erase", host+"\n"); code != 0 || out != "" {
					t.Errorf("erase: %q, %d", out, code)
				}
			}
			last := ""
			if len(asked) > 0 {
				last = asked[len(asked)-1]
			}
			if last != c.want {
				t.Errorf("asked %q last, want %q; said %q", last, c.want, d.notes.String())
			}
			if out, _ := d.run("get", host); out != "credentials not found in native keychain\n" {
				t.Errorf("after erase: %q", out)
			}
		})
	}
	d := newDesk(t)
	must(t, d.Store.SetAmbient(host, &client.Ambient{Identity: "auto", CA: ca}))
	asked, revoke = nil, s.URL+"/oauth/revoke"
	d.run("store", stored(host, "<token>", idt.Reveal()))
	lock := filepath.Join(filepath.Dir(d.Store.Path()), "login.lock")
	must(t, os.Remove(lock))
	must(t, os.Mkdir(lock, 0o700))
	if _, code := d.run("erase", host); code == 0 || !strings.Contains(strings.Join(asked, " "), "POST /oauth/revoke") {
		t.Errorf("what cannot be forgotten: %d, asked %q", code, asked)
	}
	d = newDesk(t)
	d.run("store", stored("127.0.0.1:1", "<token>", idt.Reveal()))
	if out, code := d.run("erase", "127.0.0.1:1"); code != 0 || out != "" || !strings.Contains(d.notes.String(), "could not be ended") {
		t.Errorf("a server that is not there: %q, %d; %q", out, code, d.notes.String())
	}
}

func TestUse(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	real, path := filepath.Join(dir, "real.json"), filepath.Join(dir, "docker", "config.json")
	const before = `{"auths":{"reg.test":{"auth":"YWxpY2U6cHc="},"other.test":{}},"credsStore":"pass","credHelpers":{"gcr.io":"gcr"},"big":12345678901234567890,"HttpHeaders":{"A":"<b>"}}`
	must(t, os.WriteFile(real, []byte(before), 0o644))
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	must(t, os.Symlink(real, path))
	left, err := credential.Use(path, []string{"reg.test", "two.test:5000"})
	if err != nil || len(left) != 1 || left[0] != "reg.test" {
		t.Errorf("left %v, %v", left, err)
	}
	text, err := os.ReadFile(real)
	must(t, err)
	for _, want := range []string{`"reg.test": "sallyport"`, `"two.test:5000": "sallyport"`, `"gcr.io": "gcr"`, "12345678901234567890", `"credsStore": "pass"`, "YWxpY2U6cHc="} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if info, err := os.Stat(real); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("C-09: %v, %v", info.Mode(), err)
	}
	must(t, credential.Leave(path, nil))
	text, err = os.ReadFile(real)
	must(t, err)
	var was, is map[string]any
	must(t, json.Unmarshal([]byte(before), &was))
	must(t, json.Unmarshal(text, &is))
	if fmt.Sprint(was) != fmt.Sprint(is) {
		t.Errorf("after taking it back: %s", text)
	}
	must(t, os.WriteFile(real, []byte(`{"credhelpers":{"reg.test":"sallyport","gcr.io":"gcr"}}`), 0o600))
	must(t, credential.Leave(path, nil))
	if text, err := os.ReadFile(real); err != nil || strings.Contains(string(text), "sallyport") || !strings.Contains(string(text), `"gcr.io": "gcr"`) {
		t.Errorf("of a name in another case: %s, %v", text, err)
	}
	for _, bad := range []string{"[]", "{", `{"credHelpers":[]}`, `{"credHelpers":{},"credhelpers":{}}`} {
		must(t, os.WriteFile(real, []byte(bad), 0o600))
		if _, err := credential.Use(path, []string{"reg.test"}); err == nil {
			t.Errorf("%q was changed", bad)
		}
		if text, _ := os.ReadFile(real); string(text) != bad {
			t.Errorf("%q became %q", bad, text)
		}
	}
}

// TestUseHostile: what stands where docker's file belongs is not waited for, and
// not read to its end.
func TestUseHostile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, put := range map[string]func(at string) error{
		"FIFO": func(at string) error { return syscall.Mkfifo(at, 0o600) },
		"huge": func(at string) error {
			return errors.Join(os.WriteFile(at, nil, 0o600), os.Truncate(at, 1<<40))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			must(t, put(path))
			if _, err := credential.Use(path, []string{"reg.test"}); err == nil {
				t.Error("it was changed")
			}
		})
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "sallyport")
	must(t, os.WriteFile(binary, []byte("x"), 0o755))
	for range 2 {
		must(t, credential.Link(binary, dir))
	}
	for _, name := range credential.Names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err != nil || to != "sallyport" {
			t.Errorf("%s -> %s, %v", name, to, err)
		}
		if credential.Called(filepath.Join(dir, name)) == nil {
			t.Errorf("nothing serves %s", name)
		}
	}
	must(t, credential.Unlink(binary, dir))
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	must(t, os.WriteFile(filepath.Join(dir, credential.HelperName), []byte("another program"), 0o755))
	if credential.Link(binary, dir) == nil {
		t.Error("another program was replaced")
	}
}

// FuzzHelper: whatever comes in, what goes out is one answer, holds no control
// character, and a credential goes to the host it was stored for alone.
func FuzzHelper(f *testing.F) {
	for _, s := range []string{"reg.test", "https://reg.test", "evil/reg.test", "reg.test\n\x00", "{}", stored("evil.test", "a", "b")} {
		for i := range 3 {
			f.Add(s, uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, in string, which uint8) {
		d := newDesk(t)
		d.run("store", stored("reg.test", "alice", "canary"))
		out, code := d.run([]string{"get", "store", "erase"}[which%3], in)
		var p struct{ ServerURL, Secret string }
		switch {
		case code == 0 && which%3 == 0:
			must(t, json.Unmarshal([]byte(out), &p))
			if host := strings.TrimSuffix(strings.TrimPrefix(p.ServerURL, "https://"), "/"); p.Secret != "canary" || host != "reg.test" {
				t.Errorf("%q gets %q", in, out)
			}
		case code == 0 && out != "":
			t.Errorf("%q prints %q", in, out)
		case code != 0 && strings.Contains(out, "canary"):
			t.Errorf("C-10: %q prints %q", in, out)
		case code != 0 && strings.ContainsFunc(strings.TrimSuffix(out, "\n"), func(r rune) bool { return r < ' ' }):
			t.Errorf("%q prints %q", in, out)
		}
	})
}
