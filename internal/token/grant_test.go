package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/token"
)

// alice is who signs in on a page; change is made to what that proves.
func (f *fixture) alice(change func(*access.Identity)) access.Identity {
	f.t.Helper()
	a, err := f.accounts.Find(f.ctx(), user("alice"))
	f.ok(err)
	id := access.Identity{Principal: a.Principal(), Proof: access.Proof{Method: "password", PasswordSet: a.PasswordSet}}
	change(&id)
	return id
}

// given returns a request for each kind of code that id gives a program on s.
func (f *fixture) given(s *token.Service, id access.Identity) map[string]func() *http.Request {
	f.t.Helper()
	challenge := sha256.Sum256([]byte(verifier))
	code, err := s.NewCode(f.ctx(), id, redirect, base64.RawURLEncoding.EncodeToString(challenge[:]))
	f.ok(err)
	d, err := s.BeginDevice(f.ctx(), access.Origin{})
	f.ok(err)
	f.ok(s.ApproveDevice(f.ctx(), d.Code.Sum(), id))
	return map[string]func() *http.Request{
		"code": func() *http.Request {
			return post(form("grant_type", "authorization_code", "client_id", token.ClientID, "code", code.Reveal(), "redirect_uri", redirect, "code_verifier", verifier))
		},
		"device code": func() *http.Request {
			return post(form("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", token.ClientID, "device_code", d.Code.Reveal()))
		},
	}
}

// A lateStore shows codes once as they were before they were given, as it would to
// who asks at the same moment.
type lateStore struct {
	token.Store
	late atomic.Bool
}

func (s *lateStore) GrantBySum(ctx context.Context, sum [32]byte) (token.Grant, error) {
	g, err := s.Store.GrantBySum(ctx, sum)
	if s.late.Swap(false) {
		g.SessionID = ""
	}
	return g, err
}

// TestLostRace: O-05, of two who show a code at the same moment one is a thief, and
// nobody knows which: neither keeps anything.
func TestLostRace(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		store := &lateStore{Store: f.db.Tokens()}
		s := f.serviceWith(store, f.db)
		for name, ask := range f.given(s, f.alice(func(*access.Identity) {})) {
			first := f.do(ask())
			if first.status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, first.status, first.raw)
			}
			f.alive(name, first.Token)
			store.late.Store(true)
			if a := f.doOn(s, ask()); a.status != http.StatusUnauthorized {
				t.Errorf("%s: the second: %d %s", name, a.status, a.raw)
			}
			if store.late.Load() {
				t.Errorf("%s: the second did not come at the same moment", name)
			}
			f.dead(name+": the first", first.Token)
			if a := f.do(post(refreshForm(first.RefreshToken))); a.status != http.StatusUnauthorized {
				t.Errorf("%s: the first goes on: %d %s", name, a.status, a.raw)
			}
		}
	})
}

// vouchers say of everybody what they say.
type vouchers struct{ err error }

func (v *vouchers) Recheck(_ context.Context, issuer, subject string) error {
	if issuer != idp || subject != "s1" {
		return access.ErrBadCredential
	}
	return v.err
}

func (*vouchers) Vouched(context.Context, string, string) error { return nil }

// TestGivenRecheck: O-12 and I-19, of whom the provider says no between the approval
// and the question of the program, that program gets nothing.
func TestGivenRecheck(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		says := &vouchers{}
		s, err := token.New(f.ctx(), token.Deps{
			Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db, People: says,
			Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: f.sealer,
		}, token.Options{Issuer: issuer, Service: service, Now: f.clock, Logger: f.logger()})
		f.ok(err)
		t.Cleanup(func() { s.Close() })
		for name, ask := range f.given(s, f.alice(func(id *access.Identity) { id.Proof.Issuer, id.Proof.Subject = idp, "s1" })) {
			says.err = access.ErrBadCredential
			if a := f.doOn(s, ask()); a.status != http.StatusUnauthorized {
				t.Errorf("%s: of a leaver: %d %s", name, a.status, a.raw)
			}
			says.err = nil
			f.pass(token.DeviceInterval)
			if a := f.doOn(s, ask()); a.status != http.StatusOK {
				t.Errorf("%s: of who is vouched for: %d %s", name, a.status, a.raw)
			}
		}
		for name, ask := range f.given(s, f.alice(func(id *access.Identity) { id.Proof.Issuer, id.Proof.Subject = idp, "s1" })) {
			if a := f.do(ask()); a.status != http.StatusUnauthorized {
				t.Errorf("%s: where nobody can be asked: %d %s", name, a.status, a.raw)
			}
		}
	})
}

// TestGivenEnds: what a program gets ends when that does by which the person signed
// in, as with a provider that cannot be asked again.
func TestGivenEnds(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ends := f.clock().Add(2 * time.Minute)
		got := map[string]answer{}
		for name, ask := range f.given(f.s, f.alice(func(id *access.Identity) { id.Expires = ends })) {
			a := f.do(ask())
			if a.status != http.StatusOK || a.ExpiresIn != 120 || claims(t, a.Token)["exp"] != float64(ends.Unix()) {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
			got[name] = a
		}
		f.pass(2*time.Minute - time.Second)
		for name, a := range got {
			if r := f.do(post(refreshForm(a.RefreshToken))); r.status != http.StatusOK {
				t.Errorf("%s: before the end: %d %s", name, r.status, r.raw)
			}
		}
		f.pass(time.Second)
		for name, a := range got {
			if r := f.do(post(refreshForm(a.RefreshToken))); r.status != http.StatusUnauthorized {
				t.Errorf("%s: at the end: %d %s", name, r.status, r.raw)
			}
		}
	})
}
