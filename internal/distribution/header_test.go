package distribution

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/registry"
)

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		token string
		err   error
	}{
		{"none", nil, "", nil},
		{"token", []string{"Bearer x.y-z_~+/="}, "x.y-z_~+/=", nil},
		{"T-33 scheme in small letters", []string{"bearer x"}, "x", nil},
		{"T-33 no token", []string{"Bearer"}, "", access.ErrInvalidToken},
		{"T-33 no token", []string{"Bearer "}, "", access.ErrInvalidToken},
		{"T-33 two spaces", []string{"Bearer  x"}, "", access.ErrInvalidToken},
		{"T-33 tab", []string{"Bearer\tx"}, "", inbound.ErrNoBearer},
		{"T-33 tab", []string{"Bearer x\ty"}, "", access.ErrInvalidToken},
		{"T-33 empty", []string{""}, "", inbound.ErrNoBearer},
		{"T-33 non-ASCII", []string{"B\u00e9arer x"}, "", inbound.ErrNoBearer},
		{"T-31 two headers", []string{"Bearer x", "Bearer y"}, "", access.ErrInvalidToken},
		{"T-31 two schemes", []string{"Basic x, Bearer y"}, "", inbound.ErrNoBearer},
		{"T-31 two tokens", []string{"Bearer x, Bearer y"}, "", access.ErrInvalidToken},
		{"T-31 two tokens", []string{"Bearer x,y"}, "", access.ErrInvalidToken},
		{"Basic", []string{"Basic YWxpY2U6cHc="}, "", inbound.ErrNoBearer},
	} {
		token, err := inbound.Bearer(http.Header{"Authorization": c.lines})
		if token != c.token || err != c.err {
			t.Errorf("%s %q: got %q %v, want %q %v", c.name, c.lines, token, err, c.token, c.err)
		}
	}
}

func TestContentRange(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  part
		ok    bool
	}{
		{"absent", nil, part{at: registry.AtEnd}, true},
		{"one byte", []string{"0-0"}, part{true, 0, 1}, true},
		{"chunk", []string{"1024-2047"}, part{true, 1024, 1024}, true},
		{"unit", []string{"bytes 5-9"}, part{true, 5, 5}, true},
		{"R-19 negative", []string{"-5-9"}, part{}, false},
		{"R-19 negative", []string{"5--9"}, part{}, false},
		{"R-19 backwards", []string{"9-5"}, part{}, false},
		{"R-19 empty", []string{""}, part{}, false},
		{"R-19 open", []string{"5-"}, part{}, false},
		{"R-19 total", []string{"bytes 0-5/6"}, part{}, false},
		{"R-19 sign", []string{"+0-5"}, part{}, false},
		{"R-19 too large", []string{"0-9223372036854775808"}, part{}, false},
		{"R-19 overflow", []string{"0-9223372036854775807"}, part{}, false},
		{"R-19 twice", []string{"0-5", "0-5"}, part{}, false},
	} {
		got, err := contentRange(http.Header{"Content-Range": c.lines})
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%s %q: got %+v %v, want %+v", c.name, c.lines, got, err, c.want)
		}
	}
}

// FuzzContentRange: what is read is what the specification's expression reads,
// and it writes back as it was.
func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"0-1023", "bytes 0-0", "9-5", "-", "0-9223372036854775807", "0--1", "00-01"} {
		f.Add(seed)
	}
	spec := regexp.MustCompile(`^(?:bytes )?0*([0-9]+)-0*([0-9]+)$`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := contentRange(http.Header{"Content-Range": {s}})
		groups := spec.FindStringSubmatch(s)
		if err != nil {
			return
		}
		if groups == nil || !got.present || got.at < 0 || got.length < 1 {
			t.Fatalf("%q gives %+v", s, got)
		}
		first, last := strconv.FormatInt(got.at, 10), strconv.FormatInt(got.at+got.length-1, 10)
		if groups[1] != first || groups[2] != last {
			t.Fatalf("%q gives %+v, which is %s-%s", s, got, first, last)
		}
	})
}

// FuzzRange: a Range that passes checkRange is never refused by
// http.ServeContent, and one that does not would not have got a byte or is over
// our limit.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{
		"bytes=0-0", "bytes=500-1499", "bytes=500-", "bytes=-500", "bytes=2000-5000", "bytes=500-0",
		"bytes=5000-10000", "bytes=0-1,5-9", "bytes=", "bytes=-0", "items=0-1", "bytes = 0-1", "bytes=0-1,x", "bytes=-",
		"bytes=99999999999999999999-", "bytes=+1-2", "bytes=0-0" + strings.Repeat(",0-0", 200),
	} {
		f.Add(seed, uint16(2048))
		f.Add(seed, uint16(0))
	}
	f.Fuzz(func(t *testing.T, line string, size uint16) {
		if strings.ContainsAny(line, "\r\n") {
			return // not in a header
		}
		r := httptest.NewRequest("GET", "/v2/a/blobs/"+d256, nil)
		r.Header["Range"] = []string{line}
		ours := &call{request: request{digest: d256}, w: &headerOnly{http.Header{}}, r: r.Clone(t.Context())}
		err := ours.checkRange(int64(size))

		served := func(r *http.Request) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, size)))
			return w
		}
		if err == nil {
			if w := served(ours.r); w.Code != http.StatusOK && w.Code != http.StatusPartialContent ||
				strings.Contains(w.Header().Get("Content-Range"), "--") {
				t.Fatalf("%q of %d bytes passes, and is answered %d %v", line, size, w.Code, w.Header())
			}
			return
		}
		switch w := served(r); {
		case w.Code == http.StatusRequestedRangeNotSatisfiable:
		case strings.Count(line, ",") >= maxRanges: // answered 400
		case size == 0, regexp.MustCompile(`[^0-9]-0*$|[=,+ \t]-|\+`).MatchString(line):
			// ServeContent is less strict about these.
		default:
			t.Fatalf("%q of %d bytes is refused with %v, ServeContent says %d", line, size, err, w.Code)
		}
	})
}

// parseChallenge reads a Bearer challenge as RFC 9110, 11.6.1 has it: an
// independent reader for what challenge writes.
func parseChallenge(t *testing.T, s string) map[string]string {
	t.Helper()
	s, found := strings.CutPrefix(s, "Bearer ")
	if !found {
		t.Fatalf("challenge %q", s)
	}
	values := map[string]string{}
	for s != "" {
		key, rest, found := strings.Cut(s, `="`)
		if !found || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("challenge breaks at %q", s)
		}
		var value strings.Builder
		i := 0
		for ; i < len(rest) && rest[i] != '"'; i++ {
			if rest[i] == '\\' {
				i++
			}
			value.WriteByte(rest[i])
		}
		values[key] = value.String()
		s = strings.TrimPrefix(rest[i+1:], ",")
	}
	return values
}

func FuzzChallenge(f *testing.F) {
	f.Add("https://r.test/token", "r.test", "repository:a:pull,push repository:b:pull", "invalid_token")
	f.Add(`https://r.test/"\`, "a\r\nSet-Cookie: x", `",error="`, "")
	f.Fuzz(func(t *testing.T, realm, service, scope, reason string) {
		line := challenge(realm, service, scope, reason)
		clean := func(s string) string {
			b := []byte{}
			for i := range len(s) {
				if s[i] >= ' ' && s[i] != 0x7f {
					b = append(b, s[i])
				}
			}
			return string(b)
		}
		if clean(line) != line {
			t.Fatalf("control bytes in %q", line)
		}
		got := parseChallenge(t, line)
		want := map[string]string{"realm": clean(realm), "service": clean(service)}
		if scope != "" {
			want["scope"] = clean(scope)
		}
		if reason != "" {
			want["error"] = clean(reason)
		}
		if len(got) != len(want) {
			t.Fatalf("%q reads as %q", line, got)
		}
		for key := range want {
			if got[key] != want[key] {
				t.Fatalf("%q reads as %q, want %q", line, got, want)
			}
		}
	})
}
