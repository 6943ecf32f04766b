package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
)

// A lines collects log records as JSON objects.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// with returns the records with the given message.
func (l *lines) with(t *testing.T, msg string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if record["msg"] == msg {
			out = append(out, record)
		}
	}
	return out
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A fronted is a front on a real listener, before one door.
type fronted struct {
	*httptest.Server
	realm func(*http.Request) string
	log   *lines
}

func newFronted(t *testing.T, o server.FrontOptions) *fronted {
	t.Helper()
	f := &fronted{Server: httptest.NewUnstartedServer(nil), log: &lines{}}
	o.Log = f.log.logger()
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	address := netip.MustParseAddrPort(f.Listener.Addr().String())
	o.Listens = append(o.Listens, address)
	f.Config.Handler, f.realm = server.NewFront(o)
	f.Config.DisableGeneralOptionsHandler = true
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.Start()
	t.Cleanup(f.Close)
	return f
}

// raw sends text as it stands and returns the first answer.
func (f *fronted) raw(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "SELF", f.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// echo is a door that says what reached it.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "door %s %s from %s\n", r.Method, r.URL.Path, r.RemoteAddr)
})

// Plain HTTP behind a proxy is for that proxy and for this machine: anybody else
// would send credentials in the clear.
func TestPlainForProxiesOnly(t *testing.T) {
	handler, _ := server.NewFront(server.FrontOptions{
		Door: echo, External: "https://registry.example", Scheme: "http", Plain: true,
		Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Log: slog.New(slog.DiscardHandler),
	})
	for _, tt := range []struct {
		peer, forwarded string
		status          int
	}{
		{"10.1.2.3:4000", "203.0.113.9", 200},
		{"10.1.2.3:4000", "", 200},
		{"[::ffff:10.1.2.3]:4000", "", 200},
		{"127.0.0.1:4000", "", 200},
		{"[::1]:4000", "", 200},
		{"203.0.113.9:4000", "", 421},
		{"203.0.113.9:4000", "10.1.2.3", 421},
		{"", "", 421},
	} {
		r := httptest.NewRequest("GET", "https://registry.example/v2/", nil)
		r.RemoteAddr = tt.peer
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != tt.status {
			t.Errorf("peer %q, X-Forwarded-For %q: status %d, want %d", tt.peer, tt.forwarded, w.Code, tt.status)
		}
	}
}

// What gets to a door, and what the front answers itself.
func TestRouting(t *testing.T) {
	f := newFronted(t, server.FrontOptions{Door: echo})
	for name, tt := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"v2":                           {"GET /v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door GET /v2/"},
		"v2 without slash":             {"GET /v2 HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door GET /v2"},
		"token":                        {"POST /token HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door POST /token"},
		"keys":                         {"GET /.well-known/jwks.json HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door GET /.well-known/jwks.json"},
		"api":                          {"GET /api/v1/users HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door GET /api/v1/users"},
		"another path":                 {"GET /metrics HTTP/1.1\r\nHost: SELF\r\n\r\n", 404, "nothing is served"},
		"H-06 other case":              {"GET /V2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 404, "nothing is served"},
		"H-06 token with slash":        {"GET /token/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 404, "nothing is served"},
		"H-06 v2 as a prefix":          {"GET /v2x HTTP/1.1\r\nHost: SELF\r\n\r\n", 404, "nothing is served"},
		"H-06 double slash":            {"GET //v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "empty segment"},
		"H-06 dot":                     {"GET /v2/./ HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "dot segment"},
		"H-06 dots to another door":    {"GET /v2/../api/v1/users HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "dot segment"},
		"H-06 parameter":               {"GET /v2/;x HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "no place in a path"},
		"H-06 encoded slash":           {"GET /v2%2fx HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "escape"},
		"H-06 encoded backslash":       {"GET /v2/%5cx HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "escape"},
		"H-06 NUL":                     {"GET /v2/%00 HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "escape"},
		"H-06 fragment":                {"GET /v2/#x HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, ""},
		"H-01 another host":            {"GET /v2/ HTTP/1.1\r\nHost: evil\r\n\r\n", 421, "does not serve the host"},
		"H-01 our port, another host":  {"GET /v2/ HTTP/1.1\r\nHost: evil:5000\r\n\r\n", 421, "does not serve the host"},
		"H-01 absolute form, evil":     {"GET http://evil/v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 421, "does not serve the host"},
		"H-01 absolute form, ours":     {"GET http://SELF/v2/ HTTP/1.1\r\nHost: evil\r\n\r\n", 200, "door GET /v2/"},
		"H-01 two hosts":               {"GET /v2/ HTTP/1.1\r\nHost: SELF\r\nHost: evil\r\n\r\n", 400, ""},
		"H-01 no host":                 {"GET /v2/ HTTP/1.0\r\n\r\n", 421, "does not serve the host"},
		"H-01 port left away":          {"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421, "does not serve the host"},
		"H-01 trailing dot":            {"GET /v2/ HTTP/1.1\r\nHost: localhost.\r\n\r\n", 421, "does not serve the host"},
		"H-01 with user":               {"GET /v2/ HTTP/1.1\r\nHost: a@SELF\r\n\r\n", 400, ""},
		"H-05 both lengths":            {"POST /v2/ HTTP/1.1\r\nHost: SELF\r\nContent-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, ""},
		"H-05 h2c upgrade":             {"GET /v2/ HTTP/1.1\r\nHost: SELF\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", 200, "door GET /v2/"},
		"R-31 TRACE":                   {"TRACE /v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 405, "method"},
		"R-31 CONNECT":                 {"CONNECT SELF HTTP/1.1\r\nHost: SELF\r\n\r\n", 405, "method"},
		"R-31 CONNECT to a path":       {"CONNECT /v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 405, "method"},
		"R-31 OPTIONS for the server":  {"OPTIONS * HTTP/1.1\r\nHost: SELF\r\n\r\n", 400, "begin with a slash"},
		"R-31 lower case is no method": {"get /v2/ HTTP/1.1\r\nHost: SELF\r\n\r\n", 200, "door get"},
		"H-02 forwarded headers":       {"GET /v2/ HTTP/1.1\r\nHost: SELF\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\n\r\n", 200, "from 127.0.0.1:"},
		"H-07 named in Connection":     {"GET /v2/ HTTP/1.1\r\nHost: SELF\r\nConnection: x-forwarded-for, authorization\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", 200, "from 127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := f.raw(t, tt.request)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if tt.body == "" || tt.status == 200 {
				return
			}
			var e struct {
				Errors []struct{ Code, Message string }
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Code == "" {
				t.Errorf("not the spec's error body: %s", body)
			}
			if id := resp.Header.Get("X-Request-Id"); len(id) != 32 || !strings.Contains(body, id) {
				t.Errorf("request id %q is not in %s", id, body)
			}
		})
	}
}

// H-01, H-02: whatever a request says, URLs come from the configuration or the
// listener.
func TestRealm(t *testing.T) {
	listens := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("[::1]:5000")}
	public := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:443")}
	for name, tt := range map[string]struct {
		external, scheme, host string
		listens                []netip.AddrPort
		realm                  string // "" for 421
	}{
		"external":                     {"https://reg.test", "https", "reg.test", public, "https://reg.test/token"},
		"external, default port said":  {"https://reg.test", "https", "reg.test:443", public, "https://reg.test/token"},
		"external, upper case":         {"https://reg.test", "https", "REG.test", public, "https://reg.test/token"},
		"external with slash":          {"https://reg.test/", "https", "reg.test", public, "https://reg.test/token"},
		"external, default port asked": {"https://reg.test:443", "https", "reg.test", public, "https://reg.test:443/token"},
		"external, other port":         {"https://reg.test", "https", "reg.test:5000", public, ""},
		"external, other host":         {"https://reg.test", "https", "evil.test", public, ""},
		"external as a suffix":         {"https://reg.test", "https", "evil.reg.test", public, ""},
		"external, local name":         {"https://reg.test", "https", "localhost:443", public, ""},
		"external, proxy ends TLS":     {"https://reg.test", "http", "reg.test", public, "https://reg.test/token"},
		"external, plain port":         {"https://reg.test", "http", "reg.test:80", public, ""},
		"external IPv6":                {"https://[2001:db8::1]", "https", "[2001:db8::1]", public, "https://[2001:db8::1]/token"},
		"external on loopback":         {"https://reg.test", "https", "reg.test", listens, "https://reg.test/token"},
		"own name beside external":     {"https://reg.test", "https", "localhost:5000", listens, "https://reg.test/token"},
		"own name":                     {"", "https", "localhost:5000", listens, "https://localhost:5000/token"},
		"own address":                  {"", "https", "127.0.0.1:5000", listens, "https://127.0.0.1:5000/token"},
		"own IPv6 address":             {"", "https", "[::1]:5000", listens, "https://[::1]:5000/token"},
		"own name, plain":              {"", "http", "localhost:5000", listens, "http://localhost:5000/token"},
		"own name, upper case":         {"", "https", "LOCALHOST:5000", listens, "https://localhost:5000/token"},
		"own name, no port":            {"", "https", "localhost", listens, ""},
		"rebound name":                 {"", "https", "evil.test:5000", listens, ""},
		"other loopback address":       {"", "https", "127.0.0.2:5000", listens, ""},
		"empty":                        {"", "https", "", listens, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var realm func(*http.Request) string
			got := ""
			h, realm := server.NewFront(server.FrontOptions{
				External: tt.external, Scheme: tt.scheme, Listens: tt.listens, Log: slog.New(slog.DiscardHandler),
				Door: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = realm(r) }),
			})
			r := httptest.NewRequest("GET", "/v2/", nil)
			r.Host = tt.host
			r.Header.Set("X-Forwarded-Host", "evil")
			r.Header.Set("X-Forwarded-Proto", "http")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got != tt.realm || (w.Code == http.StatusMisdirectedRequest) != (tt.realm == "") {
				t.Errorf("realm %q, status %d", got, w.Code)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	const own = "0123456789abcdef-given.by_proxy"
	for name, tt := range map[string]struct {
		proxies []netip.Prefix
		given   string
		kept    bool
	}{
		"from anyone":          {nil, own, false},
		"from a trusted proxy": {prefixes("127.0.0.0/8"), own, true},
		"from another network": {prefixes("10.0.0.0/8"), own, false},
		"trusted, too short":   {prefixes("127.0.0.0/8"), "1234567", false},
		"trusted, too long":    {prefixes("127.0.0.0/8"), strings.Repeat("a", 65), false},
		"trusted, strange":     {prefixes("127.0.0.0/8"), "12345678\"quote", false},
		"trusted, not ASCII":   {prefixes("127.0.0.0/8"), "12345678\xc3\xa9", false},
		"trusted, none":        {prefixes("127.0.0.0/8"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			f := newFronted(t, server.FrontOptions{Proxies: tt.proxies, Door: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, w.Header().Get("X-Request-Id"), r.Header.Get("X-Request-Id"), r.Header.Get("X-Forwarded-For"), r.RemoteAddr)
			})})
			header := "X-Forwarded-For: 192.0.2.1\r\n"
			if tt.given != "" {
				header += "X-Request-Id: " + tt.given + "\r\n"
			}
			resp, _ := f.raw(t, "GET /v2/ HTTP/1.1\r\nHost: SELF\r\n"+header+"\r\n")
			id := resp.Header.Get("X-Request-Id")
			if (id == tt.given) != tt.kept || id != seen[0] || id == "" {
				t.Errorf("id %q, at the door %q", id, seen[0])
			}
			if seen[1]+seen[2] != "" {
				t.Errorf("the door sees %q", seen)
			}
			if trusted := len(tt.proxies) > 0 && tt.proxies[0].Contains(netip.MustParseAddr("127.0.0.1")); trusted != (seen[3] == "192.0.2.1:0") {
				t.Errorf("remote %q", seen[3])
			}
			f.Close() // the line is written after the answer
			if line := f.log.with(t, "request"); len(line) != 1 || line[0]["request"] != id {
				t.Errorf("log: %v", line)
			}
		})
	}
}

// H-14: a panic costs one request, and the client learns nothing but its id.
func TestPanic(t *testing.T) {
	f := newFronted(t, server.FrontOptions{Door: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/late":
			io.WriteString(w, strings.Repeat("x", 8<<10))
			panic("geheim")
		case "/v2/abort":
			panic(http.ErrAbortHandler)
		}
		panic("geheim")
	})})
	resp, body := f.raw(t, "GET /v2/early HTTP/1.1\r\nHost: SELF\r\n\r\n")
	id := resp.Header.Get("X-Request-Id")
	if resp.StatusCode != 500 || !strings.Contains(body, id) || strings.Contains(body, "geheim") || strings.Contains(body, "goroutine") || strings.Contains(body, ".go") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for _, path := range []string{"/v2/late", "/v2/abort"} {
		resp, err := http.Get(f.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: half an answer looks like a whole one", path)
		}
	}
	if resp, _ := f.raw(t, "GET /elsewhere HTTP/1.1\r\nHost: SELF\r\n\r\n"); resp.StatusCode != 404 {
		t.Error("the server did not go on")
	}
	f.Close() // lines are written after the answers
	panics := f.log.with(t, "request handler panicked")
	if len(panics) != 2 {
		t.Errorf("%d panics logged, want 2: an abort is none", len(panics))
	}
	if panics[0]["request"] != id || !strings.Contains(fmt.Sprint(panics[0]["stack"]), "front_test.go") {
		t.Errorf("%v", panics[0])
	}
	if line := f.log.with(t, "request"); len(line) != 4 || line[0]["status"] != 500.0 {
		t.Errorf("%v", line)
	}
}

// L-01, L-02, L-09: one line a request, whatever is in it.
func TestAccessLine(t *testing.T) {
	f := newFronted(t, server.FrontOptions{Door: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "0123456789")
	})})
	long := strings.Repeat("a", 20_000)
	for _, request := range []string{
		"PUT /v2/a/blobs/uploads/1?token=canary&digest=canary HTTP/1.1\r\nHost: SELF\r\nAuthorization: Bearer canary\r\nCookie: a=canary\r\nUser-Agent: a\x9b[31m\"\\\xff " + long + "\r\n\r\n",
		"GET http://user:canary@SELF/v2/?x=canary HTTP/1.1\r\nHost: SELF\r\nReferer: http://a/?canary\r\nX-Forwarded-For: canary\r\nX-Request-Id: canarycanary\r\n\r\n",
		"GET /v2/" + long + " HTTP/1.1\r\nHost: SELF\r\nUser-Agent: a\tb\r\n\r\n",
		long[:200] + " /v2/%0a%1b HTTP/1.1\r\nHost: canary\r\n\r\n",
	} {
		f.raw(t, request)
	}
	f.Close() // lines are written after the answers
	if strings.Contains(f.log.String(), "canary") {
		t.Errorf("L-01, L-09: %s", f.log)
	}
	records := f.log.with(t, "request")
	if len(records) != 4 || strings.Count(f.log.String(), "\n") != 4 {
		t.Fatalf("%d records:\n%s", len(records), f.log)
	}
	for _, r := range records {
		for key, value := range r {
			s, ok := value.(string)
			if ok && (len(s) > 512 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })) {
				t.Errorf("L-02 %s: %q", key, s)
			}
		}
	}
	first := records[slices.IndexFunc(records, func(r map[string]any) bool { return r["method"] == "PUT" })]
	if first["method"] != "PUT" || first["path"] != "/v2/a/blobs/uploads/1" || first["status"] != 201.0 || first["bytes"] != 10.0 ||
		!strings.HasPrefix(fmt.Sprint(first["agent"]), `a?[31m"\? aaaa`) || len(fmt.Sprint(first["agent"])) > 256 ||
		first["took"] == nil || !strings.HasPrefix(fmt.Sprint(first["remote"]), "127.0.0.1:") {
		t.Errorf("%v", first)
	}
}

// What the front costs a request, apart from its line in the log.
func BenchmarkFront(b *testing.B) {
	h, _ := server.NewFront(server.FrontOptions{External: "http://a", Scheme: "http", Log: slog.New(slog.DiscardHandler), Door: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})})
	r := httptest.NewRequest("GET", "http://a/v2/team/app/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
