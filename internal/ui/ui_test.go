package ui_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

func readAll(t *testing.T, w *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// viaProvider goes from the page of a sign-in to the provider and back.
func (b *browser) viaProvider(from page) page {
	b.f.t.Helper()
	sent := b.get("/oauth/provider/corp?flow=" + from.flow(b.f.t))
	to := sent.header.Get("Location")
	if sent.status != http.StatusSeeOther || !strings.HasPrefix(to, b.f.op.Issuer()+"/authorize?") {
		b.f.t.Fatalf("sent to %q: %d %s", to, sent.status, sent.text)
	}
	return b.get("/oauth/callback/corp?" + b.f.op.Authorize(to).Encode())
}

func (b *browser) authorize() page {
	b.f.t.Helper()
	return b.get("/oauth/authorize?"+authorizeQuery().Encode()).want(b.f.t, "authorize", 200, "Sign in with corp")
}

// TestBrowser: from the program over the page and back, by password and provider.
func TestBrowser(t *testing.T) {
	f := newFixture(t)
	for name, signIn := range map[string]func(b *browser) page{
		"user:alice ": func(b *browser) page {
			return b.post("/oauth/password", "flow", b.authorize().flow(t), "name", "alice", "password", horse)
		},
		"user:corp/alice corp/dev": func(b *browser) page { return b.viaProvider(b.authorize()) },
	} {
		b := f.browser()
		back := signIn(b).want(t, name, 200, "Go back to the program").back(t)
		if back.Get("state") != strings.Repeat("s", 43) || back.Get("iss") != f.srv.URL {
			t.Errorf("%s: back with %v", name, back)
		}
		a := f.redeem(back.Get("code"))
		if got := f.who(a.Token); a.status != 200 || a.Refresh == "" || got != name {
			t.Errorf("%s: %+v is for %q", name, a, got)
		}
		if r := f.refresh(a.Refresh); f.who(r.Token) != name {
			t.Errorf("%s: renewed %+v", name, r)
		}
		b.get("/oauth/callback/corp?code=x&state=y").want(t, "O-04 a replayed callback", 403, "has begun")
	}
}

// TestCodes: O-03 and O-05.
func TestCodes(t *testing.T) {
	f := newFixture(t)
	code := func() string {
		b := f.browser()
		return b.post("/oauth/password", "flow", b.authorize().flow(t), "name", "alice", "password", horse).back(t).Get("code")
	}
	good := code()
	for name, change := range map[string][]string{
		"O-03 no verifier":      {"code_verifier", ""},
		"O-03 a short verifier": {"code_verifier", "short"},
		"O-03 the challenge":    {"code_verifier", challengeOf(verifier)},
		"another redirect":      {"redirect_uri", "http://127.0.0.1:4322/callback"},
		"another client":        {"client_id", "docker"},
		"O-13 a secret":         {"client_secret", "x"},
		"T-14 another form":     {"code", "sallyport_dev_" + good[len("sallyport_aut_"):]},
		"T-14 as a device code": {"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
		"O-18 implicit":         {"grant_type", "implicit"},
		"O-18 client":           {"grant_type", "client_credentials"},
	} {
		if a := f.redeem(good, change...); a.status != 400 && a.status != 401 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	first := f.redeem(good)
	if f.who(first.Token) == "" {
		t.Fatalf("the good one: %+v", first)
	}
	if again := f.redeem(good); again.status != 401 || f.who(first.Token) != "" || f.refresh(first.Refresh).status != 401 {
		t.Errorf("O-05 again: %+v, and the first is for %q", again, f.who(first.Token))
	}
	good = code()
	var wait sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 50 {
		wait.Go(func() {
			if a := f.redeem(good); a.status == 200 {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if won != 1 {
		t.Errorf("O-05 %d of 50 succeeded", won)
	}
	old := code()
	f.pass(time.Minute)
	if a := f.redeem(old); a.status != 401 {
		t.Errorf("an old code: %+v", a)
	}
	void := code()
	_, err := f.tokens.RevokeSessions(t.Context(), f.uid("alice"))
	f.ok(err)
	if a := f.redeem(void); a.status != 401 {
		t.Errorf("I-19 a code of before the logout: %+v", a)
	}
}

func (f *fixture) uid(name string) string {
	f.t.Helper()
	a, err := f.accounts.Find(f.t.Context(), account.Name{Kind: access.User, Name: name})
	f.ok(err)
	return a.UID
}

// TestAuthorizeRefuses: O-01 and O-03, nobody is sent anywhere by a bad request.
func TestAuthorizeRefuses(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	for _, c := range []struct{ field, value, what string }{
		{"code_challenge", "", "code_challenge"},
		{"code_challenge", "short", "code_challenge"},
		{"code_challenge_method", "plain", "S256"},
		{"code_challenge_method", "", "S256"},
		{"response_type", "token", "response_type"},
		{"client_id", "other", "client_id"},
		{"state", "", "state"},
		{"state", "short", "state"},
		{"state", strings.Repeat("<", 43), "state"},
		{"redirect_uri", "", "redirect_uri"},
		{"redirect_uri", "http://localhost:4321/callback", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1/callback", "redirect_uri"},
		{"redirect_uri", "https://127.0.0.1:4321/callback", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1:4321@evil.test/callback", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1:4321/callback?x", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1:4321/callback#x", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1.evil.test:4321/callback", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1:4321/callback/../x", "redirect_uri"},
		{"redirect_uri", "//e", "redirect_uri"},
		{"redirect_uri", `/\e`, "redirect_uri"},
		{"redirect_uri", "javascript:alert(1)", "redirect_uri"},
		{"redirect_uri", "http://127.0.0.1:4321/callback\n", "redirect_uri"},
	} {
		q := authorizeQuery()
		q.Set(c.field, c.value)
		p := b.get("/oauth/authorize?"+q.Encode()).want(t, "O-01 "+c.field+" "+c.value, 400, c.what)
		if p.header.Get("Location") != "" || strings.Contains(p.text, "refresh") {
			t.Errorf("O-01 %s %q: goes to %q", c.field, c.value, p.header.Get("Location"))
		}
	}
	q := authorizeQuery()
	q.Add("redirect_uri", "http://127.0.0.1:1/callback")
	b.get("/oauth/authorize?"+q.Encode()).want(t, "twice", 400, "twice")
	b.post("/oauth/authorize").want(t, "POST", 405, "")
}

// TestPages: W-06, W-12 and the headers that every page has.
func TestPages(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	markup := `"><script>alert(1)</script>`
	for _, p := range []page{
		b.authorize(), b.get("/oauth/device?user_code=" + url.QueryEscape(markup)), b.get("/oauth/nothing"), b.get("/oauth/style.css"),
		b.get("/oauth/callback/corp?error=" + url.QueryEscape(markup)), b.get("/.well-known/oauth-authorization-server"),
	} {
		h := p.header
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("CSP %q", csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers %v", h)
		}
		if strings.Contains(p.text, "<script") || strings.Contains(p.text, "style=") {
			t.Errorf("O-16 W-12 a page with %s", p.text)
		}
	}
	first, second := b.authorize(), b.authorize()
	cookie := second.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-sallyport=", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("W-06 cookie %q lacks %s", cookie, want)
		}
	}
	if strings.Contains(cookie, "Domain") || cookie == first.header.Get("Set-Cookie") || first.flow(t) == second.flow(t) {
		t.Errorf("W-06 cookie %q is not new", cookie)
	}
	b.post("/oauth/password", "flow", first.flow(t), "name", "alice", "password", horse).want(t, "the flow of before", 400, "Begin again")
}

// TestForms: W-04, forms come from our own pages alone.
func TestForms(t *testing.T) {
	f := newFixture(t)
	for _, origin := range []string{"", "null", "https://evil.test", "http" + strings.TrimPrefix(f.srv.URL, "https"), f.srv.URL + ".evil.test"} {
		b := f.browser()
		flow := b.authorize().flow(t)
		b.origin = origin
		b.post("/oauth/password", "flow", flow, "name", "alice", "password", horse).want(t, "W-04 from "+origin, 403, "not sent from a page")
		b.post("/oauth/device", "user_code", "BCDFG-HJKLM").want(t, "W-04 from "+origin, 403, "not sent from a page")
		b.post("/oauth/device/confirm", "flow", flow, "decision", "approve").want(t, "W-04 from "+origin, 403, "not sent from a page")
	}
	b, stranger := f.browser(), f.browser()
	flow := b.authorize().flow(t)
	stranger.post("/oauth/password", "flow", flow, "name", "alice", "password", horse).want(t, "O-15 another browser", 400, "Begin again")
	b.post("/oauth/password", "flow", flow, "flow", "x", "name", "alice").want(t, "twice", 400, "not well-formed")
	b.post("/oauth/password", "flow", flow, "name", "alice", "password", "wrong").want(t, "wrong", 403, "Name or password is wrong")
	b.post("/oauth/password", "flow", flow, "name", "alice", "password", strings.Repeat("x", 20<<10)).want(t, "large", 400, "not well-formed")
	f.pass(10 * time.Minute)
	b.post("/oauth/password", "flow", flow, "name", "alice", "password", horse).want(t, "late", 400, "Begin again")
}

// TestCallback: O-04 and O-07.
func TestCallback(t *testing.T) {
	f := newFixture(t)
	b, other := f.browser(), f.browser()
	b.get("/oauth/callback/corp?code=x&state=y").want(t, "O-04 unsolicited", 403, "has begun")
	sent := b.get("/oauth/provider/corp?flow=" + b.authorize().flow(t))
	answer := f.op.Authorize(sent.header.Get("Location")).Encode()
	other.authorize()
	other.get("/oauth/callback/corp?"+answer).want(t, "O-04 in another browser", 403, "has begun")
	b.get("/oauth/callback/other?"+answer).want(t, "O-07 through another provider", 403, "has begun")
	b.get("/oauth/callback/corp?"+answer).want(t, "good", 200, "Go back to the program")
	b.get("/oauth/callback/corp?"+answer).want(t, "O-04 replayed", 403, "has begun")
	f.ok(f.accounts.Disable(t.Context(), account.Name{Kind: access.User, Name: "corp/alice"}))
	b.viaProvider(b.authorize()).want(t, "I-20", 403, "disabled")
	f.op.Do(func(op *providertestProvider) { op.Claims = map[string]any{"groups": map[string]any{}} })
	b.viaProvider(b.authorize()).want(t, "F-16", 403, "not a list")
	b.get("/oauth/provider/none?flow="+b.authorize().flow(t)).want(t, "no such", 404, "no such provider")
}

// TestLeaver: who left the company is out within the stated time.
func TestLeaver(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	a := f.redeem(b.viaProvider(b.authorize()).back(t).Get("code"))
	_, key, err := f.accounts.CreateKey(t.Context(), account.Name{Kind: access.User, Name: "corp/alice"}, account.NewKey{})
	f.ok(err)
	k := f.token(form("grant_type", "password", "username", "corp/alice", "password", key.Reveal(), "access_type", "offline", "service", service))
	f.pass(59 * time.Minute)
	f.op.Do(func(op *providertestProvider) { op.Refuse = "invalid_grant" })
	for _, identity := range []string{a.Refresh, k.Refresh} {
		if r := f.refresh(identity); r.status != 200 {
			t.Errorf("within the hour: %+v", r)
		}
	}
	f.pass(time.Minute)
	if r := f.refresh(k.Refresh); r.status != 401 {
		t.Errorf("what an access key gave, after it: %+v", r)
	}
	if r := f.token(form("grant_type", "password", "username", "corp/alice", "password", key.Reveal(), "service", service)); r.status != 401 {
		t.Errorf("the access key, after it: %+v", r)
	}
	if r := f.refresh(a.Refresh); r.status != 401 {
		t.Errorf("after it: %+v", r)
	}
	f.op.Do(func(op *providertestProvider) { op.Refuse = "" })
	if r := f.refresh(a.Refresh); r.status != 401 {
		t.Errorf("the session goes on: %+v", r)
	}
}

func TestRevoke(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	a := f.redeem(b.viaProvider(b.authorize()).back(t).Get("code"))
	b.origin = ""
	b.post("/oauth/revoke").want(t, "nothing", 400, "invalid_request")
	b.post("/oauth/revoke", "token", a.Token).want(t, "an access token", 400, "unsupported_token_type")
	b.post("/oauth/revoke", "token", "sallyport_idt_"+strings.Repeat("x", 49)).want(t, "unknown", 200, "{}")
	if f.who(a.Token) == "" {
		t.Error("ended before")
	}
	b.post("/oauth/revoke", "token", a.Refresh).want(t, "good", 200, "{}")
	b.post("/oauth/revoke", "token", a.Refresh).want(t, "again", 200, "{}")
	if f.who(a.Token) != "" || f.refresh(a.Refresh).status != 401 {
		t.Error("goes on")
	}
}

// TestMetadata: every URL is below our own, and serves.
func TestMetadata(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	m := b.get("/.well-known/oauth-authorization-server").want(t, "metadata", 200, fmt.Sprintf(`"issuer":%q`, f.srv.URL)).text
	for _, path := range []string{"/oauth/authorize", "/token", "/oauth/device/code", "/oauth/revoke"} {
		if !strings.Contains(m, fmt.Sprintf("%q", f.srv.URL+path)) {
			t.Errorf("no %s in %s", path, m)
		}
		if p := b.post(path); p.status == 404 {
			t.Errorf("%s is not served", path)
		}
	}
}
