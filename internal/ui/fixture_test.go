package ui_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/federation/provider"
	"github.com/sallyport/sallyport/internal/federation/provider/providertest"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/ui"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

const (
	service  = "reg.test"
	redirect = "http://127.0.0.1:4321/callback"
	horse    = "four horses in a barn"
)

// A fixture is the pages on a server of their own, with the token URL beside them,
// two providers and the person alice, who has a password.
type fixture struct {
	t        *testing.T
	op       *providertest.Provider
	accounts *account.Service
	tokens   *token.Service
	srv      *httptest.Server
	sealer   *token.Sealer
	deps     token.Deps

	mu  sync.Mutex
	now time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
	f := &fixture{t: t, op: providertest.New(t), now: time.Now()}
	f.op.Claims = map[string]any{"preferred_username": "alice", "groups": []string{"dev"}}
	f.op.Refresh = "upstream-canary"
	kek, err := token.NewKEK(rand.Reader)
	f.ok(err)
	f.sealer, err = token.NewSealer(kek)
	f.ok(err)
	mux := http.NewServeMux()
	f.srv = httptest.NewTLSServer(mux)
	t.Cleanup(f.srv.Close)
	var providers []*provider.Provider
	var vouching []account.Provider
	for _, name := range []string{"corp", "other"} {
		d := provider.Definition{Name: name, Issuer: f.op.Issuer(), ClientID: "reg", GroupsClaim: "groups", CA: f.op.CA(), PrivateHosts: []string{"127.0.0.1"}}
		p, err := provider.New(d, provider.Options{Base: f.srv.URL, Now: f.clock})
		f.ok(err)
		providers = append(providers, p)
		if name == "corp" {
			vouching = append(vouching, account.Provider{Name: name, Issuer: f.op.Issuer(), CreateAccounts: true, Recheck: time.Hour, MaxAge: 12 * time.Hour, Voucher: p})
		}
	}
	f.op.Now = f.clock
	f.accounts = account.New(db.Directory(), db, account.Options{Now: f.clock, FailureFloor: time.Millisecond, Providers: vouching, Sealer: f.sealer})
	t.Cleanup(func() { f.accounts.Close() })
	_, err = f.accounts.AddUser(t.Context(), "alice", access.NewSecret(horse))
	f.ok(err)
	f.deps = token.Deps{
		Store: db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: db, People: f.accounts,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: f.sealer,
	}
	f.tokens = f.tokensOn(f.deps.Store)
	mux.Handle("/", f.pages(f.tokens, providers...))
	mux.Handle("/token", f.tokens.Endpoint())
	return f
}

// tokensOn returns a token service on a store.
func (f *fixture) tokensOn(store token.Store) *token.Service {
	f.t.Helper()
	d := f.deps
	d.Store = store
	s, err := token.New(f.t.Context(), d, token.Options{Issuer: f.srv.URL, Service: service, Now: f.clock})
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	return s
}

func (f *fixture) pages(tokens *token.Service, providers ...*provider.Provider) http.Handler {
	return ui.New(ui.Deps{Accounts: f.accounts, Passwords: f.accounts.Passwords(), Tokens: tokens, Providers: providers, Sealer: f.sealer},
		ui.Options{Base: func(*http.Request) string { return f.srv.URL }, Issuer: f.srv.URL, Service: service, Now: f.clock})
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// A browser keeps cookies and sends Origin as browsers do; it follows no redirect.
type browser struct {
	f      *fixture
	http   *http.Client
	origin string
}

func (f *fixture) browser() *browser {
	jar, err := cookiejar.New(nil)
	f.ok(err)
	c := *f.srv.Client()
	c.Jar, c.CheckRedirect = jar, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{f, &c, f.srv.URL}
}

// A page is what a browser got.
type page struct {
	status int
	header http.Header
	text   string
}

func (b *browser) do(method, target string, form url.Values) page {
	b.f.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.f.srv.URL + target
	}
	r, err := http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(form.Encode()))
	b.f.ok(err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if method == http.MethodPost && b.origin != "" {
		r.Header.Set("Origin", b.origin)
	}
	w, err := b.http.Do(r)
	b.f.ok(err)
	defer w.Body.Close()
	var text strings.Builder
	if _, err := fmt.Fprint(&text, readAll(b.f.t, w)); err != nil {
		b.f.t.Fatal(err)
	}
	return page{w.StatusCode, w.Header, text.String()}
}

func (b *browser) get(target string) page { b.f.t.Helper(); return b.do("GET", target, nil) }
func (b *browser) post(target string, pairs ...string) page {
	b.f.t.Helper()
	return b.do("POST", target, form(pairs...))
}

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

// want fails unless the page has the status and says what.
func (p page) want(t *testing.T, name string, status int, what string) page {
	t.Helper()
	if p.status != status || !strings.Contains(html.UnescapeString(p.text), what) {
		t.Errorf("%s: %d, want %d and %q:\n%s", name, p.status, status, what, p.text)
	}
	return p
}

var (
	flowField = regexp.MustCompile(`name="flow" value="([^"]+)"`)
	backLink  = regexp.MustCompile(`url=(http://[^"]+)"`)
)

func (p page) flow(t *testing.T) string {
	t.Helper()
	m := flowField.FindStringSubmatch(p.text)
	if m == nil {
		t.Fatalf("no flow in %d %s", p.status, p.text)
	}
	return m[1]
}

// back returns the query that the browser brings to the program.
func (p page) back(t *testing.T) url.Values {
	t.Helper()
	m := backLink.FindStringSubmatch(p.text)
	if m == nil {
		t.Fatalf("no way back in %d %s", p.status, p.text)
	}
	u, err := url.Parse(html.UnescapeString(m[1]))
	if err != nil || !strings.HasPrefix(u.String(), redirect+"?") {
		t.Fatalf("back to %s (%v)", m[1], err)
	}
	return u.Query()
}

const verifier = "a-verifier-of-the-program-that-nobody-else-has-0001"

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizeQuery is what a good program asks with.
func authorizeQuery() url.Values {
	return form("response_type", "code", "client_id", "sallyport", "redirect_uri", redirect, "state", strings.Repeat("s", 43),
		"code_challenge", challengeOf(verifier), "code_challenge_method", "S256")
}

// An answer is one of the token URL.
type answer struct {
	status  int
	Token   string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

func (f *fixture) token(v url.Values) answer {
	f.t.Helper()
	w, err := f.srv.Client().PostForm(f.srv.URL+"/token", v)
	f.ok(err)
	defer w.Body.Close()
	a := answer{status: w.StatusCode}
	f.ok(json.NewDecoder(w.Body).Decode(&a))
	return a
}

func (f *fixture) redeem(code string, pairs ...string) answer {
	f.t.Helper()
	v := form("grant_type", "authorization_code", "client_id", "sallyport", "code", code, "redirect_uri", redirect, "code_verifier", verifier)
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return f.token(v)
}

func (f *fixture) refresh(identity string) answer {
	f.t.Helper()
	return f.token(form("grant_type", "refresh_token", "refresh_token", identity, "service", service))
}

// who says whom an access token is for, or "".
func (f *fixture) who(bearer string) string {
	au, err := f.tokens.Authorize(f.t.Context(), bearer)
	if err != nil {
		return ""
	}
	return au.Identity.Principal.String() + " " + strings.Join(au.Identity.Principal.Groups, " ")
}
