package dockerconfig_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestEntries: what stands in "auths", as docker, podman and hands write it.
func TestEntries(t *testing.T) {
	secret := access.NewSecret
	for name, c := range map[string]struct {
		text string
		want dockerconfig.Entry
	}{
		"password":             {`{"auth":"` + b64("alice:pw:x") + `"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw:x")}},
		"identity token":       {`{"auth":"` + b64("alice:") + `","identitytoken":"t"}`, dockerconfig.Entry{Username: "alice", IdentityToken: secret("t")}},
		"token as password":    {`{"auth":"` + b64("<token>:t") + `"}`, dockerconfig.Entry{Username: "<token>", IdentityToken: secret("t")}},
		"token without a name": {`{"identitytoken":"t"}`, dockerconfig.Entry{IdentityToken: secret("t"), Fault: dockerconfig.NoName}},
		"bearer token":         {`{"registrytoken":"t"}`, dockerconfig.Entry{RegistryToken: secret("t")}},
		"fields":               {`{"username":"alice","password":"pw","email":"a@b"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw")}},
		"auth wins":            {`{"auth":"` + b64("bob:pw") + `","username":"alice","password":"old"}`, dockerconfig.Entry{Username: "bob", Password: secret("pw")}},
		"any case":             {`{"AUTH":"` + b64("alice:pw") + `"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw")}},
		"of a helper":          {`{}`, dockerconfig.Entry{}},
		"null":                 {`{"auth":null}`, dockerconfig.Entry{}},
		"zero bytes":           {`{"auth":"` + b64("alice:pw\x00\x00") + `"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw")}},
		"no padding":           {`{"auth":"` + strings.TrimRight(b64("alice:pw1"), "=") + `"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw1")}},
		"padding cut off":      {`{"auth":"` + strings.TrimRight(b64("alice:pw"), "=") + `"}`, dockerconfig.Entry{Username: "alice", Password: secret("pw"), Fault: dockerconfig.BadAuth}},
		"no colon":             {`{"auth":"` + b64("pw") + `"}`, dockerconfig.Entry{Password: secret("pw"), Fault: dockerconfig.BadAuth}},
		"no name":              {`{"auth":"` + b64(":pw") + `"}`, dockerconfig.Entry{Password: secret("pw"), Fault: dockerconfig.BadAuth}},
		"not base64":           {`{"auth":"***"}`, dockerconfig.Entry{Password: secret("***"), Fault: dockerconfig.BadAuth}},
		"not an object":        {`"alice:pw"`, dockerconfig.Entry{Fault: dockerconfig.NotAnEntry}},
		"not a text":           {`{"auth":7}`, dockerconfig.Entry{Fault: dockerconfig.NotAnEntry}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Registry = "reg.test:5000"
			got, err := dockerconfig.Parse([]byte(`{"auths":{"reg.test:5000":` + c.text + `}}`))
			if err != nil || len(got.Entries) != 1 {
				t.Fatalf("%d entries, %v", len(got.Entries), err)
			}
			legacy, err := dockerconfig.ParseLegacy([]byte(`{"reg.test:5000":` + c.text + `}`))
			if err != nil || !reflect.DeepEqual(legacy.Entries, got.Entries) {
				t.Errorf("as .dockercfg: %d entries, %v", len(legacy.Entries), err)
			}
			e := got.Entries[0]
			if !reflect.DeepEqual(e, c.want) {
				t.Errorf("read %q %q %q %q %q", e.Username, e.Password.Reveal(), e.IdentityToken.Reveal(), e.RegistryToken.Reveal(), e.Fault)
			}
			if has := e != (dockerconfig.Entry{Registry: e.Registry, Username: e.Username, Fault: e.Fault}); e.HasSecret() != has {
				t.Errorf("HasSecret() = %t", e.HasSecret())
			}
		})
	}
}

func TestParse(t *testing.T) {
	got, err := dockerconfig.Parse([]byte(`{
		"auths": {"a.test": {"auth": "` + b64("u:1") + `"}, "a.test": {"auth": "` + b64("u:2") + `"}},
		"CredsStore": "pass", "credHelpers": {"b.test": "sallyport", "b.test:5000": "x"},
		"proxies": {"default": {"httpProxy": "http://u:canary@proxy.test:3128", "httpsProxy": "http://u@proxy.test", "noProxy": "a.test"}},
		"HttpHeaders": {"Authorization": "Basic canary"}, "plugins": {"x": {}}, "psFormat": 7}
		what follows`))
	if err != nil {
		t.Fatal(err)
	}
	secret := access.NewSecret
	want := dockerconfig.Config{
		Entries: []dockerconfig.Entry{{Registry: "a.test", Username: "u", Password: secret("1")}, {Registry: "a.test", Username: "u", Password: secret("2")}},
		Store:   "pass",
		Helpers: []dockerconfig.Helper{{Registry: "b.test", Name: "sallyport"}, {Registry: "b.test:5000", Name: "x"}},
		Strays:  []dockerconfig.Stray{{Where: "proxies.default.httpProxy", Secret: secret("canary")}, {Where: "HttpHeaders.Authorization", Secret: secret("Basic canary")}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
	for registry, want := range map[string]string{"a.test": "pass", "b.test": "sallyport", "b.test:5000": "x", "b.test:5001": "pass"} {
		if name := got.Helper(registry); name != want {
			t.Errorf("the helper of %s is %q, want %q", registry, name, want)
		}
	}
}

// TestDamage: what comes before the damage is not lost.
func TestDamage(t *testing.T) {
	for text, entries := range map[string]int{
		``: 0, ` `: 0, `null`: 0, `[]`: 0, `{`: 0, `{"auths"`: 0, `{"auths":7}`: 0, "\xef\xbb\xbf{}": 0,
		`{"auths":{"a":{"auth":"eDp5"}},`: 1, `{"auths":{"a":{"auth":"eDp5"}}`: 1, `{"auths":{"\xff":{}}}`: 0, "{\"auths\":{\"\xff\":{}}}": 1,
		`{"auths":` + strings.Repeat(`{"a":`, 100_000): 0,
		`{"auths":` + strings.Repeat(`[`, 1_000_000):   0,
	} {
		c, err := dockerconfig.Parse([]byte(text))
		whole := strings.TrimSpace(text) == "" || json.Valid([]byte(text)) && text[0] == '{'
		if (err == nil) != whole || err != nil && !errors.Is(err, dockerconfig.ErrNotJSON) || len(c.Entries) != entries {
			t.Errorf("%.40q: %d entries, %v", text, len(c.Entries), err)
		}
	}
	if _, err := dockerconfig.Parse(make([]byte, dockerconfig.MaxSize+1)); !errors.Is(err, dockerconfig.ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
}

func TestHost(t *testing.T) {
	for key, want := range map[string]string{
		"reg.test": "reg.test", "reg.test:5000": "reg.test:5000", "https://reg.test:5000": "reg.test:5000",
		"https://index.docker.io/v1/": "index.docker.io", "reg.test/team/app": "reg.test", "https://u:p@reg.test": "reg.test", "[::1]:5000": "[::1]:5000",
	} {
		if got := dockerconfig.Host(key); got != want {
			t.Errorf("Host(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if _, err := dockerconfig.Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"credsStore":"pass"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := dockerconfig.Read(path); err != nil || c.Store != "pass" {
		t.Errorf("read %+v, %v", c, err)
	}
	if err := os.WriteFile(path, []byte(`{"auths":{"a":{"auth":"canary`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dockerconfig.Read(path); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a damaged file: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{fifo, dir, "/dev/zero"} {
		if _, err := dockerconfig.Read(odd); err == nil {
			t.Errorf("%s was read", odd)
		}
	}
}
