package token_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer  = "https://reg.test"
	service = "reg.test"
)

// The people of THREATS.md, section 2.
const policy = `version: 1
rules:
  - who: ["group:admins"]
    what: ["**"]
    may: [pull, push, delete, admin]
  - who: ["user:alice", "robot:ci"]
    what: ["team-a/**"]
    may: [pull, push]
  - who: ["user:bob"]
    what: ["team-b/**"]
    may: [pull, push]
  - who: ["user:carol"]
    what: ["team-a/app"]
    may: [pull]
  - who: ["anyone"]
    what: ["public/**"]
    may: [pull]
`

// A fixture is a token service on accounts and a database of its own, with a
// clock that stands.
type fixture struct {
	t        testing.TB
	db       *metadata.DB
	accounts *account.Service
	sealer   *token.Sealer
	s        *token.Service
	log      *bytes.Buffer

	requests atomic.Int64

	mu  sync.Mutex
	now time.Time
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) { test(t, newFixture(t, db)) })
}

// onSQLite is each for what counts queries, or does not depend on the database.
func onSQLite(t *testing.T, test func(t *testing.T, f *fixture)) {
	test(t, newFixture(t, metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})))
}

func newFixture(t testing.TB, db *metadata.DB) *fixture {
	t.Helper()
	f := &fixture{t: t, db: db, sealer: newSealer(t), log: new(bytes.Buffer), now: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	f.accounts = account.New(db.Directory(), db, account.Options{Now: f.clock, Logger: f.logger(), FailureFloor: time.Millisecond})
	t.Cleanup(func() { f.accounts.Close() })
	_, err := f.accounts.Bootstrap(t.Context(), secret("admin"))
	f.ok(err)
	for _, name := range []string{"alice", "bob", "carol", "mallory"} {
		_, err := f.accounts.AddUser(t.Context(), name, secret(name))
		f.ok(err)
	}
	_, err = f.accounts.AddRobot(t.Context(), "ci")
	f.ok(err)
	admin, err := f.accounts.Find(t.Context(), user("admin"))
	f.ok(err)
	_, err = f.accounts.ApplyPolicy(t.Context(), account.PolicyChange{Document: policy, Base: 1}, access.Authority{Identity: access.Identity{Principal: admin.Principal()}})
	f.ok(err)
	f.s = f.service(token.Options{})
	return f
}

// newSealer returns a sealer of its own.
func newSealer(t testing.TB) *token.Sealer {
	t.Helper()
	text, err := token.NewKEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSealer(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// service returns another token service on the same database and accounts.
func (f *fixture) service(o token.Options) *token.Service {
	f.t.Helper()
	o.Issuer, o.Service, o.Now, o.Logger = issuer, service, f.clock, f.logger()
	s, err := token.New(f.t.Context(), token.Deps{
		Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: f.sealer,
	}, o)
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	return s
}

func (f *fixture) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
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

func (f *fixture) ctx() context.Context { return f.t.Context() }

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// password is everybody's, after the name.
func password(name string) string { return name + " keeps a horse" }

func secret(name string) access.Secret { return access.NewSecret(password(name)) }

func user(name string) account.Name { return account.Name{Kind: access.User, Name: name} }

func (f *fixture) key(who account.Name, n account.NewKey) (account.Key, string) {
	f.t.Helper()
	k, secret, err := f.accounts.CreateKey(f.ctx(), who, n)
	f.ok(err)
	return k, secret.Reveal()
}

// httptestAddress is where requests of httptest come from.
const httptestAddress = "192.0.2.1:"

// An answer is everything that the token URL can say.
type answer struct {
	status int
	header http.Header
	raw    string

	Token           string `json:"token"`
	AccessToken     string `json:"access_token"`
	ExpiresIn       int    `json:"expires_in"`
	IssuedAt        string `json:"issued_at"`
	RefreshToken    string `json:"refresh_token"`
	Scope           string `json:"scope"`
	TokenType       string `json:"token_type"`
	IssuedTokenType string `json:"issued_token_type"`

	Error       string `json:"error"`
	Description string `json:"error_description"`
	Errors      []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
}

func (f *fixture) do(r *http.Request) answer { return f.doOn(f.s, r) }

// doOn comes from an address of its own unless the request says otherwise, so
// that failures of a test are not counted together.
func (f *fixture) doOn(s *token.Service, r *http.Request) answer {
	f.t.Helper()
	if strings.HasPrefix(r.RemoteAddr, httptestAddress) {
		n := f.requests.Add(1)
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1234", n>>8&0xff, n&0xff)
	}
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "req-1")
	s.Endpoint().ServeHTTP(w, r.WithContext(f.ctx()))
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		f.t.Errorf("the answer is not JSON: %v: %.200s", err, a.raw)
	}
	if a.status != http.StatusOK && (a.Token != "" || a.AccessToken != "" || a.RefreshToken != "") {
		f.t.Errorf("a refusal with a token in it: %s", a.raw)
	}
	return a
}

// get is a GET with a query and, unless pair is "", Basic authentication.
func get(query, pair string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/token", nil)
	r.URL.RawQuery = query
	if pair != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return r
}

func post(form url.Values) *http.Request { return postRaw(form.Encode()) }

func postRaw(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// form makes a form of pairs of names and values.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

func refreshForm(identity string, pairs ...string) url.Values {
	v := form(append([]string{"grant_type", "refresh_token", "service", service, "client_id", "docker"}, pairs...)...)
	v.Set("refresh_token", identity)
	return v
}

// login does what docker login does, and returns the answer.
func (f *fixture) login(name string) answer {
	f.t.Helper()
	a := f.do(get("account="+name+"&client_id=docker&offline_token=true&service="+service, name+":"+password(name)))
	if a.status != http.StatusOK || a.RefreshToken == "" {
		f.t.Fatalf("login of %s: %d %s", name, a.status, a.raw)
	}
	return a
}

// access returns an access token for a scope.
func (f *fixture) access(pair, scope string) string {
	f.t.Helper()
	a := f.do(get(url.Values{"service": {service}, "scope": {scope}}.Encode(), pair))
	if a.status != http.StatusOK {
		f.t.Fatalf("token for %s: %d %s", scope, a.status, a.raw)
	}
	return a.Token
}

// alive fails unless bearer is accepted.
func (f *fixture) alive(what, bearer string) access.Authority {
	f.t.Helper()
	au, err := f.s.Authorize(f.ctx(), bearer)
	if err != nil || au.Token.Expired || !au.Token.Present() {
		f.t.Errorf("%s: Authorize: %v, expired %t", what, err, au.Token.Expired)
	}
	return au
}

// dead fails unless bearer is refused.
func (f *fixture) dead(what, bearer string) {
	f.t.Helper()
	au, err := f.s.Authorize(f.ctx(), bearer)
	if !errors.Is(err, access.ErrInvalidToken) || au.Token.Present() {
		f.t.Errorf("%s: Authorize = %+v, %v; want ErrInvalidToken", what, au, err)
	}
}

// claims returns what a token says, unverified.
func claims(t testing.TB, jwt string) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// with returns c with changes, where nil removes.
func with(c map[string]any, changes map[string]any) map[string]any {
	c = maps.Clone(c)
	for k, v := range changes {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	return c
}

// signingKey returns the private key of the service.
func (f *fixture) signingKey() (private any, id string) {
	f.t.Helper()
	keys, err := f.db.Tokens().ListSigningKeys(f.ctx())
	f.ok(err)
	if len(keys) != 1 {
		f.t.Fatalf("%d signing keys", len(keys))
	}
	der, err := f.sealer.Open("signing key "+keys[0].ID, keys[0].KEK, keys[0].Private)
	f.ok(err)
	private, err = x509.ParsePKCS8PrivateKey(der)
	f.ok(err)
	return private, keys[0].ID
}

// busyService has an authenticator for passwords that always has too much to do.
func (f *fixture) busyService() *token.Service { return f.variant(&busyPasswords{}, f.db.Tokens()) }

type busyPasswords struct{}

func (busyPasswords) Authenticate(context.Context, access.Credential) (access.Identity, error) {
	return access.Identity{}, access.ErrBusy
}

// brokenService cannot save a session.
func (f *fixture) brokenService() *token.Service {
	return f.variant(f.accounts.Passwords(), brokenStore{f.db.Tokens()})
}

type brokenStore struct{ token.Store }

func (brokenStore) SaveSession(context.Context, token.Session, access.Proof, token.Room) error {
	return errors.New("the disk is gone")
}

func (f *fixture) variant(passwords access.Authenticator, store token.Store) *token.Service {
	f.t.Helper()
	s, err := token.New(f.ctx(), token.Deps{
		Store: store, Accounts: f.accounts, Policies: f.accounts, Changes: f.db,
		Passwords: passwords, Keys: f.accounts.Keys(), Sealer: f.sealer,
	}, token.Options{Issuer: issuer, Service: service, Now: f.clock, Logger: f.logger()})
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	return s
}

// serviceWith returns a token service on another store, that learns of changes
// in another way.
func (f *fixture) serviceWith(store token.Store, changes access.Changes) *token.Service {
	f.t.Helper()
	s, err := token.New(f.ctx(), token.Deps{
		Store: store, Accounts: f.accounts, Policies: f.accounts, Changes: changes,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: f.sealer,
	}, token.Options{Issuer: issuer, Service: service, Now: f.clock, Logger: f.logger()})
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	return s
}
