package server_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/server"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestForwardedFor(t *testing.T) {
	trusted := prefixes("10.0.0.0/8", "fd00::/8")
	for name, tt := range map[string]struct {
		peer  string
		lines []string
		want  string
	}{
		"H-02 untrusted peer":                {"192.0.2.9", []string{"198.51.100.1"}, "192.0.2.9"},
		"H-03 no header":                     {"10.0.0.1", nil, "10.0.0.1"},
		"H-03 one hop":                       {"10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		"H-03 spoofed left":                  {"10.0.0.1", []string{"127.0.0.1, 10.9.9.9, 192.0.2.1"}, "192.0.2.1"},
		"H-03 two proxies":                   {"10.0.0.1", []string{"6.6.6.6, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"H-03 two headers":                   {"10.0.0.1", []string{"6.6.6.6", "192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"H-03 spoofed header before":         {"10.0.0.1", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		"H-03 all trusted":                   {"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"H-03 malformed hop":                 {"10.0.0.1", []string{"192.0.2.1, evil, 10.0.0.2"}, "10.0.0.2"},
		"H-03 malformed last hop":            {"10.0.0.1", []string{"192.0.2.1, "}, "10.0.0.1"},
		"H-03 empty header":                  {"10.0.0.1", []string{""}, "10.0.0.1"},
		"H-03 port":                          {"10.0.0.1", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		"H-03 IPv6":                          {"fd00::1", []string{"2001:db8::1"}, "2001:db8::1"},
		"H-03 IPv6 in brackets":              {"10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"H-03 IPv6 with port":                {"10.0.0.1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		"H-03 mapped":                        {"10.0.0.1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"H-03 mapped proxy":                  {"10.0.0.1", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1"},
		"H-03 zone":                          {"10.0.0.1", []string{"fe80::1%eth0"}, "10.0.0.1"},
		"H-03 unix socket and other strange": {"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for _, l := range tt.lines {
				h.Add("X-Forwarded-For", l)
			}
			h.Set("X-Real-Ip", "6.6.6.6")
			h.Set("Forwarded", "for=6.6.6.6")
			if got := server.Client(trusted, netip.MustParseAddr(tt.peer), h); got.String() != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// H-03: behind a declared proxy the client's address counts for the limit on
// wrong passwords, however the client spoofs; without one the peer's does.
func TestWrongPasswordsBehindProxy(t *testing.T) {
	for name, tt := range map[string]struct {
		proxies []netip.Prefix
		hops    func(i int) string
		same    bool // all attempts count together
	}{
		"H-03 spoofed left":  {prefixes("127.0.0.0/8"), func(i int) string { return fmt.Sprintf("192.0.2.%d, 198.51.100.1", i) }, true},
		"H-03 clients":       {prefixes("127.0.0.0/8"), func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, false},
		"H-02 no such proxy": {nil, func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			c.TrustedProxies = tt.proxies
			r := start(t, c, server.Options{})
			var slowed atomic.Int64
			var attempts sync.WaitGroup
			for i := range 6 {
				attempts.Go(func() {
					resp, body := r.get(t, "/token", asAdmin(fmt.Sprint("guess ", i)), func(req *http.Request) {
						req.Header.Set("X-Forwarded-For", tt.hops(i))
					})
					switch resp.StatusCode {
					case http.StatusTooManyRequests:
						slowed.Add(1)
					case http.StatusUnauthorized:
					default:
						t.Errorf("%d %s", resp.StatusCode, body)
					}
				})
			}
			attempts.Wait()
			if got := slowed.Load() > 0; got != tt.same {
				t.Errorf("%d of six attempts were slowed down", slowed.Load())
			}
		})
	}
}

// What this machine asks itself is told from what a proxy on it passes on, be
// the proxy declared or not.
func TestAsksItself(t *testing.T) {
	for name, tt := range map[string]struct {
		proxies []netip.Prefix
		header  string
		local   bool
	}{
		"this machine":                    {nil, "", true},
		"this machine, beside a proxy":    {prefixes("127.0.0.0/8"), "", true},
		"this machine, a proxy elsewhere": {prefixes("10.0.0.0/8"), "", true},
		"H-03 declared":                   {prefixes("127.0.0.0/8"), "X-Forwarded-For: 192.0.2.1", false},
		"H-03 declared, spoofed":          {prefixes("127.0.0.0/8"), "X-Forwarded-For: 127.0.0.1", false},
		"H-03 declared, malformed":        {prefixes("127.0.0.0/8"), "X-Forwarded-For: x", false},
		"H-03 another loopback":           {prefixes("127.0.0.1/32"), "X-Forwarded-For: 127.0.0.2", false},
		"H-02 not declared":               {nil, "X-Forwarded-For: 192.0.2.1", false},
		"H-02 not declared, spoofed":      {nil, "X-Forwarded-For: 127.0.0.1", false},
		"H-02 not declared, Forwarded":    {nil, "Forwarded: for=192.0.2.1", false},
		"H-02 not declared, real address": {nil, "X-Real-IP: 192.0.2.1", false},
		"H-02 not declared, Via":          {nil, "Via: 1.1 squid", false},
	} {
		t.Run(name, func(t *testing.T) {
			var from access.Origin
			f := newFronted(t, server.FrontOptions{Proxies: tt.proxies, Door: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				from = inbound.Origin(r, w.Header())
			})})
			header := ""
			if tt.header != "" {
				header = tt.header + "\r\n"
			}
			f.raw(t, "GET /v2/ HTTP/1.1\r\nHost: SELF\r\n"+header+"\r\n")
			if from.Local != tt.local || !from.Address.IsValid() {
				t.Errorf("comes from %+v", from)
			}
		})
	}
}

// Laws: a peer that is not trusted cannot change who it is; and whatever stands
// left of the first hop that is not trusted changes nothing.
func FuzzForwardedFor(f *testing.F) {
	f.Add("1.2.3.4", "192.0.2.1, 10.0.0.2")
	f.Add("[::1]:5, ,, x", "2001:db8::1")
	f.Add("10.0.0.9", "10.0.0.8,10.0.0.7")
	f.Add("\t", "192.0.2.1 , unknown")
	trusted := prefixes("10.0.0.0/8")
	proxy, stranger := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.99")
	f.Fuzz(func(t *testing.T, spoofed, honest string) {
		h := http.Header{"X-Forwarded-For": {honest}}
		want := server.Client(trusted, proxy, h)
		if got := server.Client(trusted, stranger, h); got != stranger {
			t.Errorf("a stranger became %s", got)
		}
		if trusted[0].Contains(want) {
			return // no hop of honest says who it was
		}
		for _, spoof := range []http.Header{
			{"X-Forwarded-For": {spoofed + "," + honest}},
			{"X-Forwarded-For": {spoofed, honest}},
		} {
			if got := server.Client(trusted, proxy, spoof); got != want {
				t.Errorf("%q before %q makes %s of %s", spoofed, honest, got, want)
			}
		}
		if !strings.Contains(honest, ",") {
			if a, err := netip.ParseAddr(strings.TrimSpace(honest)); err == nil && a.Unmap() != want {
				t.Errorf("%q is %s", honest, want)
			}
		}
	})
}
