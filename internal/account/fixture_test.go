package account_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// floor is short in tests, since every failure waits for it.
const floor = time.Millisecond

// A fixture is a service on a database of its own, with a clock that stands.
type fixture struct {
	t   *testing.T
	db  *metadata.DB
	s   *account.Service
	log bytes.Buffer

	logins atomic.Int64

	mu  sync.Mutex
	now time.Time
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) { test(t, newFixture(t, db)) })
}

// onSQLite is each for what counts queries: PostgreSQL is asked for the
// generation now and then.
func onSQLite(t *testing.T, test func(t *testing.T, f *fixture)) {
	test(t, newFixture(t, metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})))
}

func newFixture(t *testing.T, db *metadata.DB) *fixture {
	f := &fixture{t: t, db: db, now: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	f.s = f.service(account.Options{FailureFloor: floor})
	return f
}

func (f *fixture) service(o account.Options) *account.Service {
	o.Now = f.clock
	o.Logger = slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := account.New(f.db.Directory(), f.db, o)
	f.t.Cleanup(func() { s.Close() })
	return s
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

func (f *fixture) user(name, password string) account.Account {
	f.t.Helper()
	a, err := f.s.AddUser(f.ctx(), name, access.NewSecret(password))
	f.ok(err)
	return a
}

func (f *fixture) uid(name string) string {
	f.t.Helper()
	a, err := f.s.Find(f.ctx(), user(name))
	f.ok(err)
	return a.UID
}

func (f *fixture) key(who account.Name, n account.NewKey) (account.Key, access.Secret) {
	f.t.Helper()
	k, secret, err := f.s.CreateKey(f.ctx(), who, n)
	f.ok(err)
	return k, secret
}

// login comes from another network each time, so that failures of a test are
// not counted together.
func (f *fixture) login(name, password string) (access.Identity, error) {
	n := f.logins.Add(1)
	return f.loginFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String(), name, password)
}

// loginFrom comes from an address; "" is nowhere, and loopback this machine itself.
func (f *fixture) loginFrom(address, name, password string) (access.Identity, error) {
	var from access.Origin
	if address != "" {
		from.Address = netip.MustParseAddr(address)
		from.Local = from.Address.IsLoopback()
	}
	return f.s.Passwords().Authenticate(f.ctx(), access.Password{Name: name, Secret: access.NewSecret(password), From: from})
}

func (f *fixture) present(secret access.Secret) (access.Identity, error) {
	return f.s.Keys().Authenticate(f.ctx(), access.AccessKey{Secret: secret})
}

// bootstrap makes the first administrator and returns it.
func (f *fixture) bootstrap() access.Principal {
	f.t.Helper()
	created, err := f.s.Bootstrap(f.ctx(), access.NewSecret("horses and batteries"))
	if err != nil || !created {
		f.t.Fatalf("Bootstrap = %t, %v", created, err)
	}
	id, err := f.login("admin", "horses and batteries")
	f.ok(err)
	return id.Principal
}

func user(name string) account.Name  { return account.Name{Kind: access.User, Name: name} }
func robot(name string) account.Name { return account.Name{Kind: access.Robot, Name: name} }

// wantInvalid fails unless err is an *account.Invalid that says what.
func wantInvalid(t *testing.T, err error, what string) {
	t.Helper()
	if _, ok := errors.AsType[*account.Invalid](err); !ok || !strings.Contains(err.Error(), what) {
		t.Errorf("error %v, want one that says %q", err, what)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// anybody may be imported.
func anybody(account.Name) error { return nil }
