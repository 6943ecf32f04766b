package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "https://reg.test", "https://reg.test"},
		{"port", "https://reg.test:5000", "https://reg.test:5000"},
		{"slash", "https://reg.test/", "https://reg.test"},
		{"the scheme's own port", "https://reg.test:443", "https://reg.test"},
		{"no scheme", "reg.test:5000", "https://reg.test:5000"},
		{"no scheme, no port", "localhost", "https://localhost"},
		{"capitals", "HTTPS://REG.Test", "https://reg.test"},
		{"IPv4", "https://192.0.2.1", "https://192.0.2.1"},
		{"IPv6", "https://[2001:DB8:0::1]:5000", "https://[2001:db8::1]:5000"},
		{"http on loopback", "http://localhost:5000", "http://localhost:5000"},
		{"http on loopback, by address", "http://127.0.0.1:80", "http://127.0.0.1"},

		{"empty", "", ""},
		{"http elsewhere", "http://reg.test", ""},
		{"http on what looks like loopback", "http://localhost.reg.test", ""},
		{"other scheme", "ftp://reg.test", ""},
		{"javascript", "javascript://reg.test", ""},
		{"C-01 LF", "https://reg.test\n", ""},
		{"C-01 CR", "https://reg.test\r\nX: y", ""},
		{"C-01 NUL", "https://reg.test\x00", ""},
		{"C-01 escaped LF", "https://reg.test%0a", ""},
		{"C-01 leading -", "-reg.test", ""},
		{"C-01 an option", "--ca-file=x", ""},
		{"C-01 1 MB", "https://" + strings.Repeat("a", 1<<20), ""},
		{"C-01 blank", "https://reg test", ""},
		{"C-02 user", "https://u@reg.test", ""},
		{"C-02 user and password", "https://u:p@reg.test", ""},
		{"C-02 trailing dot", "https://reg.test.", ""},
		{"C-02 IDN", "https://r\u00e9g.test", ""},
		{"path", "https://evil/reg.test", ""},
		{"dots", "https://reg.test/..", ""},
		{"query", "https://reg.test?x=y", ""},
		{"empty query", "https://reg.test?", ""},
		{"fragment", "https://reg.test#x", ""},
		{"empty fragment", "https://reg.test#", ""},
		{"backslash", `https://reg.test\@evil`, ""},
		{"port 0", "https://reg.test:0", ""},
		{"port too large", "https://reg.test:65536", ""},
		{"port with a zero before", "https://reg.test:05000", ""},
		{"port is empty", "https://reg.test:", ""},
		{"port is no number", "https://reg.test:a", ""},
		{"host is empty", "https://:5000", ""},
		{"label is empty", "https://reg..test", ""},
		{"zone", "https://[fe80::1%25eth0]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := client.ParseAddress(c.in)
			if string(got) != c.want || (err == nil) != (c.want != "") {
				t.Errorf("ParseAddress(%.80q) = %q, %v; want %q", c.in, got, err, c.want)
			}
			if err != nil && strings.IndexFunc(err.Error(), func(r rune) bool { return r < ' ' }) >= 0 {
				t.Errorf("C-12: the error %q is not fit for a terminal", err)
			}
		})
	}
}

// FuzzParseAddress: what is taken is canonical, so that two addresses are the
// same server only when they are equal.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"https://reg.test:5000", "REG.TEST", "http://[::1]:80/", "https://a@b", "https://127.1", "https://0x7f.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := client.ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := client.ParseAddress(string(a)); err != nil || again != a {
			t.Errorf("%q is %q, which is %q (%v)", s, a, again, err)
		}
		if strings.ContainsAny(string(a), "@?#% \t\r\n\\\x00") {
			t.Errorf("%q is %q", s, a)
		}
		if got, err := a.Pin(string(a) + "/token"); err != nil || got != string(a)+"/token" {
			t.Errorf("the token service of %q is %q (%v)", a, got, err)
		}
	})
}

func TestPin(t *testing.T) {
	const server = client.Address("https://reg.test:5000")
	for _, realm := range []string{"https://reg.test:5000/token", "https://REG.test:5000/token"} {
		if got, err := server.Pin(realm); err != nil || got != "https://reg.test:5000/token" {
			t.Errorf("Pin(%q) = %q, %v", realm, got, err)
		}
	}
	for _, c := range []struct{ name, realm string }{
		{"another host", "https://evil/token"},
		{"a host that begins alike", "https://reg.test.evil:5000/token"},
		{"a sub-domain", "https://token.reg.test:5000/token"},
		{"another port", "https://reg.test:8443/token"},
		{"no port", "https://reg.test/token"},
		{"http", "http://reg.test:5000/token"},
		{"loopback", "https://127.0.0.1:5000/token"},
		{"metadata", "http://169.254.169.254/latest"},
		{"user info", "https://reg.test:5000@evil/token"},
		{"own user info", "https://u:p@reg.test:5000/token"},
		{"relative", "/token"},
		{"without scheme", "//reg.test:5000/token"},
		{"no path", "https://reg.test:5000"},
		{"query", "https://reg.test:5000/token?next=https://evil"},
		{"fragment", "https://reg.test:5000/token#x"},
		{"backslash", `https://reg.test:5000\@evil/token`},
		{"line break", "https://reg.test:5000/token\r\nX: y"},
		{"empty", ""},
		{"long", "https://reg.test:5000/" + strings.Repeat("a", 10_000)},
	} {
		t.Run("C-04 "+c.name, func(t *testing.T) {
			if got, err := server.Pin(c.realm); !errors.Is(err, client.ErrForeignRealm) {
				t.Errorf("Pin(%q) = %q, %v", c.realm, got, err)
			}
		})
	}
}

func TestParseChallenge(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     client.Challenge
		ok       bool
	}{
		{"usual", `Bearer realm="https://r/token",service="r"`, client.Challenge{Realm: "https://r/token", Service: "r"}, true},
		{"all", `bearer realm="https://r/token", service="r" , scope="a:b:c d:e:f",error="invalid_token"`, client.Challenge{"https://r/token", "r", "a:b:c d:e:f", "invalid_token"}, true},
		{"escapes", `Bearer realm="a\"b\\c",service=r`, client.Challenge{Realm: `a"b\c`, Service: "r"}, true},
		{"unknown parameter", `Bearer realm="r",x="y,z=w"`, client.Challenge{Realm: "r"}, true},
		{"Basic", `Basic realm="r"`, client.Challenge{}, false},
		{"no realm", `Bearer service="r"`, client.Challenge{}, false},
		{"two realms", `Bearer realm="r",realm="evil"`, client.Challenge{}, false},
		{"two realms, other case", `Bearer realm="r",Realm="evil"`, client.Challenge{}, false},
		{"open quote", `Bearer realm="r`, client.Challenge{}, false},
		{"no comma", `Bearer realm="r" service="s"`, client.Challenge{}, false},
		{"nothing", ``, client.Challenge{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := client.ParseChallenge(c.in)
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
