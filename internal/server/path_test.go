package server_test

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
)

var paths = map[string]bool{ // path → let through
	"/":                          true,
	"/v2":                        true,
	"/v2/":                       true,
	"/v2/team/app/manifests/1.0": true,
	"/v2/a/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a":   true,
	"/v2/a/blobs/sha256%3A44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a": true,
	"/v2/a/blobs/uploads/": true,
	"/v2/a..b/x":           true,
	"/v2/.hidden/...":      true,

	"":                               false,
	"*":                              false,
	"v2/":                            false,
	"//v2/":                          false,
	"/v2//a":                         false,
	"/v2/a//":                        false,
	"/v2/.":                          false,
	"/v2/./a":                        false,
	"/v2/..":                         false,
	"/v2/a/../../b":                  false,
	"/v2/%2e%2e/x":                   false,
	"/v2/%2E./x":                     false,
	"/v2/a%2fb":                      false,
	"/v2/a%2F..%2F..%2Fetc":          false,
	"/v2/a%5cb":                      false,
	"/v2/a\\b":                       false,
	"/v2/a%00":                       false,
	"/v2/a%0d%0aSet-Cookie:x":        false,
	"/v2/a;x=1":                      false,
	"/v2/a%3bx":                      false,
	"/v2/a#b":                        false,
	"/v2/a%23b":                      false,
	"/v2/a%252e":                     false,
	"/v2/%41":                        false,
	"/v2/a b":                        false,
	"/v2/a%20b":                      false,
	"/v2/\xc3\xa9":                   false,
	"/v2/%c3%a9":                     false,
	"/v2/a%3":                        false,
	"/v2/a%":                         false,
	"/v2/a\x7f":                      false,
	"/v2/a\"b":                       false,
	"/v2/a<b>":                       false,
	"/v2/a|b":                        false,
	"/v2/a^b":                        false,
	"/v2/a`b":                        false,
	"/v2/{a}":                        false,
	"/v2/a\t":                        false,
	"/v2/a%u002e":                    false,
	"/v2/\uff0e\uff0e/":              false,
	"/.well-known/jwks.json/..;/api": false,
}

// H-06, R-01, S-07: what two parsers could read differently goes no further.
func TestPathFault(t *testing.T) {
	for p, ok := range paths {
		if got := server.PathFault(p); (got == "") != ok {
			t.Errorf("%q: %q", p, got)
		}
	}
}

// Law: a path that is let through means the same to every parser: as it
// stands, decoded, and cleaned.
func FuzzPathFault(f *testing.F) {
	for p := range paths {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if server.PathFault(raw) != "" {
			return
		}
		u, err := url.ParseRequestURI(raw + "?x=/../")
		if err != nil {
			t.Fatalf("%q is let through and does not parse: %v", raw, err)
		}
		colons := strings.NewReplacer("%3A", ":", "%3a", ":").Replace(raw)
		cleaned := path.Clean(u.Path)
		if strings.HasSuffix(u.Path, "/") && cleaned != "/" {
			cleaned += "/"
		}
		if u.Path != colons || cleaned != colons || u.Host != "" {
			t.Errorf("%q: parsed %q, cleaned %q", raw, u.Path, cleaned)
		}
		if strings.Count(raw, "/") != strings.Count(u.Path, "/") {
			t.Errorf("%q has other segments than %q", raw, u.Path)
		}
	})
}

// Law: what we judge is what stood in the request line, or is refused.
func FuzzRawPath(f *testing.F) {
	for p := range paths {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil || !strings.HasPrefix(r.RequestURI, "/") {
			return
		}
		written, _, _ := strings.Cut(r.RequestURI, "?")
		if got := server.RawPath(r.URL); got != written && server.PathFault(got) == "" {
			t.Errorf("%q is judged as %q", written, got)
		}
	})
}
