package distribution_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
)

// TestScripts plays testdata/*.txt, each on a house of its own. A script is a
// series of exchanges:
//
//	# S-12 a comment, printed with a failure
//	> PUT /v2/team-a/app/manifests/v1      the request line, without HTTP/1.1
//	> Authorization: Bearer $(token alice repository:team-a/app:pull)
//	>                                      an empty line, then the body
//	> {}
//	< 201                                  the status
//	< Docker-Content-Digest: $(digest {})  a header as it must be
//	< OCI-Subject:                         a header that must not be
//	< Link: ~^</v2/                        a header by an expression
//	< Location: =where                     a header to use later as $where
//	<                                      an empty line, then the body
//	< ~BLOB_UNKNOWN                        or an expression for it
//
// "> as alice repository:…" is short for that header, "> as -" for none at all;
// "= name value" keeps a value. Host and Content-Length are added.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts:", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{house: newHouse(t), vars: map[string]string{}}
			s.play(name, string(text))
		})
	}
}

type script struct {
	*house
	vars    map[string]string
	where   string // file and line of the exchange
	comment string
}

var expansion = regexp.MustCompile(`\$\(([a-z0-9]+) ([^)]*)\)|\$([a-z][a-z0-9]*)`)

// expand replaces $name, $(token user scope…), $(digest text), $(size text) and
// $(times n text).
func (s *script) expand(text string) string {
	return expansion.ReplaceAllStringFunc(text, func(m string) string {
		groups := expansion.FindStringSubmatch(m)
		name, argument := groups[1], groups[2]
		switch name {
		case "":
			value, known := s.vars[groups[3]]
			if !known {
				s.Fatalf("%s: %s is not set", s.where, m)
			}
			return value
		case "token":
			user, scopes, _ := strings.Cut(argument, " ")
			return token(strings.TrimPrefix(user, "anonymous"), scopes)
		case "digest":
			return string(oci.FromBytes([]byte(s.expand(argument))))
		case "size":
			return fmt.Sprint(len(s.expand(argument)))
		case "times":
			var n int
			var unit string
			if _, err := fmt.Sscanf(argument, "%d %s", &n, &unit); err != nil {
				s.Fatalf("%s: %s: %v", s.where, m, err)
			}
			return strings.Repeat(unit, n)
		}
		s.Fatalf("%s: what is %s?", s.where, m)
		return ""
	})
}

func (s *script) play(name, text string) {
	s.Helper()
	var request, want []string
	flush := func() {
		if len(request) > 0 {
			s.exchange(request, want)
		}
		request, want = nil, nil
	}
	for i, line := range strings.Split(text, "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		if len(want) > 0 && mark != "<" || mark == "" || mark == "#" {
			flush()
		}
		switch mark {
		case ">":
			if len(request) == 0 {
				s.where = fmt.Sprintf("%s:%d", name, i+1)
			}
			request = append(request, rest)
		case "<":
			want = append(want, rest)
		case "#":
			s.comment = rest
		case "=":
			name, value, _ := strings.Cut(rest, " ")
			s.vars[name] = s.expand(value)
		case "":
		default:
			s.Fatalf("%s:%d: what is %q?", name, i+1, line)
		}
	}
	flush()
}

func (s *script) exchange(request, want []string) {
	s.Helper()
	head, body := cutEmpty(request)
	body = s.expand(body)
	method, target, _ := strings.Cut(s.expand(head[0]), " ")
	var lines []string
	bearer := ""
	for _, line := range head[1:] {
		if who, found := strings.CutPrefix(line, "as "); found {
			if who != "-" {
				bearer = s.expand("$(token " + who + ")")
			}
			continue
		}
		lines = append(lines, s.expand(line))
	}
	got := s.do(method, target, bearer, lines, body)
	fail := func(format string, args ...any) {
		s.Helper()
		s.Errorf("%s (%s): %s %.200s: %s\n%d %v\n%.500s", s.where, s.comment, method, target,
			fmt.Sprintf(format, args...), got.StatusCode, got.Header, got.body)
	}
	wantHead, wantBody := cutEmpty(want)
	if fmt.Sprint(got.StatusCode) != wantHead[0] {
		fail("want status %s", wantHead[0])
		return
	}
	for _, line := range wantHead[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		have := strings.Join(got.Header.Values(name), ", ")
		if variable, found := strings.CutPrefix(value, "="); found {
			if s.vars[variable] = have; have == "" {
				fail("no header %s", name)
			}
			continue
		}
		if !matches(s.expand(value), have) {
			fail("header %s is %q, want %q", name, have, s.expand(value))
		}
	}
	if len(want) > len(wantHead) && !matches(s.expand(wantBody), got.body) {
		fail("want body\n%s", s.expand(wantBody))
	}
	s.always(got, method, fail)
}

// always checks what every answer has.
func (s *script) always(got answer, method string, fail func(string, ...any)) {
	s.Helper()
	for name, want := range map[string]string{
		"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff", "Vary": "Authorization",
		"X-Registry-Supports-Signatures": "", "Content-Encoding": "",
	} {
		if have := got.Header.Get(name); have != want {
			fail("header %s is %q", name, have)
		}
	}
	if got.StatusCode < 400 {
		return
	}
	if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store" || got.ContentLength <= 0 {
		fail("error with headers of something else")
	}
	if (got.StatusCode == http.StatusUnauthorized) != (len(got.Header.Values("Www-Authenticate")) == 1) {
		fail("challenges: %q", got.Header.Values("Www-Authenticate"))
	}
	shape := regexp.MustCompile(`^\{"errors":\[\{"code":"[A-Z_]+","message":"[^"\n]*(?:\\"[^"\n]*)*","detail":\{"requestId":"` + requestID + `"[^{}]*\}\}\]\}$`)
	if method != "HEAD" && !shape.MatchString(got.body) {
		fail("body is no error")
	}
}

// cutEmpty cuts lines at the first empty one: head and body.
func cutEmpty(lines []string) (head []string, body string) {
	for i, line := range lines {
		if line == "" {
			return lines[:i], strings.Join(lines[i+1:], "\n")
		}
	}
	return lines, ""
}

func matches(want, have string) bool {
	if expression, found := strings.CutPrefix(want, "~"); found {
		return regexp.MustCompile(expression).MatchString(have)
	}
	return want == have
}
