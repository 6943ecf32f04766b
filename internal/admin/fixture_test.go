package admin_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	realm   = "https://reg.test/token"
	service = "reg.test"
)

const policy = `version: 1
rules:
  - who: ["group:admins"]
    what: ["**"]
    may: [pull, push, delete, admin]
  - who: ["user:alice", "robot:ci"]
    what: ["team-a/**"]
    may: [pull, push]
`

// A fixture is the admin API on real rooms, with a clock that stands.
type fixture struct {
	t        *testing.T
	db       *metadata.DB
	accounts *account.Service
	tokens   *token.Service
	ledger   *ledger.Recorder
	api      http.Handler

	mu  sync.Mutex
	now time.Time
	log bytes.Buffer
	// answers is everything that the API ever said but secrets of new keys.
	answers bytes.Buffer
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) { test(t, newFixture(t, db)) })
}

func onSQLite(t *testing.T) *fixture {
	return newFixture(t, metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{}))
}

func newFixture(t *testing.T, db *metadata.DB) *fixture {
	t.Helper()
	f := &fixture{t: t, db: db, now: time.Now().UTC().Truncate(time.Second)}
	logger := slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.accounts = account.New(db.Directory(), db, account.Options{Now: f.clock, Logger: logger, FailureFloor: time.Millisecond, Providers: []account.Provider{{Name: "corp", Issuer: "https://idp.test"}}})
	t.Cleanup(func() { f.accounts.Close() })
	_, err := f.accounts.Bootstrap(t.Context(), secret("admin"))
	f.ok(err)
	for _, name := range []string{"alice", "mallory"} {
		_, err := f.accounts.AddUser(t.Context(), name, secret(name))
		f.ok(err)
	}
	_, err = f.accounts.AddRobot(t.Context(), "ci")
	f.ok(err)
	a, err := f.accounts.Find(t.Context(), account.Name{Kind: access.User, Name: "admin"})
	f.ok(err)
	_, err = f.accounts.ApplyPolicy(t.Context(), account.PolicyChange{Document: policy, Base: 1}, access.Authority{Identity: access.Identity{Principal: a.Principal()}})
	f.ok(err)
	kek, err := token.NewKEK(rand.Reader)
	f.ok(err)
	sealer, err := token.NewSealer(kek)
	f.ok(err)
	f.ledger = ledger.NewRecorder(db.Ledger(), ledger.RecorderOptions{Now: f.clock, Logger: logger})
	t.Cleanup(func() { f.ledger.Close() })
	f.tokens, err = token.New(t.Context(), token.Deps{
		Store: db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: db,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), IDTokens: vouching{f}, Sealer: sealer,
	}, token.Options{Issuer: "https://reg.test", Service: service, Now: f.clock, Logger: logger, Ledger: f.ledger})
	f.ok(err)
	t.Cleanup(func() { f.tokens.Close() })
	blobs, err := file.New(t.TempDir(), file.Options{})
	f.ok(err)
	t.Cleanup(func() { blobs.Close() })
	issuers, err := issuer.New(issuer.Deps{Store: db.Issuers(), Changes: db}, issuer.Options{Now: f.clock, Logger: logger, Audience: service})
	f.ok(err)
	t.Cleanup(issuers.Close)
	f.api = admin.New(admin.Deps{
		Issuers:  issuers,
		Accounts: f.accounts, Tokens: f.tokens, Gate: f.tokens, Book: db.Ledger(), Ledger: f.ledger,
		Sweeper: gc.New(db.Sweeps(), blobs, gc.Options{Now: f.clock, Logger: logger}),
	}, admin.Options{
		Realm: func(*http.Request) string { return realm }, Service: service, Logger: logger, AllowPrivate: []string{"ci.inside"},
	})
	return f
}

// Write is where the log goes.
func (f *fixture) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

func (f *fixture) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
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

// password is everybody's, after the name; it is a canary too.
func password(name string) string { return "canary password of " + name }

func secret(name string) access.Secret { return access.NewSecret(password(name)) }

// A bearer is who sends a request: an access token, and its identity token.
type bearer struct{ access, identity string }

var nobody bearer

// login logs in with a password, or a key, for the scope and an identity token.
func (f *fixture) login(name, password, scope string) bearer {
	f.t.Helper()
	return f.ask(name, password, scope, url.Values{"service": {service}, "offline_token": {"true"}, "client_id": {"test"}})
}

// bare is a login with a key that begins no session.
func (f *fixture) bare(key string) bearer {
	f.t.Helper()
	b := f.ask("any", key, apiScope, url.Values{"service": {service}})
	if b.identity != "" {
		f.t.Error("a session was begun")
	}
	return b
}

func (f *fixture) ask(name, password, scope string, q url.Values) bearer {
	f.t.Helper()
	if scope != "" {
		q.Set("scope", scope)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), "GET", "/token?"+q.Encode(), nil)
	r.SetBasicAuth(name, password)
	w := httptest.NewRecorder()
	f.tokens.Endpoint().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		f.t.Fatalf("login of %s: %d %s", name, w.Code, w.Body)
	}
	var answer struct {
		Access   string `json:"access_token"`
		Identity string `json:"refresh_token"`
	}
	f.ok(json.Unmarshal(w.Body.Bytes(), &answer))
	return bearer{answer.Access, answer.Identity}
}

const apiScope = "registry:api:*"

func (f *fixture) as(name string) bearer {
	f.t.Helper()
	return f.login(name, password(name), apiScope)
}

// key makes a key and logs in with it.
func (f *fixture) key(owner account.Name, life time.Duration, repositories, actions []string) (account.Key, bearer) {
	f.t.Helper()
	n, err := access.NewNarrowing(repositories, actions, nil)
	f.ok(err)
	k, s, err := f.accounts.CreateKey(f.t.Context(), owner, account.NewKey{Life: life, Narrowing: n})
	f.ok(err)
	return k, f.login("any", s.Reveal(), apiScope)
}

// A req is a request to the API, below client.APIPath.
type req struct {
	method, path string
	body         string
	contentType  string // "": JSON, when there is a body
	ifMatch      string
}

func (q req) String() string { return q.method + " " + q.path }

// do sends q and returns the answer.
func (f *fixture) do(b bearer, q req) *httptest.ResponseRecorder {
	f.t.Helper()
	w := f.doUnchecked(b, q)
	if w.Code >= 500 {
		f.t.Errorf("%s: %d %s\n%s", q, w.Code, w.Body, f.logged())
	}
	return w
}

// doUnchecked is do for what may go wrong inside.
func (f *fixture) doUnchecked(b bearer, q req) *httptest.ResponseRecorder {
	f.t.Helper()
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), q.method, client.APIPath+q.path, body)
	if b.access != "" {
		r.Header.Set("Authorization", "Bearer "+b.access)
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.ifMatch != "" {
		r.Header.Set("If-Match", q.ifMatch)
	}
	return f.send(r)
}

func (f *fixture) send(r *http.Request) *httptest.ResponseRecorder {
	f.t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "request-1")
	f.api.ServeHTTP(w, r)
	if w.Header().Get("Cache-Control") != "no-store" {
		f.t.Errorf("%s %s: Cache-Control is %q", r.Method, r.URL, w.Header().Get("Cache-Control"))
	}
	if w.Code >= 400 {
		f.checkProblem(r, w)
	}
	shows := r.URL.Path == client.APIPath+"/keys" || strings.HasSuffix(r.URL.Path, "/reset")
	if !(r.Method == "POST" && shows && w.Code == http.StatusCreated) {
		f.answers.Write(w.Body.Bytes())
	}
	return w
}

// checkProblem holds every error against RFC 9457.
func (f *fixture) checkProblem(r *http.Request, w *httptest.ResponseRecorder) {
	f.t.Helper()
	var p client.Problem
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil && r.Method != "HEAD" {
		f.t.Errorf("%s %s: body %q: %v", r.Method, r.URL, w.Body, err)
		return
	}
	if r.Method != "HEAD" && (p.Status != w.Code || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "urn:sallyport:problem:") || p.RequestID != "request-1") {
		f.t.Errorf("%s %s: problem is %+v", r.Method, r.URL, p)
	}
	if ct := w.Header().Get("Content-Type"); ct != client.ProblemType {
		f.t.Errorf("%s %s: error has Content-Type %q", r.Method, r.URL, ct)
	}
	challenges := w.Header().Values("WWW-Authenticate")
	if (w.Code == http.StatusUnauthorized) != (len(challenges) == 1) {
		f.t.Errorf("%s %s: %d with challenges %q", r.Method, r.URL, w.Code, challenges)
	}
}

// want sends q and fails the test unless the answer has the status.
func (f *fixture) want(b bearer, status int, q req) *httptest.ResponseRecorder {
	f.t.Helper()
	w := f.do(b, q)
	if w.Code != status {
		f.t.Fatalf("%s: %d %s, want %d", q, w.Code, w.Body, status)
	}
	return w
}

// read is want for an answer of type T.
func read[T any](f *fixture, b bearer, status int, q req) T {
	f.t.Helper()
	w := f.want(b, status, q)
	var out T
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		f.t.Fatalf("%s: %v", q, err)
	}
	return out
}

// refused is want for an error, whose problem it returns.
func (f *fixture) refused(b bearer, status int, q req) client.Problem {
	f.t.Helper()
	return read[client.Problem](f, b, status, q)
}

// body writes JSON by hand.
func body(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func robot(name string) account.Name { return account.Name{Kind: access.Robot, Name: name} }
