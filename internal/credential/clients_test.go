package credential_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
	"github.com/sallyport/sallyport/internal/credential"
)

// A machine has the configurations of docker and podman, and helpers on PATH that
// write down what they are given.
type machine struct {
	t           *testing.T
	home, store string
	login       client.Login
}

const idt = "sallyport_idt_canary"

func newMachine(t *testing.T, helpers ...string) *machine {
	t.Helper()
	m := &machine{t: t, home: t.TempDir()}
	for variable, value := range map[string]string{
		"HOME": m.home, "XDG_CONFIG_HOME": m.file(".config"), "DOCKER_CONFIG": m.file("docker"), "XDG_RUNTIME_DIR": m.file("run"),
		"REGISTRY_AUTH_FILE": "", "PATH": m.file("bin"),
	} {
		t.Setenv(variable, value)
	}
	must(t, os.MkdirAll(m.file("bin"), 0o755))
	for _, h := range helpers {
		script := "#!/bin/sh\necho \"$0 $1\" >>" + m.file("given") + "\n/bin/cat >>" + m.file("given") + "\n"
		if h == "docker-credential-broken" {
			script = "#!/bin/sh\necho 'no such\x1b[2J store'\nexit 1\n"
		}
		must(t, os.WriteFile(m.file("bin/"+h), []byte(script), 0o755))
	}
	m.login = client.Login{Server: "https://reg.test", Username: "corp/alice", Token: client.Secret{Secret: access.NewSecret(idt)}}
	return m
}

func (m *machine) file(name string) string { return filepath.Join(m.home, name) }

func (m *machine) read(name string) string {
	text, err := os.ReadFile(m.file(name))
	if err != nil {
		return ""
	}
	return string(text)
}

func (m *machine) clients() credential.Clients {
	m.t.Helper()
	store, err := client.NewStore()
	must(m.t, err)
	c, err := credential.FindClients(store)
	must(m.t, err)
	return c
}

const (
	dockerFile = "docker/config.json"
	podmanFile = "run/containers/auth.json"
	asksOurs   = `"reg.test":"sallyport"`
)

var plain = `"reg.test":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("corp/alice:")) + `","identitytoken":"` + idt + `"}`

// TestConnect: where the login goes, and that all is as before after the logout.
func TestConnect(t *testing.T) {
	for _, c := range []struct {
		name    string
		helpers string
		env     string            // REGISTRY_AUTH_FILE
		before  map[string]string // files
		want    map[string]string // what they hold then, without blanks
		given   string            // to a helper
		hidden  string            // what is said to come before it
		after   map[string]string // what differs from before in the end
	}{
		{name: "our helper, no file", helpers: "docker-credential-sallyport",
			want: map[string]string{dockerFile: `{"credHelpers":{` + asksOurs + `}}`, podmanFile: ""}, after: map[string]string{dockerFile: "{}"}},
		{name: "no helper, no file", want: map[string]string{dockerFile: `{"auths":{` + plain + `}}`, podmanFile: ""}, after: map[string]string{dockerFile: "{}"}},
		{name: "our helper beside a store of docker's", helpers: "docker-credential-sallyport docker-credential-pass",
			before: map[string]string{dockerFile: `{"credsStore":"pass"}`},
			want:   map[string]string{dockerFile: `{"credsStore":"pass","credHelpers":{` + asksOurs + `}}`}},
		{name: "a store of docker's alone", helpers: "docker-credential-pass",
			before: map[string]string{dockerFile: `{"credsStore":"pass"}`},
			want:   map[string]string{dockerFile: `{"credsStore":"pass","auths":{"reg.test":{}}}`},
			given:  `docker-credential-pass store` + "\n" + `{"ServerURL":"reg.test","Username":"\u003ctoken\u003e","Secret":"` + idt + `"}`},
		{name: "another helper was chosen", helpers: "docker-credential-sallyport docker-credential-pass",
			before: map[string]string{dockerFile: `{"credHelpers":{"reg.test":"pass"}}`},
			want:   map[string]string{dockerFile: `{"credHelpers":{"reg.test":"pass"},"auths":{"reg.test":{}}}`},
			given:  "docker-credential-pass store"},
		{name: "a password of before goes", helpers: "docker-credential-sallyport",
			before: map[string]string{dockerFile: `{"auths":{"a.test":{},"reg.test":{"auth":"YWxpY2U6cHc="},"reg.test:5000":{"auth":"YWxpY2U6cHc="}},"x":1e3}`},
			want:   map[string]string{dockerFile: `{"auths":{"a.test":{},"reg.test:5000":{"auth":"YWxpY2U6cHc="}},"x":1e3,"credHelpers":{` + asksOurs + `}}`},
			after:  map[string]string{dockerFile: `{"auths":{"a.test":{},"reg.test:5000":{"auth":"YWxpY2U6cHc="}},"x":1e3}`}},
		{name: "URLs, which docker takes for the host", helpers: "docker-credential-sallyport",
			before: map[string]string{dockerFile: `{"auths":{"https://reg.test":{"auth":"YWxpY2U6cHc="},"https://reg.test/v2/":{"identitytoken":"t"},"http://reg.test/v1/":{"auth":"YWxpY2U6cHc="},"https://reg.test:5000":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{dockerFile: `{"auths":{"https://reg.test:5000":{"auth":"YWxpY2U6cHc="}},"credHelpers":{` + asksOurs + `}}`},
			after:  map[string]string{dockerFile: `{"auths":{"https://reg.test:5000":{"auth":"YWxpY2U6cHc="}}}`}},
		{name: "a URL, and no helper",
			before: map[string]string{dockerFile: `{"auths":{"https://reg.test/v2/":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{dockerFile: `{"auths":{` + plain + `}}`},
			after:  map[string]string{dockerFile: `{}`}},
		{name: "a URL in a file of podman's hides it", helpers: "docker-credential-sallyport",
			before: map[string]string{podmanFile: `{"auths":{"https://reg.test":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{podmanFile: `{"credHelpers":{` + asksOurs + `}}`},
			after:  map[string]string{dockerFile: "{}", podmanFile: "{}"}},
		{name: "a part of the registry, and no helper",
			before: map[string]string{podmanFile: `{"auths":{"reg.test/team":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{podmanFile: `{"auths":{"reg.test/team":{"auth":"YWxpY2U6cHc="},` + plain + `}}`},
			hidden: "reg.test/team in ", after: map[string]string{dockerFile: "{}", podmanFile: "{}"}},
		{name: "a part of the registry, and our helper", helpers: "docker-credential-sallyport",
			before: map[string]string{podmanFile: `{"auths":{"reg.test/team":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{podmanFile: `{"auths":{"reg.test/team":{"auth":"YWxpY2U6cHc="}},"credHelpers":{` + asksOurs + `}}`},
			after:  map[string]string{dockerFile: "{}", podmanFile: "{}"}},
		{name: "a file of podman's that hides it", helpers: "docker-credential-sallyport",
			before: map[string]string{podmanFile: `{"auths":{"reg.test":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{podmanFile: `{"credHelpers":{` + asksOurs + `}}`},
			after:  map[string]string{dockerFile: "{}", podmanFile: "{}"}},
		{name: "a file of podman's that does not", helpers: "docker-credential-sallyport",
			before: map[string]string{podmanFile: `{"auths":{"other.test":{"auth":"YWxpY2U6cHc="}}}`},
			want:   map[string]string{podmanFile: `{"auths":{"other.test":{"auth":"YWxpY2U6cHc="}}}`}, after: map[string]string{dockerFile: "{}"}},
		{name: "podman reads one file alone", env: "auth.json",
			want: map[string]string{dockerFile: `{"auths":{` + plain + `}}`, "auth.json": `{"auths":{` + plain + `}}`, podmanFile: ""}, after: map[string]string{dockerFile: "{}", "auth.json": "{}"}},
		{name: "helper install was before", helpers: "docker-credential-sallyport",
			before: map[string]string{dockerFile: `{"credHelpers":{` + asksOurs + `}}`},
			want:   map[string]string{dockerFile: `{"credHelpers":{` + asksOurs + `}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, strings.Fields(c.helpers)...)
			if c.env != "" {
				t.Setenv("REGISTRY_AUTH_FILE", m.file(c.env))
			}
			for name, text := range c.before {
				must(t, os.MkdirAll(filepath.Dir(m.file(name)), 0o755))
				must(t, os.WriteFile(m.file(name), []byte(text), 0o644))
			}
			check := func(when string, want map[string]string) {
				t.Helper()
				for name, text := range want {
					if got := strings.NewReplacer("\n", "", "\t", "", " ", "").Replace(m.read(name)); got != text {
						t.Errorf("%s: %s is %s\nwant %s", when, name, got, text)
					}
				}
			}
			conn, err := m.clients().Connect(context(), m.login)
			must(t, err)
			check("logged in", c.want)
			if given := m.read("given"); !strings.Contains(given, c.given) {
				t.Errorf("a helper got %q", given)
			}
			if hidden := strings.Join(conn.Hidden, " "); (c.hidden == "") != (hidden == "") || !strings.HasPrefix(hidden, c.hidden) {
				t.Errorf("before it comes %q", hidden)
			}
			for _, name := range append(conn.Changed, conn.Plain...) {
				if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("C-09: %s: %v, %v", name, info, err)
				}
			}
			tokens, _, err := m.clients().Disconnect(context(), "reg.test", conn.Changed)
			must(t, err)
			if len(tokens) != len(conn.Plain) {
				t.Errorf("%d identity tokens came back of %v", len(tokens), conn.Plain)
			}
			if c.after == nil {
				c.after = c.before
			}
			check("logged out", c.after)
			if given := m.read("given"); (c.given != "") != strings.Contains(given, "erase\nreg.test") {
				t.Errorf("a helper got %q in the end", given)
			}
		})
	}
}

// TestDisconnectAnyKey: the identity tokens of every entry for the host come back,
// also where nobody logged in with this tool.
func TestDisconnectAnyKey(t *testing.T) {
	m := newMachine(t)
	const other = `{"auths":{"reg.test:5000/team":{"auth":"YWxpY2U6cHc="}}}`
	must(t, os.MkdirAll(m.file("docker"), 0o755))
	text := strings.Replace(other, `{"reg`, `{"https://reg.test":{"identitytoken":"1"},"http://reg.test/v1/":{"identitytoken":"2"},"reg.test/team":{"identitytoken":"3"},"reg`, 1)
	must(t, os.WriteFile(m.file(dockerFile), []byte(text), 0o600))
	tokens, found, err := m.clients().Disconnect(context(), "reg.test", nil)
	if err != nil || !found || len(tokens) != 3 {
		t.Errorf("%d identity tokens, %t, %v", len(tokens), found, err)
	}
	if got := strings.NewReplacer("\n", "", "\t", "", " ", "").Replace(m.read(dockerFile)); got != other {
		t.Errorf("the file is %s", got)
	}
}

// TestConnectRefuses: what is not understood is not changed.
func TestConnectRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"damaged", "{\n\n\"auths\": {}", "line 3: it is not an object of JSON"},
		{"something after it", "{}\n{}", "line 2"},
		{"a list", "[]", "not an object"},
		{"auths is a list", `{"auths":[]}`, "auths is not an object"},
		{"auths twice", `{"auths":{},"Auths":{}}`, "auths stands there twice"},
		{"credHelpers twice", `{"credHelpers":{},"credhelpers":{}}`, "credHelpers stands there twice"},
		{"C-01 a helper that is no name", `{"credHelpers":{"reg.test":"../../evil"}}`, "no name of a helper"},
		{"a helper that is not there", `{"credsStore":"none"}`, "docker-credential-none"},
		{"C-12 a helper that fails", `{"credHelpers":{"reg.test":"broken"}}`, `no such\x1b[2J store`},
	} {
		t.Run(c.name, func(t *testing.T) {
			helpers := []string{"docker-credential-broken"}
			if strings.HasPrefix(c.name, "credHelpers") {
				helpers = append(helpers, credential.HelperName)
			}
			m := newMachine(t, helpers...)
			must(t, os.MkdirAll(m.file("docker"), 0o755))
			must(t, os.WriteFile(m.file(dockerFile), []byte(c.text), 0o600))
			_, err := m.clients().Connect(context(), m.login)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), idt) {
				t.Errorf("error is %v", err)
			}
			if got := m.read(dockerFile); got != c.text {
				t.Errorf("it became %s", got)
			}
		})
	}
}

// TestConnectTogether: logins at the same time lose nothing of each other (C-09).
func TestConnectTogether(t *testing.T) {
	m := newMachine(t)
	c := m.clients()
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			l := m.login
			l.Server = client.Address(fmt.Sprintf("https://reg%d.test", i))
			if _, err := c.Connect(context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	conf, err := dockerconfig.Read(m.file(dockerFile))
	must(t, err)
	if len(conf.Entries) != 20 {
		t.Errorf("%d of 20 logins are there", len(conf.Entries))
	}
}
