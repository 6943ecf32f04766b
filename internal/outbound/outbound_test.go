package outbound_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/sallyport/sallyport/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestJudge: H-12, addresses in all their forms.
func TestJudge(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1":              "inside: loopback",
		"127.255.255.254":        "inside: loopback",
		"::1":                    "inside: loopback",
		"::ffff:127.0.0.1":       "inside: loopback",
		"::ffff:7f00:1":          "inside: loopback",
		"0.0.0.0":                "never: unspecified",
		"0.1.2.3":                "never: unspecified",
		"::":                     "never: unspecified",
		"::ffff:0.0.0.0":         "never: unspecified",
		"169.254.169.254":        "never: link-local",
		"::ffff:169.254.169.254": "never: link-local",
		"fe80::1":                "never: link-local",
		"fe80::1%eth0":           "never: link-local",
		"fd00:ec2::254":          "never: the cloud's own service",
		"100.100.100.200":        "never: the cloud's own service",
		"168.63.129.16":          "never: the cloud's own service",
		"10.0.0.0":               "inside: private",
		"172.16.0.1":             "inside: private",
		"172.31.255.255":         "inside: private",
		"192.168.1.1":            "inside: private",
		"fd00::1":                "inside: private",
		"fc00::1":                "inside: private",
		"100.64.0.1":             "inside: shared (carrier-grade NAT)",
		"100.127.255.255":        "inside: shared (carrier-grade NAT)",
		"64:ff9b::8.8.8.8":       "inside: translated (NAT64)",
		"64:ff9b::10.0.0.1":      "inside: translated (NAT64)",
		"64:ff9b::a9fe:a9fe":     "never: link-local",
		"64:ff9b:1::1":           "inside: translated (NAT64)",
		"2002:7f00:1::":          "never: 6to4",
		"2002:a00:1::1":          "never: 6to4",
		"2001:0:7f00:1::":        "never: reserved", // Teredo
		"192.88.99.1":            "never: 6to4",
		"::127.0.0.1":            "never: reserved",
		"fec0::1":                "never: reserved",
		"2001:db8::1":            "never: for documentation",
		"203.0.113.9":            "never: for documentation",
		"198.18.0.1":             "never: for benchmarks",
		"224.0.0.1":              "never: multicast",
		"ff02::1":                "never: multicast",
		"255.255.255.255":        "never: reserved",
		"8.8.8.8":                "public: public",
		"172.32.0.1":             "public: public",
		"100.128.0.1":            "public: public",
		"::ffff:8.8.8.8":         "public: public",
		"2606:4700::1111":        "public: public",
	} {
		if got := outbound.Judge(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is %q, want %q", address, got, want)
		}
	}
}

// TestURLs: what is not asked whatever it resolves to.
func TestURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"https://idp.example.com/a?b=c":         "",
		"https://idp.example.com.:8443":         "",
		"https://[::1]:8443/":                   "",
		"https://127.0.0.1":                     "",
		"HTTPS://IDP.Example.COM":               "",
		"https://xn--bcher-kva.example":         "",
		"https://0x.example/":                   "",
		"http://idp.example.com":                "only https",
		"file:///etc/passwd":                    "only https",
		"https:idp.example.com":                 "no host",
		"https:///path":                         "no host",
		"":                                      "only https",
		"https://a@b/":                          "with a user",
		"https://idp.example.com@evil.example/": "with a user",
		"https://idp.example.com#@evil":         "fragment",
		"https://idp.example.com/#":             "fragment",
		"https://127.1/":                        "neither a name nor an address",
		"https://2130706433/":                   "neither a name nor an address",
		"https://0x7f000001/":                   "neither a name nor an address",
		"https://0x7f.0.0.0x1/":                 "neither a name nor an address",
		"https://0177.0.0.1/":                   "neither a name nor an address",
		"https://127.0.0.1./":                   "neither a name nor an address",
		"https://1.2.3.4.5/":                    "neither a name nor an address",
		"https://256.256.256.256/":              "neither a name nor an address",
		"https://[fe80::1%25eth0]/":             "link-local",
		"https://b\u00fccher.example/":          "not a host",
		"https://\uff11\uff12\uff17.0.0.1/":     "not a host",
		"https://a..b/":                         "not a host",
		"https://./":                            "not a host",
		"https://a b/":                          "not a URL",
		"https://a:b/":                          "not a URL",
		"https://a:0/":                          "not a port",
		"https://a:65536/":                      "not a port",
		"https://a:/":                           "not a port",
		"https://a/\n":                          "not a URL",
		"https://" + strings.Repeat("a.", 130) + "example/": "not a host",
		"https://a/" + strings.Repeat("a", 2048):            "longer than",
	} {
		_, err := outbound.ParseURL(raw)
		checkError(t, raw, err, want)
	}
}

// checkError wants an *outbound.Error that says want and has a cure.
func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	ours, isOurs := errors.AsType[*outbound.Error](err)
	switch {
	case want == "" && err != nil:
		t.Errorf("%.60q: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%.60q: %v, want %q", what, err, want)
	case want != "" && (!isOurs || ours.Hint() == ""):
		t.Errorf("%.60q: %v has no cure", what, err)
	}
}

// A far is a server on loopback, and how often it was connected to.
type far struct {
	url, port string
	ca        []byte
	hits      atomic.Int64
}

func newFar(t *testing.T, h http.HandlerFunc) *far {
	t.Helper()
	f := &far{}
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.hits.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	f.url = s.URL
	_, f.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return f
}

func newClient(t *testing.T, o outbound.Options) *outbound.Client {
	t.Helper()
	c, err := outbound.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// TestDial: H-12, what is judged is the address that is connected to.
func TestDial(t *testing.T) {
	f := newFar(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"a":1}`) })
	answers := func(list ...string) func() []string { return func() []string { return list } }
	for name, tt := range map[string]struct {
		url   string
		allow []string
		dns   func() []string
		want  string
		final bool // no name in the list could allow it
	}{
		"address":                   {"https://127.0.0.1:PORT", nil, nil, "the address 127.0.0.1 is loopback", false},
		"address in IPv6":           {"https://[::ffff:127.0.0.1]:PORT", nil, nil, "the address 127.0.0.1 is loopback", false},
		"unspecified":               {"https://0.0.0.0:PORT", []string{"0.0.0.0"}, nil, "the address 0.0.0.0 is unspecified", true},
		"cloud":                     {"https://169.254.169.254:PORT", []string{"169.254.169.254"}, nil, "the address 169.254.169.254 is link-local", true},
		"name":                      {"https://example.com:PORT", nil, answers("127.0.0.1"), "the address 127.0.0.1 is loopback", false},
		"several answers":           {"https://example.com:PORT", nil, answers("10.0.0.1", "127.0.0.1", "fd00::1"), "the address", false},
		"allowed address":           {"https://127.0.0.1:PORT", []string{"127.0.0.1"}, nil, "", false},
		"allowed name":              {"https://example.com:PORT", []string{"Example.com."}, answers("127.0.0.1"), "", false},
		"allowed name and port":     {"https://example.com:PORT", []string{"example.com:PORT"}, answers("127.0.0.1"), "", false},
		"allowed localhost":         {"https://localhost:PORT", []string{"localhost"}, nil, "its certificate is not trusted", false},
		"another port":              {"https://example.com:PORT", []string{"example.com:443"}, answers("127.0.0.1"), "the address 127.0.0.1 is loopback", false},
		"another name":              {"https://example.com:PORT", []string{"www.example.com", "com"}, answers("127.0.0.1"), "the address 127.0.0.1 is loopback", false},
		"its address is not enough": {"https://example.com:PORT", []string{"127.0.0.1"}, answers("127.0.0.1"), "the address 127.0.0.1 is loopback", false},
		"its name is not enough":    {"https://127.0.0.1:PORT", []string{"example.com"}, nil, "the address 127.0.0.1 is loopback", false},
		"allowed name at the cloud": {"https://example.com:PORT", []string{"example.com"}, answers("169.254.169.254"), "the address 169.254.169.254 is link-local", true},
		"no such name":              {"https://example.com:PORT", nil, answers(), "the name is not found", false},
	} {
		t.Run(name, func(t *testing.T) {
			for i, a := range tt.allow {
				tt.allow[i] = strings.ReplaceAll(a, "PORT", f.port)
			}
			c := newClient(t, outbound.Options{CA: f.ca, Allow: tt.allow})
			if tt.dns != nil {
				c.UseResolver(newDNS(t, tt.dns))
			}
			before := f.hits.Load()
			var v struct{ A int }
			err := c.GetJSON(t.Context(), strings.ReplaceAll(tt.url, "PORT", f.port), &v)
			checkError(t, name, err, tt.want)
			if strings.Contains(tt.want, "the address") && f.hits.Load() != before {
				t.Error("it was connected to")
			}
			if ours, ok := errors.AsType[*outbound.Error](err); ok && strings.Contains(ours.Hint(), "cannot be allowed") != tt.final {
				t.Errorf("the cure is %q", ours.Hint())
			}
		})
	}
}

// TestRebinding: a name that is public at first and then is not, and one that is
// both.
func TestRebinding(t *testing.T) {
	f := newFar(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	other, err := net.Listen("tcp", "127.0.0.2:0") // stands for a public server
	if err != nil {
		t.Skip("this machine has no 127.0.0.2")
	}
	t.Cleanup(func() { other.Close() })
	var reached atomic.Int64
	go func() {
		for conn, err := other.Accept(); err == nil; conn, err = other.Accept() {
			reached.Add(1)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(other.Addr().String())
	for name, tt := range map[string]struct {
		answers [][]string
		port    string
		reached int64
	}{
		"rebound": {[][]string{{"127.0.0.2"}, {"127.0.0.1"}}, f.port, 0},
		"mixed":   {[][]string{{"127.0.0.1", "127.0.0.2"}}, port, 1},
	} {
		t.Run(name, func(t *testing.T) {
			reached.Store(0)
			c := newClient(t, outbound.Options{CA: f.ca})
			c.TakeAsPublic(netip.MustParseAddr("127.0.0.2"))
			var asked atomic.Int64
			c.UseResolver(newDNS(t, func() []string { return tt.answers[min(int(asked.Add(1))-1, len(tt.answers)-1)] }))
			for range tt.answers {
				if _, err := c.Get(t.Context(), "https://example.com:"+tt.port); err == nil {
					t.Error("it answered")
				}
			}
			if f.hits.Load() != 0 || reached.Load() != tt.reached {
				t.Errorf("reached %d inside, %d outside; want 0, %d", f.hits.Load(), reached.Load(), tt.reached)
			}
		})
	}
}

// TestAnswers: whatever a server answers is bounded.
func TestAnswers(t *testing.T) {
	inner := newFar(t, func(http.ResponseWriter, *http.Request) {})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(make([]byte, 1<<20))
	z.Close()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"redirect inside": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner.url, http.StatusFound) }, "redirects are not followed"},
		"permanent": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/here", http.StatusPermanentRedirect)
		}, "redirects are not followed"},
		"gzip bomb": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("it was asked to pack")
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}, "packed"},
		"announced length": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000000") }, "longer than 4096"},
		"long body":        {func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 4097)) }, "longer than 4096"},
		"endless body": {func(w http.ResponseWriter, r *http.Request) {
			for _, err := w.Write(make([]byte, 1024)); err == nil; _, err = w.Write(make([]byte, 1024)) {
			}
		}, "longer than 4096"},
		"long header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 70<<10)) }, "no answer"},
		"slow body":   {drip, "in time"},
		"silence":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "in time"},
		"status":      {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "secret text", http.StatusForbidden) }, "GET /a answered 403: forbidden"},
		"no JSON":     {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "not the JSON"},
		"two":         {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}{}") }, "not the JSON"},
		"good":        {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, tt.handler)
			o := outbound.Options{CA: f.ca, Allow: []string{"127.0.0.1"}, MaxBody: 4096}
			if tt.want == "in time" {
				o.Timeout = 100 * time.Millisecond
			}
			c := newClient(t, o)
			var v struct{}
			err := c.GetJSON(t.Context(), f.url+"/a", &v)
			checkError(t, name, err, tt.want)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the error holds what the server wrote")
			}
			// The same bounds hold for who takes the client below.
			if r, err := c.HTTPClient().Get(f.url + "/a"); err == nil {
				_, err = io.ReadAll(r.Body)
				r.Body.Close()
				if later := []string{"no JSON", "two", "good", "status"}; err == nil && !slices.Contains(later, name) {
					t.Error("HTTPClient read it all")
				}
			}
		})
	}
	if inner.hits.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// drip writes a byte now and then until the other side goes.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		w.Write([]byte{'x'})
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

// TestNoProxy: H-12, the environment names no way around.
func TestNoProxy(t *testing.T) {
	f := newFar(t, func(http.ResponseWriter, *http.Request) {})
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, f.url)
	}
	c := newClient(t, outbound.Options{CA: f.ca, Allow: []string{"127.0.0.1"}})
	c.UseResolver(newDNS(t, func() []string { return nil }))
	_, err := c.Get(t.Context(), "https://example.com/")
	checkError(t, "by proxy", err, "the name is not found")
	if f.hits.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

// TestPost: header and body arrive, 201 is good.
func TestPost(t *testing.T) {
	f := newFar(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, r.Method+" "+r.Header.Get("Authorization")+" "+r.UserAgent()+" "+string(body))
	})
	c := newClient(t, outbound.Options{CA: f.ca, Allow: []string{"127.0.0.1:" + f.port}})
	got, err := c.Post(t.Context(), f.url, http.Header{"Authorization": {"Bearer x"}}, []byte("body"))
	if want := "POST Bearer x sallyport body"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// TestOptions: what cannot be meant stops the start.
func TestOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		o    outbound.Options
		want string
	}{
		"nothing":     {outbound.Options{}, ""},
		"names":       {outbound.Options{Allow: []string{"localhost", "127.0.0.1:8443", "::1", "[::1]:8443", "kubernetes.default.svc"}}, ""},
		"no PEM":      {outbound.Options{CA: []byte("x")}, "no certificate"},
		"URL":         {outbound.Options{Allow: []string{"https://idp.corp"}}, "not a"},
		"network":     {outbound.Options{Allow: []string{"10.0.0.0/8"}}, "not a host"},
		"wildcard":    {outbound.Options{Allow: []string{"*.corp"}}, "not a host"},
		"nameless":    {outbound.Options{Allow: []string{""}}, "not a host"},
		"port":        {outbound.Options{Allow: []string{"idp.corp:99999"}}, "not a port"},
		"no port":     {outbound.Options{Allow: []string{"idp.corp:"}}, "not a port"},
		"half number": {outbound.Options{Allow: []string{"127.1"}}, "neither a name nor an address"},
	} {
		_, err := outbound.New(tt.o)
		checkError(t, name, err, tt.want)
	}
}

// newDNS returns a resolver that answers every question from answers.
func newDNS(t *testing.T, answers func() []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for n, from, err := conn.ReadFrom(buf); err == nil; n, from, err = conn.ReadFrom(buf) {
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			conn.WriteTo(answerDNS(m, answers), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answerDNS answers the question for IPv4; the one for IPv6 has no answer of its
// own, so that answers is asked once for each look-up.
func answerDNS(m dnsmessage.Message, answers func() []string) []byte {
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if q.Type == dnsmessage.TypeA {
		for _, text := range answers() {
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}
			if a := netip.MustParseAddr(text); a.Is4() {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			} else {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// TestStatus: who asks can tell statuses apart, and the error is one line.
func TestStatus(t *testing.T) {
	f := newFar(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	c := newClient(t, outbound.Options{CA: f.ca, Allow: []string{"127.0.0.1"}})
	_, err := c.Get(t.Context(), f.url+"/a%0ab")
	if status, _ := errors.AsType[outbound.Status](err); status != http.StatusTeapot || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("got %q", err)
	}
}
