package account_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// redeem comes from another network each time, so that failures of a test are not
// counted together.
func (f *fixture) redeem(code access.Secret, password string) (string, error) {
	n := f.logins.Add(1)
	from := access.Origin{Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}
	return f.s.Redeem(f.ctx(), access.ResetCode{Secret: code, From: from}, access.NewSecret(password))
}

func (f *fixture) code(name string) access.Secret {
	f.t.Helper()
	r, code, err := f.s.ResetPassword(f.ctx(), name)
	f.ok(err)
	if !access.ResetSecret.Valid(code.Reveal()) || r.Sum != code.Sum() || r.Name != name || r.Expires != f.clock().Add(account.ResetLife) {
		f.t.Fatalf("code %+v", r)
	}
	return code
}

func TestReset(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		_, key := f.key(user("alice"), account.NewKey{})
		code := f.code("alice")
		if _, err := f.login("alice", "alice keeps a horse"); err != nil {
			t.Errorf("a code that was not redeemed ended the password: %v", err)
		}
		old, err := f.db.Directory().AccountByName(f.ctx(), "alice")
		f.ok(err)

		// A password that is refused leaves the code as it is.
		for _, weak := range []string{"short", "password12345", "alice-2026-alice"} {
			_, err := f.redeem(code, weak)
			wantInvalid(t, err, "the password")
		}
		name, err := f.redeem(code, "another good horse")
		if err != nil || name != "alice" {
			t.Fatalf("redeem = %q, %v", name, err)
		}
		_, err = f.login("alice", "alice keeps a horse")
		wantError(t, err, access.ErrBadCredential)
		_, err = f.login("alice", "another good horse")
		f.ok(err)
		if _, err := f.s.Resolve(f.ctx(), old.UID, access.Proof{Method: "password", PasswordSet: old.PasswordSet}); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("I-19 what the old password proved: %v", err)
		}
		if _, err := f.present(key); err != nil {
			t.Errorf("an access key ended: %v", err)
		}
		_, err = f.redeem(code, "a third good horse")
		wantError(t, err, account.ErrBadCode)

		_, _, err = f.s.ResetPassword(f.ctx(), "nobody")
		wantError(t, err, account.ErrUnknown)
		_, err = f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		_, _, err = f.s.ResetPassword(f.ctx(), "ci")
		wantError(t, err, account.ErrUnknown)
		f.ok(f.s.Disable(f.ctx(), user("alice")))
		_, _, err = f.s.ResetPassword(f.ctx(), "alice")
		wantInvalid(t, err, "enable the account first")
		if log := f.log.String(); strings.Contains(log, "sallyport_rst_") || strings.Contains(log, "horse") {
			t.Errorf("L-01: the log says %s", log)
		}
	})
}

// I-04, I-05 for codes: whatever is wrong with one, the error and the work are the
// same, and tell nothing of accounts.
func TestBadCodes(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"used", "replaced", "set", "changed", "disabled", "enabled", "removed", "expired"} {
			f.user(name, name+" keeps a horse")
		}
		codes := map[string]access.Secret{}
		codes["expired"] = f.code("expired")
		f.pass(account.ResetLife)
		for _, name := range []string{"used", "replaced", "set", "changed", "disabled", "enabled", "removed"} {
			codes[name] = f.code(name)
		}
		_, err := f.redeem(codes["used"], "another good horse")
		f.ok(err)
		f.code("replaced")
		f.ok(f.s.SetPassword(f.ctx(), "set", access.NewSecret("another good horse")))
		f.ok(f.s.ChangePassword(f.ctx(), "changed", access.NewSecret("changed keeps a horse"), access.NewSecret("another good horse"), access.Origin{}))
		f.ok(f.s.Disable(f.ctx(), user("disabled")))
		f.ok(f.s.Disable(f.ctx(), user("enabled")))
		f.ok(f.s.Enable(f.ctx(), user("enabled")))
		f.ok(f.s.Remove(f.ctx(), user("removed")))
		unknown, err := access.ResetSecret.New(rand.Reader)
		f.ok(err)
		key, err := access.KeySecret.New(rand.Reader)
		f.ok(err)
		codes["unknown"], codes["of another form"] = unknown, key
		codes["empty"], codes["mistyped"], codes["NUL"] = access.Secret{}, access.NewSecret(unknown.Reveal()+"x"), access.NewSecret("\x00")
		for name, code := range codes {
			for _, password := range []string{"another good horse", "short", ""} {
				hashes, queries := f.s.Hashes(), f.db.Queries()
				who, err := f.redeem(code, password)
				if !errors.Is(err, account.ErrBadCode) || err.Error() != account.ErrBadCode.Error() || who != "" {
					t.Errorf("%s: %q, %v", name, who, err)
				}
				if h, q := f.s.Hashes()-hashes, f.db.Queries()-queries; h != 0 || q != 1 {
					t.Errorf("%s: %d hashes and %d queries, want none and 1", name, h, q)
				}
			}
		}
	})
}

// Codes that prove nothing are slowed down by network, the right one too. It does
// not count, and leaves nothing behind.
func TestCodesAreThrottled(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		from := access.Origin{Address: netip.MustParseAddr("198.51.100.7")}
		redeem := func(code access.Secret, password string) error {
			_, err := f.s.Redeem(f.ctx(), access.ResetCode{Secret: code, From: from}, access.NewSecret(password))
			return err
		}
		code := f.code("alice")
		for range 100 {
			wantInvalid(t, redeem(code, "short"), "at least 12")
		}
		wrong := 0
		for {
			err := redeem(access.NewSecret(fmt.Sprint("sallyport_rst_", wrong)), "another good horse")
			if _, throttled := errors.AsType[*access.Throttled](err); throttled {
				break
			}
			wantError(t, err, account.ErrBadCode)
			if wrong++; wrong > 100 {
				t.Fatal("nothing slows down guesses at codes")
			}
		}
		queries := f.db.Queries()
		if _, throttled := errors.AsType[*access.Throttled](redeem(code, "another good horse")); !throttled || f.db.Queries() != queries {
			t.Error("the right code is looked at while its network has to wait")
		}
		f.pass(10 * time.Minute)
		f.ok(redeem(code, "another good horse"))
	})
}

// Of those who redeem a code at the same moment one wins, and its password counts.
func TestRedeemAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		code := f.code("alice")
		errs := make([]error, 4)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = f.redeem(code, fmt.Sprint(i, " horses in a barn")) })
		}
		all.Wait()
		winners := 0
		for i, err := range errs {
			if _, login := f.login("alice", fmt.Sprint(i, " horses in a barn")); (login == nil) != (err == nil) {
				t.Errorf("%d: redeem %v, login %v", i, err, login)
			}
			if err == nil {
				winners++
			} else {
				wantError(t, err, account.ErrBadCode)
			}
		}
		if winners != 1 {
			t.Errorf("%d winners", winners)
		}
	})
}

func TestInvite(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, err := f.s.Invite(f.ctx(), "alice")
		f.ok(err)
		for _, password := range []string{"", "alice keeps a horse"} {
			_, err = f.login("alice", password)
			wantError(t, err, access.ErrBadCredential)
		}
		if again, err := f.s.Invited(f.ctx(), "alice"); err != nil || again.UID != a.UID {
			t.Errorf("Invited = %+v, %v", again, err)
		}
		_, err = f.s.Invite(f.ctx(), "alice")
		wantError(t, err, account.ErrExists)
		_, err = f.redeem(f.code("alice"), "another good horse")
		f.ok(err)
		if id, err := f.login("alice", "another good horse"); err != nil || id.Principal.UID != a.UID {
			t.Errorf("login = %v, %v", id, err)
		}
		_, err = f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		for _, name := range []string{"alice", "ci", "nobody"} {
			_, err = f.s.Invited(f.ctx(), name)
			wantError(t, err, account.ErrExists)
		}
	})
}

// changedBefore is a directory where something happens just before somebody's own
// new password is stored.
type changedBefore struct {
	account.Directory
	change func()
}

func (d changedBefore) ChangePassword(ctx context.Context, uid string, proven time.Time, hash string, at time.Time) error {
	d.change()
	return d.Directory.ChangePassword(ctx, uid, proven, hash, at)
}

// Who knows the old password cannot set another one over that of an administrator
// who sets it at the same moment.
func TestOldPasswordDoesNotWin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, change := range map[string]func() error{
			"reset":    func() error { return f.s.SetPassword(f.ctx(), "alice", access.NewSecret("set by the admins")) },
			"disabled": func() error { return f.s.Disable(f.ctx(), user("alice")) },
			"removed":  func() error { return f.s.Remove(f.ctx(), user("alice")) },
		} {
			t.Run(name, func(t *testing.T) {
				f.user("alice", "alice keeps a horse")
				s := account.New(changedBefore{f.db.Directory(), func() { f.ok(change()) }}, f.db, account.Options{Now: f.clock, FailureFloor: floor})
				defer s.Close()
				wantError(t, s.ChangePassword(f.ctx(), "alice", access.NewSecret("alice keeps a horse"), access.NewSecret("another good horse"), access.Origin{}), access.ErrBadCredential)
				_, err := f.login("alice", "another good horse")
				wantError(t, err, access.ErrBadCredential)
				if name != "removed" {
					f.ok(f.s.Remove(f.ctx(), user("alice")))
				}
			})
		}
	})
}
