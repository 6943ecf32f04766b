package account_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

var byAdmin = account.Creator{Principal: "user:admin"}

// TestRotation: the successor is as its key, both live for the overlap, and no
// third beside them.
func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		narrow := access.Narrowing{Actions: []access.Action{access.Pull}}
		old, oldSecret := f.key(user("alice"), account.NewKey{Name: "ci", Life: 24 * time.Hour, Narrowing: narrow})
		next, nextSecret, err := f.s.RotateKey(f.ctx(), old.ID, time.Hour, byAdmin)
		f.ok(err)
		if next.Name != "ci" || next.Owner != "user:alice" || !next.Narrowing.Equal(old.Narrowing) || next.Life != old.Life || next.Creator != "user:admin" || next.Family != old.ID {
			t.Errorf("successor %+v", next)
		}
		for _, s := range []access.Secret{oldSecret, nextSecret} {
			if id, err := f.present(s); err != nil || !id.Narrowing.Equal(old.Narrowing) {
				t.Errorf("in the overlap: %+v, %v", id, err)
			}
		}
		for _, id := range []string{old.ID, next.ID} {
			_, _, err := f.s.RotateKey(f.ctx(), id, time.Hour, byAdmin)
			if e, ok := errors.AsType[*account.RotatedError](err); !ok || e.Other == id {
				t.Errorf("a third key: %v", err)
			}
		}
		_, _, err = f.s.RotateKey(f.ctx(), next.ID, time.Second, byAdmin)
		wantInvalid(t, err, "at least a minute")
		_, _, err = f.s.CreateKey(f.ctx(), user("alice"), account.NewKey{Name: "ci"})
		wantError(t, err, account.ErrKeyName)

		f.pass(time.Hour)
		_, err = f.present(oldSecret)
		wantError(t, err, access.ErrBadCredential)
		_, _, err = f.s.RotateKey(f.ctx(), old.ID, time.Hour, byAdmin)
		wantError(t, err, account.ErrUnknown)
		_, _, err = f.s.RotateKey(f.ctx(), next.ID, time.Hour, byAdmin)
		f.ok(err)

		// A successor whose secret was lost makes place when it is revoked; the old
		// key has its whole life to pass on, and no longer overlap.
		lost, _ := f.key(user("alice"), account.NewKey{Life: 48 * time.Hour})
		second, _, err := f.s.RotateKey(f.ctx(), lost.ID, time.Hour, byAdmin)
		f.ok(err)
		f.ok(f.s.RevokeKey(f.ctx(), second.ID))
		if k, err := f.s.Key(f.ctx(), lost.ID); err != nil || k.Successor != "" || !slices.Contains(f.s.Warnings(k), "expires within 14 days") {
			t.Errorf("its successor was revoked: %+v, %v", k, err)
		}
		third, _, err := f.s.RotateKey(f.ctx(), lost.ID, 9*time.Hour, byAdmin)
		f.ok(err)
		lost, err = f.s.Key(f.ctx(), lost.ID)
		if err != nil || third.Life != 48*time.Hour || lost.Successor != third.ID || !lost.Expires.Equal(f.clock().Add(time.Hour)) {
			t.Errorf("rotated again: %+v, then %+v, %v", lost, third, err)
		}
	})
}

// TestRotatedByItself: revoking a key ends what was made with it, and nothing
// that a person made (I-19).
func TestRotatedByItself(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		itself := func(k account.Key) account.Creator { return account.Creator{Principal: "user:alice", KeyID: k.ID} }
		one, _ := f.key(user("alice"), account.NewKey{Life: 24 * time.Hour})
		two, _, err := f.s.RotateKey(f.ctx(), one.ID, time.Minute, itself(one))
		f.ok(err)
		f.pass(time.Minute)
		three, secret, err := f.s.RotateKey(f.ctx(), two.ID, time.Minute, itself(two))
		f.ok(err)
		f.pass(time.Minute)
		four, fourSecret, err := f.s.RotateKey(f.ctx(), three.ID, time.Hour, byAdmin)
		f.ok(err)
		_, err = f.present(secret)
		f.ok(err)
		f.ok(f.s.RevokeKey(f.ctx(), one.ID)) // ended long ago
		_, err = f.present(secret)
		wantError(t, err, access.ErrBadCredential)
		if _, err := f.present(fourSecret); err != nil {
			t.Errorf("a person made %s: %v", four.ID, err)
		}
	})
}

// TestNarrowKey: it holds at once, and takes only.
func TestNarrowKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		k, secret := f.key(user("alice"), account.NewKey{})
		_, err := f.present(secret)
		f.ok(err)
		pull := access.Narrowing{Actions: []access.Action{access.Pull}}
		_, err = f.s.NarrowKey(f.ctx(), k.ID, pull)
		f.ok(err)
		if id, err := f.s.Resolve(f.ctx(), k.AccountID, access.Proof{Method: "key", KeyID: k.ID}); err != nil || !id.Narrowing.Equal(pull) {
			t.Errorf("S-36 a token of the narrowed key: %+v, %v", id, err)
		}
		_, err = f.s.NarrowKey(f.ctx(), k.ID, access.Narrowing{Actions: []access.Action{access.Push}})
		wantInvalid(t, err, "would widen")
		f.ok(f.s.RevokeKey(f.ctx(), k.ID))
		_, err = f.s.NarrowKey(f.ctx(), k.ID, pull)
		wantError(t, err, account.ErrUnknown)
	})
}

// TestKeyNetworks: from elsewhere a key is as good as wrong, and was not used.
func TestKeyNetworks(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		k, secret := f.key(user("alice"), account.NewKey{Narrowing: access.Narrowing{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
		for address, want := range map[string]error{"10.1.2.3": nil, "192.0.2.1": access.ErrWrongNetwork, "": access.ErrWrongNetwork} {
			from := access.Origin{UserAgent: "docker/28"}
			from.Address, _ = netip.ParseAddr(address)
			_, err := f.s.Keys().Authenticate(f.ctx(), access.AccessKey{Secret: secret, From: from})
			if !errors.Is(err, want) || want != nil && !errors.Is(err, access.ErrBadCredential) {
				t.Errorf("S-36 from %q: %v, want %v", address, err, want)
			}
		}
		got, err := f.s.Key(f.ctx(), k.ID)
		if want := (account.Use{Time: f.clock(), Address: "10.1.2.3", Agent: "docker/28"}); err != nil || got.LastUsed != want {
			t.Errorf("last use %+v, %v", got.LastUsed, err)
		}
	})
}

// TestWarnings and what is deleted when.
func TestWarnings(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		day := 24 * time.Hour
		k, _ := f.key(user("alice"), account.NewKey{Life: 120 * day})
		warned := func(want ...string) {
			t.Helper()
			k, err := f.s.Key(f.ctx(), k.ID)
			if err != nil || !slices.Equal(f.s.Warnings(k), want) {
				t.Errorf("warnings %q, %v, want %q", f.s.Warnings(k), err, want)
			}
		}
		warned()
		f.pass(91 * day)
		warned("not used for 90 days")
		f.pass(16 * day)
		warned("expires within 14 days", "not used for 90 days")
		ending, err := f.s.EndingKeys(f.ctx(), 10)
		if err != nil || len(ending) != 1 || ending[0].ID != k.ID {
			t.Errorf("ending first: %+v, %v", ending, err)
		}
		_, _, err = f.s.RotateKey(f.ctx(), k.ID, 13*day, byAdmin)
		f.ok(err)
		warned("not used for 90 days")
		f.pass(14 * day)
		warned()
		for days, want := range []int{0, 1} {
			if n, err := f.s.Tidy(f.ctx()); err != nil || n != want {
				t.Errorf("%d deleted, %v, want %d", n, err, want)
			}
			if days == 0 {
				f.pass(90 * day)
			}
		}
	})
}
