package account_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// A directory knows one password for everybody, and answers what it is told.
type directory struct {
	mu     sync.Mutex
	proofs []string // names that it was asked about
	renews int
	groups []string
	gone   bool  // nobody is there any more
	down   error // it cannot be asked
}

const corpPassword = "a password in the directory"

func (d *directory) Prove(_ context.Context, name string, password access.Secret) (access.Outside, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proofs = append(d.proofs, name)
	switch {
	case d.down != nil:
		return access.Outside{}, d.down
	case d.gone, password.Reveal() != corpPassword:
		return access.Outside{}, access.ErrBadCredential
	}
	return access.Outside{Provider: "dir", Issuer: "ldap:dir", Subject: "id of " + name, Name: name, Groups: d.groups}, nil
}

func (d *directory) Renew(_ context.Context, o access.Outside) (access.Outside, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renews++
	switch {
	case d.down != nil:
		return access.Outside{}, d.down
	case d.gone:
		return access.Outside{}, access.ErrBadCredential
	}
	o.Groups = d.groups
	return o, nil
}

func (d *directory) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// asked returns how often a password was tried, and somebody looked for, since it
// was called last.
func (d *directory) asked() (proofs, renews int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	proofs, renews = len(d.proofs), d.renews
	d.proofs, d.renews = nil, 0
	return proofs, renews
}

func (f *fixture) directory(change ...func(*account.Provider)) *directory {
	d := &directory{}
	p := account.Provider{Name: "dir", Issuer: "ldap:dir", CreateAccounts: true, Recheck: time.Hour, MaxAge: 12 * time.Hour, Prover: d}
	for _, c := range change {
		c(&p)
	}
	f.s = f.service(account.Options{FailureFloor: floor, Providers: []account.Provider{p}})
	return d
}

// TestDirectoryLogin: I-13 who is in a directory is somebody else than a local
// account of that name, and each password proves its own alone.
func TestDirectoryLogin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := f.directory()
		local := f.user("alice", "horses and batteries")
		d.groups = []string{"dev", "Not A Name"}
		id, err := f.login("dir/alice", corpPassword)
		f.ok(err)
		if p := id.Principal; p.String() != "user:dir/alice" || p.UID == local.UID || strings.Join(p.Groups, " ") != "dir/dev" {
			t.Errorf("logged in as %s in %s", p, p.Groups)
		}
		if p := id.Proof; p.Issuer != "ldap:dir" || p.Subject != "id of alice" || !id.Expires.IsZero() {
			t.Errorf("proven by %+v until %v", p, id.Expires)
		}
		d.asked()
		for _, c := range []struct{ name, password string }{
			{"alice", corpPassword}, {"dir/alice", "horses and batteries"}, {"dir/alice", ""}, {"dir/alice", strings.Repeat("x", 1025)},
			{"dir", corpPassword}, {"other/alice", corpPassword}, {"DIR/alice", corpPassword}, {"user:dir/alice", corpPassword},
		} {
			_, err := f.login(c.name, c.password)
			wantError(t, err, access.ErrBadCredential)
		}
		if proofs, _ := d.asked(); proofs != 1 {
			t.Errorf("the directory was asked %d times, want for one wrong password alone", proofs)
		}
		f.ok(f.s.Disable(f.ctx(), user("dir/alice")))
		_, err = f.login("dir/alice", corpPassword)
		wantError(t, err, access.ErrBadCredential)
		_, err = f.s.AddUser(f.ctx(), "dir/bob", access.NewSecret("horses and batteries"))
		wantInvalid(t, err, "dir")
	})
}

// TestDirectoryStrangers: who has shown the right password and may not be given an
// account is told whom to have linked.
func TestDirectoryStrangers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.directory(func(p *account.Provider) { p.CreateAccounts = false })
		_, err := f.login("dir/alice", corpPassword)
		if who, ok := errors.AsType[*access.NotAdmitted](err); !ok || !strings.Contains(who.Text, "--issuer ldap:dir --subject id of alice") {
			t.Errorf("error %v", err)
		}
		_, err = f.login("dir/alice", "another")
		wantError(t, err, access.ErrBadCredential)
		f.user("bob", "horses and batteries")
		f.ok(f.s.Link(f.ctx(), "bob", "ldap:dir", "id of alice"))
		if id, err := f.login("dir/alice", corpPassword); err != nil || id.Principal.Name != "bob" {
			t.Errorf("linked: %s, %v", id.Principal, err)
		}
	})
}

// TestDirectoryRemembered: a password that was right is not tried again for minutes,
// and at once when anything has changed that could matter.
func TestDirectoryRemembered(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		d := f.directory()
		login := func(want int) {
			t.Helper()
			_, err := f.login("dir/alice", corpPassword)
			f.ok(err)
			if proofs, _ := d.asked(); proofs != want {
				t.Errorf("asked %d times, want %d", proofs, want)
			}
		}
		login(1) // makes the account
		login(1)
		login(0)
		login(0)
		f.pass(account.RememberFor)
		login(1)
		login(0)
		f.user("somebody", "horses and batteries")
		f.ok(f.s.AddMember(f.ctx(), "admins", user("somebody")))
		login(1)
		login(0)
		f.ok(f.s.Disable(f.ctx(), user("dir/alice")))
		_, err := f.login("dir/alice", corpPassword)
		wantError(t, err, access.ErrBadCredential)
		f.ok(f.s.Enable(f.ctx(), user("dir/alice")))
		d.asked()
		login(1)
		login(0)
		_, err = f.login("dir/alice", "another")
		wantError(t, err, access.ErrBadCredential)
		_, err = f.login("dir/bob", "another")
		wantError(t, err, access.ErrBadCredential)
	})
}

// TestDirectoryThrottled: I-01 and I-03 guesses at a directory are counted as all
// are, whatever the spelling; the directory does not see those that are too many.
func TestDirectoryThrottled(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		d := f.directory()
		_, err := f.loginFrom("192.0.2.1", "dir/alice", corpPassword)
		f.ok(err)
		d.asked()
		var last error
		for _, name := range []string{"dir/bob", "dir/Bob", "dir/ｂob", "dir/BOB", "dir/bob ", "dir/bob", "dir/bob", "dir/bob"} {
			_, last = f.loginFrom("198.51.100.1", name, "a guess")
		}
		if _, ok := errors.AsType[*access.Throttled](last); !ok {
			t.Errorf("after 8 guesses: %v", last)
		}
		if proofs, _ := d.asked(); proofs > 6 {
			t.Errorf("the directory saw %d guesses", proofs)
		}
		_, err = f.loginFrom("192.0.2.1", "dir/alice", corpPassword)
		f.ok(err)
	})
}

// TestDirectoryDown: that a directory does not answer is said to its people alone,
// and does not count against them.
func TestDirectoryDown(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		d := f.directory()
		f.user("local", "horses and batteries")
		for range 2 {
			_, err := f.loginFrom("192.0.2.1", "dir/alice", corpPassword)
			f.ok(err)
		}
		d.set(func() { d.down = errors.New("connection refused") })
		_, err := f.loginFrom("192.0.2.1", "dir/alice", corpPassword)
		f.ok(err) // remembered
		for range 20 {
			_, err := f.loginFrom("198.51.100.1", "dir/bob", corpPassword)
			wantError(t, err, access.ErrUnavailable)
		}
		_, err = f.login("local", "horses and batteries")
		f.ok(err)
		d.set(func() { d.down = nil })
		_, err = f.loginFrom("198.51.100.1", "dir/bob", corpPassword)
		f.ok(err)
		d.set(func() { d.down = access.ErrBusy })
		_, err = f.login("dir/carol", corpPassword)
		wantError(t, err, access.ErrBusy)
	})
}

// TestDirectoryRecheck: I-21 a directory is asked again with the subject alone; who
// is gone is out, and one that does not answer is believed until MaxAge.
func TestDirectoryRecheck(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := f.directory()
		d.groups = []string{"dev"}
		id, err := f.login("dir/alice", corpPassword)
		f.ok(err)
		again := func() error { return f.s.Recheck(f.ctx(), "ldap:dir", "id of alice") }
		groups := func() string {
			now, err := f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
			f.ok(err)
			return strings.Join(now.Principal.Groups, " ")
		}
		f.ok(again())
		if _, renews := d.asked(); renews != 0 {
			t.Error("asked again at once")
		}
		f.pass(time.Hour)
		d.set(func() { d.groups = []string{"ops"} })
		f.ok(again())
		if got := groups(); got != "dir/ops" {
			t.Errorf("groups %s", got)
		}
		d.set(func() { d.down = errors.New("connection refused") })
		f.pass(11 * time.Hour)
		f.ok(again())
		f.pass(time.Hour)
		wantError(t, again(), access.ErrExpired)
		d.set(func() { d.down, d.gone = nil, true })
		f.pass(time.Minute)
		wantError(t, again(), access.ErrRevoked)
		d.asked()
		d.set(func() { d.gone = false })
		f.pass(time.Hour)
		wantError(t, again(), access.ErrExpired)
		if _, renews := d.asked(); renews != 0 {
			t.Error("asked again about who is out")
		}
		_, err = f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
		wantError(t, err, access.ErrBadCredential)
		_, err = f.login("dir/alice", corpPassword)
		f.ok(err)
		f.ok(again())
	})
}
