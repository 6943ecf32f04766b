package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// A signInServer says of itself what a test wants it to.
type signInServer struct {
	t      *testing.T
	addr   client.Address
	over   map[string]any // over its metadata
	device map[string]any // over its answer to who wants a code
	polls  []string       // its answers to who waits; "" is an identity token
	asked  []url.Values   // forms at the token URL
	slept  []time.Duration
	now    time.Time
}

func newSignInServer(t *testing.T) *signInServer {
	s := &signInServer{t: t, now: time.Now()}
	s.addr = hostile(t, s.serve)
	return s
}

func (s *signInServer) options() client.Options {
	return client.Options{Now: func() time.Time { return s.now }, Wait: func(_ context.Context, d time.Duration) error {
		s.slept = append(s.slept, d)
		s.now = s.now.Add(d)
		return nil
	}}
}

func (s *signInServer) serve(w http.ResponseWriter, r *http.Request) {
	self := string(s.addr)
	write := func(m, over map[string]any) {
		maps.Copy(m, over)
		b, err := json.Marshal(m)
		must(s.t, err)
		w.Write(b)
	}
	switch r.URL.Path {
	case "/v2/":
		challenge(w, self+"/token")
	case "/.well-known/oauth-authorization-server":
		write(map[string]any{
			"issuer": self, "authorization_endpoint": self + "/oauth/authorize", "token_endpoint": self + "/token",
			"device_authorization_endpoint": self + "/oauth/device/code", "revocation_endpoint": self + "/oauth/revoke",
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		}, s.over)
	case "/oauth/device/code":
		write(map[string]any{
			"device_code": canary, "user_code": "BCDFG-HJKLM", "verification_uri": self + "/oauth/device", "expires_in": 600, "interval": 5,
		}, s.device)
	case "/token":
		must(s.t, r.ParseForm())
		s.asked = append(s.asked, r.PostForm)
		said := ""
		if len(s.polls) > 0 {
			said, s.polls = s.polls[0], s.polls[1:]
		}
		if said != "" {
			status := http.StatusBadRequest
			if said == "500" {
				status = http.StatusInternalServerError
			}
			w.WriteHeader(status)
			write(map[string]any{"error": said, "errors": []any{map[string]any{"message": "no\x1b[2J"}}}, nil)
			return
		}
		write(map[string]any{"access_token": "t", "refresh_token": "idt", "expires_in": 300}, nil)
	default:
		s.t.Errorf("%s %s was asked for", r.Method, r.URL)
	}
}

func (s *signInServer) signIn() (*client.SignIn, error) {
	return client.NewSignIn(s.t.Context(), s.addr, "", s.options())
}

const redirect = "http://127.0.0.1:4321/callback"

// begin begins a sign-in, and returns the answer that a good server gives.
func (s *signInServer) begin() (*client.Attempt, url.Values) {
	s.t.Helper()
	in, err := s.signIn()
	must(s.t, err)
	a, err := in.Begin(redirect)
	must(s.t, err)
	page, err := url.Parse(a.URL())
	must(s.t, err)
	return a, url.Values{"code": {"the-code"}, "state": {page.Query().Get("state")}, "iss": {string(s.addr)}}
}

func TestSignIn(t *testing.T) {
	s := newSignInServer(t)
	a, answer := s.begin()
	page, _ := url.Parse(a.URL())
	q := page.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": "sallyport", "redirect_uri": redirect, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	l, err := a.Finish(t.Context(), answer)
	if err != nil || l.Token.Reveal() != "idt" || l.Server != s.addr || l.Realm != string(s.addr)+"/token" || l.Service != "reg.test" {
		t.Fatalf("%+v, %v", l, err)
	}
	f := s.asked[0]
	if len(q.Get("code_challenge")) != 43 || len(f.Get("code_verifier")) < 43 || strings.Contains(a.URL(), f.Get("code_verifier")) {
		t.Errorf("O-03: %v, and then %v", q, f)
	}
	if f.Get("code") != "the-code" || f.Get("redirect_uri") != redirect || f.Get("client_id") != "sallyport" || f.Get("service") != "reg.test" {
		t.Errorf("redeemed with %v", f)
	}
	if b, _ := s.begin(); b.URL() == a.URL() {
		t.Error("O-04: two attempts are the same")
	}
}

// TestSignInAnswers: what a browser brings that nobody asked for is not redeemed.
func TestSignInAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(url.Values)
		want   string
	}{
		{"O-04 no state", func(v url.Values) { v.Del("state") }, "another request"},
		{"O-04 the state of another", func(v url.Values) { v.Set("state", strings.Repeat("A", 26)) }, "another request"},
		{"O-04 two states", func(v url.Values) { v.Add("state", v.Get("state")) }, "twice"},
		{"O-07 another server's answer", func(v url.Values) { v.Set("iss", "https://evil.test") }, "another server"},
		{"O-07 nobody's answer", func(v url.Values) { v.Del("iss") }, "another server"},
		{"no code", func(v url.Values) { v.Del("code") }, "no code"},
		{"a long code", func(v url.Values) { v.Set("code", strings.Repeat("A", 1<<20)) }, "no code"},
		{"two codes", func(v url.Values) { v.Add("code", "x") }, "twice"},
		{"O-16 a refusal", func(v url.Values) { v.Set("error", "access_denied"); v.Set("error_description", "\x1b[2J\u202e") }, `access_denied: \x1b[2J\u202e`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSignInServer(t)
			a, answer := s.begin()
			c.change(answer)
			_, err := a.Finish(t.Context(), answer)
			if !errors.Is(err, client.ErrNotSignedIn) || !strings.Contains(err.Error(), c.want) || len(s.asked) > 0 {
				t.Errorf("error is %.300v, asked %v", err, s.asked)
			}
		})
	}
	s := newSignInServer(t)
	s.polls = []string{"invalid_grant"}
	a, answer := s.begin()
	if _, err := a.Finish(t.Context(), answer); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("O-03 a code of another request: %v", err)
	}
}

// TestSignInHostile: a server cannot send people, or what they prove, elsewhere.
func TestSignInHostile(t *testing.T) {
	for _, c := range []struct {
		name string
		over map[string]any
		want string
	}{
		{"C-04 a page elsewhere", map[string]any{"authorization_endpoint": "https://evil.test/authorize"}, "not its own"},
		{"C-04 tokens elsewhere", map[string]any{"token_endpoint": "https://evil.test/token"}, "not its own"},
		{"C-04 codes elsewhere", map[string]any{"device_authorization_endpoint": "http://evil.test/code"}, "not its own"},
		{"C-04 an end elsewhere", map[string]any{"revocation_endpoint": "http://169.254.169.254/"}, "not its own"},
		{"C-04 user info", map[string]any{"authorization_endpoint": "http://x@evil.test/"}, "not its own"},
		{"no web page", map[string]any{"authorization_endpoint": "javascript:alert(1)"}, "not its own"},
		{"C-12 an escape in it", map[string]any{"authorization_endpoint": "http://\x1b[2J/"}, "not its own"},
		{"O-07 another issuer", map[string]any{"issuer": "https://evil.test\x1b"}, `calls itself https://evil.test\x1b`},
		{"no issuer", map[string]any{"issuer": ""}, "calls itself"},
		{"huge", map[string]any{"x": strings.Repeat("x", 1<<20)}, "not as RFC 8414"},
		{"another shape", map[string]any{"issuer": []string{"x"}}, "not as RFC 8414"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSignInServer(t)
			s.over = c.over
			if _, err := s.signIn(); err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("error is %.300v", err)
			}
		})
	}
	s := newSignInServer(t)
	s.over = map[string]any{"token_endpoint": string(s.addr) + "/other"}
	if _, err := s.signIn(); err == nil || !strings.Contains(err.Error(), "two token services") {
		t.Errorf("two token services: %v", err)
	}
	for name, over := range map[string]map[string]any{
		"no S256":  {"code_challenge_methods_supported": []string{"plain"}},
		"no page":  {"authorization_endpoint": ""},
		"no codes": {"device_authorization_endpoint": ""},
	} {
		s.over = over
		in, err := s.signIn()
		must(t, err)
		_, here := in.Begin(redirect)
		_, elsewhere := in.Device(t.Context())
		if errors.Is(here, client.ErrNoSignIn) == (name == "no codes") || errors.Is(elsewhere, client.ErrNoSignIn) != (name == "no codes") {
			t.Errorf("%s: %v, %v", name, here, elsewhere)
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"none": http.NotFound,
		"C-05 redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.test/", http.StatusFound)
		},
		"broken": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	} {
		_, err := client.NewSignIn(t.Context(), hostile(t, handler), "", client.Options{})
		if err == nil || errors.Is(err, client.ErrNoSignIn) != (name == "none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDevice: how often a server is asked, and when that ends (O-12).
func TestDevice(t *testing.T) {
	const pending, slow = "authorization_pending", "slow_down"
	for _, c := range []struct {
		name  string
		over  map[string]any
		polls string
		slept string // seconds
		want  string // of the error
	}{
		{name: "approved at once", slept: "[5s]"},
		{name: "approved later", polls: pending + " " + pending, slept: "[5s 5s 5s]"},
		{name: "O-12 too fast", polls: pending + " " + slow + " " + pending, slept: "[5s 5s 10s 10s]"},
		{name: "another interval", over: map[string]any{"interval": 7}, polls: pending, slept: "[7s 7s]"},
		{name: "interval 0", over: map[string]any{"interval": 0}, polls: pending, slept: "[5s 5s]"},
		{name: "interval below it", over: map[string]any{"interval": -1}, slept: "[5s]"},
		{name: "an interval for ever", over: map[string]any{"interval": int64(1) << 62}, slept: "[1m0s]"},
		{name: "no interval", over: map[string]any{"interval": nil}, slept: "[5s]"},
		{name: "away for a while", polls: "500 500", slept: "[5s 10s 15s]"},
		{name: "denied", polls: "access_denied", slept: "[5s]", want: "access_denied"},
		{name: "too late", polls: "expired_token", slept: "[5s]", want: "in time"},
		{name: "no more known", polls: "invalid_grant", slept: "[5s]", want: "invalid_grant"},
		{name: "the time is over", over: map[string]any{"expires_in": 10}, polls: pending + " " + pending, slept: "[5s 5s]", want: "in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSignInServer(t)
			s.device, s.polls = c.over, strings.Fields(c.polls)
			in, err := s.signIn()
			must(t, err)
			d, err := in.Device(t.Context())
			must(t, err)
			l, err := d.Wait(t.Context())
			if c.want == "" && (err != nil || l.Token.Reveal() != "idt") || c.want != "" && (!errors.Is(err, client.ErrNotSignedIn) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v", l, err)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Errorf("C-12: %q", err)
			}
			if got := fmt.Sprint(s.slept); got != c.slept {
				t.Errorf("waited %s, want %s", got, c.slept)
			}
		})
	}
	s := newSignInServer(t)
	s.device = map[string]any{"expires_in": int64(1) << 60}
	in, err := s.signIn()
	must(t, err)
	if d, err := in.Device(t.Context()); err != nil || d.Ends.Sub(s.now) != 30*time.Minute {
		t.Errorf("a life for ever: %v, %v", d, err)
	}
}

// TestDeviceHostile: what a server gives to be shown is shown only when it can do no
// harm (C-12), and people are sent to the server itself alone.
func TestDeviceHostile(t *testing.T) {
	for _, c := range []struct {
		name string
		over map[string]any
	}{
		{"C-12 an escape in the code", map[string]any{"user_code": "BCD\x1b[2J"}},
		{"C-12 lines in the code", map[string]any{"user_code": "BCDF\nGHJ"}},
		{"C-12 a text instead", map[string]any{"user_code": "call 0900-123 now"}},
		{"C-12 a long code", map[string]any{"user_code": strings.Repeat("B", 33)}},
		{"no code", map[string]any{"user_code": ""}},
		{"C-12 an escape in the page", map[string]any{"verification_uri": "http://127.0.0.1/\x1b[2J"}},
		{"C-04 a page elsewhere", map[string]any{"verification_uri": "https://evil.test/oauth/device"}},
		{"C-04 a page of another port", map[string]any{"verification_uri": "http://127.0.0.1:1/oauth/device"}},
		{"no page", map[string]any{"verification_uri": ""}},
		{"no device code", map[string]any{"device_code": ""}},
		{"a long device code", map[string]any{"device_code": strings.Repeat("x", 513)}},
		{"no life", map[string]any{"expires_in": 0}},
		{"a life below it", map[string]any{"expires_in": -1}},
		{"another shape", map[string]any{"interval": "5"}},
		{"huge", map[string]any{"x": strings.Repeat("x", 1<<20)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSignInServer(t)
			s.device = c.over
			in, err := s.signIn()
			must(t, err)
			if d, err := in.Device(t.Context()); err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(err.Error(), canary) {
				t.Errorf("%+v, %q", d, err)
			}
		})
	}
}

// TestEndLogin sends an identity token where the server says, if that is its own.
func TestEndLogin(t *testing.T) {
	idt, err := access.RefreshSecret.New(strings.NewReader(strings.Repeat("x", 64)))
	must(t, err)
	for _, c := range []struct {
		name, revoke string
		status       int
		token        access.Secret
		ended, fails bool
	}{
		{name: "good", revoke: "/oauth/revoke", status: 200, token: idt, ended: true},
		{name: "refused", revoke: "/oauth/revoke", status: 503, token: idt, fails: true},
		{name: "C-05 sent on", revoke: "/oauth/revoke", status: 307, token: idt, fails: true},
		{name: "C-04 elsewhere", revoke: "http://evil.test/oauth/revoke", token: idt, fails: true},
		{name: "nowhere", token: idt, fails: true},
		{name: "not ours", revoke: "/oauth/revoke", token: access.NewSecret("another registry's")},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := 0
			var self client.Address
			self = hostile(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/oauth/revoke" {
					if strings.HasPrefix(c.revoke, "/") {
						c.revoke = string(self) + c.revoke
					}
					fmt.Fprintf(w, `{"revocation_endpoint":%q}`, c.revoke)
					return
				}
				if sent++; r.FormValue("token") != idt.Reveal() || r.URL.RawQuery != "" {
					t.Errorf("%s was asked for", r.URL)
				}
				w.Header().Set("Location", "http://evil.test/")
				w.WriteHeader(c.status)
			})
			l := login(self)
			l.Token = client.Secret{Secret: c.token}
			ended, err := client.EndLogin(t.Context(), l, client.Options{})
			if ended != c.ended || (err != nil) != c.fails || sent != min(c.status, 1) {
				t.Errorf("ended %v, %v; %d requests", ended, err, sent)
			}
		})
	}
}
