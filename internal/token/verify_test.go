package token_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/token"
)

// T-11: a token lives 300 s and the leeway; then, for an hour, it says who comes
// and no more.
func TestTimes(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		text := f.access("alice:"+password("alice"), "repository:team-a/app:pull,push")
		began := f.clock()
		for _, tt := range []struct {
			at   time.Duration
			want string
		}{
			{-31 * time.Second, "invalid"}, {-30 * time.Second, "alive"}, {0, "alive"}, {299 * time.Second, "alive"},
			{301 * time.Second, "alive"}, {329 * time.Second, "alive"}, {331 * time.Second, "expired"}, {361 * time.Second, "expired"},
			{300*time.Second + registry.PushGrace - time.Second, "expired"}, {300*time.Second + registry.PushGrace, "invalid"}, {24 * time.Hour, "invalid"},
		} {
			f.pass(began.Add(tt.at).Sub(f.clock()))
			au, err := f.s.Authorize(f.ctx(), text)
			got := "alive"
			switch {
			case errors.Is(err, access.ErrInvalidToken):
				got = "invalid"
			case err != nil:
				t.Fatal(err)
			case au.Token.Expired:
				got = "expired"
				if !errors.Is(au.Check(access.Pull, "team-a/app"), access.ErrInvalidToken) || au.Identity.Principal.Name != "alice" {
					t.Errorf("at %s: %+v", tt.at, au)
				}
			}
			if got != tt.want {
				t.Errorf("at %s: %s, want %s", tt.at, got, tt.want)
			}
			if err == nil && (!au.Token.Expires.Equal(began.Add(330*time.Second)) || !au.Token.Issued.Equal(began)) {
				t.Errorf("facts %+v", au.Token)
			}
		}
	})
}

// The setting for tests of clients: tokens end after 5 s without leeway, and
// clients are told 300.
func TestTestExpiry(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.s = f.service(token.Options{TestExpiry: 5 * time.Second})
		a := f.do(get("", "alice:"+password("alice")))
		if a.ExpiresIn != 300 || claims(t, a.Token)["exp"] != float64(f.clock().Unix()+5) {
			t.Errorf("answer %s", a.raw)
		}
		f.pass(4 * time.Second)
		f.alive("at 4 s", a.Token)
		f.pass(time.Second)
		if au, err := f.s.Authorize(f.ctx(), a.Token); err != nil || !au.Token.Expired {
			t.Errorf("at 5 s: %v, %+v", err, au.Token)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		deps := token.Deps{Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db, Sealer: f.sealer}
		for _, o := range []token.Options{
			{}, {Issuer: "x"}, {Service: "x"}, {Issuer: "x", Service: "x", Lifetime: 299 * time.Second},
			{Issuer: "x", Service: "x", Lifetime: 25 * time.Hour}, {Issuer: "x", Service: "x", SessionIdle: -1}, {Issuer: "x", Service: "x", TestExpiry: -1},
			{Issuer: "x", Service: "x", KeyAhead: -1}, {Issuer: "x", Service: "x", KeyAhead: 2 * time.Hour, KeyRotation: 3 * time.Hour},
		} {
			if _, err := token.New(t.Context(), deps, o); err == nil {
				t.Errorf("New took %+v", o)
			}
		}
		deps.Sealer = nil
		if _, err := token.New(t.Context(), deps, token.Options{Issuer: issuer, Service: service}); err == nil {
			t.Error("New works without a sealer")
		}
	})
}

// What takes a right away is felt by the next request, whatever the token says
// and however often it was verified; in between there are no queries.
func TestRevocation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		admin, err := f.accounts.Find(f.ctx(), user("admin"))
		f.ok(err)
		const scope = "repository:team-a/app:pull,push"
		k, key := f.key(user("alice"), account.NewKey{})
		byPassword := f.access("alice:"+password("alice"), scope)
		byKey := f.access("alice:"+key, scope)
		login := f.login("alice")
		other := f.login("alice")
		keyLogin := f.do(get("offline_token=true", "alice:"+key))
		bySession := f.do(post(refreshForm(login.RefreshToken, "scope", scope))).Token
		byKeySession := f.do(post(refreshForm(keyLogin.RefreshToken, "scope", scope))).Token
		bobs := f.access("bob:"+password("bob"), "repository:team-b/x:pull")
		for _, text := range []string{byPassword, byKey, bySession, byKeySession, bobs} {
			f.alive("at first", text)
		}
		refused := func(what, identity string) {
			t.Helper()
			if a := f.do(post(refreshForm(identity))); a.status != 401 || a.Error != "invalid_grant" {
				t.Errorf("%s: %d %s", what, a.status, a.raw)
			}
		}
		id := func(text string) string { return claims(t, text)["sid"].(string) }

		f.ok(f.s.RevokeSession(f.ctx(), id(bySession)))
		f.dead("revoked session", bySession)
		f.dead("the login's own token", login.Token)
		refused("revoked session", login.RefreshToken)
		f.alive("another session", other.Token)
		f.alive("no session", byPassword)

		f.ok(f.accounts.RevokeKey(f.ctx(), k.ID))
		f.dead("revoked key", byKey)
		f.dead("session of a revoked key", byKeySession)
		f.dead("login by a revoked key", keyLogin.Token)
		refused("session of a revoked key", keyLogin.RefreshToken)
		if a := f.do(get("", "alice:"+key)); a.status != 401 {
			t.Errorf("revoked key: %d", a.status)
		}

		_, err = f.accounts.ApplyPolicy(f.ctx(), account.PolicyChange{Document: "version: 1\nrules:\n  - who: [\"group:admins\"]\n    may: [admin]\n", Base: 2}, access.Authority{Identity: access.Identity{Principal: admin.Principal()}})
		f.ok(err)
		if au := f.alive("a right taken away", byPassword); au.May(access.Pull, "team-a/app") || !au.Held.Has(access.Repository("team-a/app"), "pull") {
			t.Error("S-22: the policy is not the one in force")
		}
		_, err = f.accounts.ApplyPolicy(f.ctx(), account.PolicyChange{Document: policy, Base: 3}, access.Authority{Identity: access.Identity{Principal: admin.Principal()}})
		f.ok(err)

		f.ok(f.accounts.SetPassword(f.ctx(), "alice", access.NewSecret("another password")))
		refused("session before the new password", other.RefreshToken)
		f.dead("its token", other.Token)
		f.dead("I-19 token before the new password", byPassword)
		f.ok(f.accounts.SetPassword(f.ctx(), "alice", secret("alice")))
		f.dead("I-19 token before the old password came back", byPassword)
		byPassword = f.access("alice:"+password("alice"), "repository:team-a/app:pull")
		f.alive("token of the new password, in the same second", byPassword)

		again := f.login("alice")
		f.ok(f.accounts.Disable(f.ctx(), user("alice")))
		f.dead("I-19 disabled, by password", byPassword)
		f.dead("I-19 disabled, by session", again.Token)
		refused("I-19 disabled", again.RefreshToken)
		f.alive("bob", bobs)
		f.ok(f.accounts.Enable(f.ctx(), user("alice")))
		f.dead("I-19 enabled again, token from before", byPassword)
		refused("I-19 enabled again, session from before", again.RefreshToken)
		f.alive("enabled again", f.access("alice:"+password("alice"), ""))

		f.ok(f.accounts.Remove(f.ctx(), user("bob")))
		f.dead("I-16 removed", bobs)
	})
}

// A token that was seen before costs no query.
func TestSteadyStateHasNoQueries(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		_, key := f.key(user("alice"), account.NewKey{})
		login := f.login("alice")
		texts := []string{
			f.access("alice:"+password("alice"), ""), f.access("alice:"+key, ""), login.Token, f.access("", ""),
			f.do(post(refreshForm(login.RefreshToken))).Token, "",
		}
		use := func() {
			for _, text := range texts {
				if _, err := f.s.Authorize(f.ctx(), text); err != nil {
					t.Fatal(err)
				}
			}
		}
		use()
		before := f.db.Queries()
		hashes := f.accounts.Hashes()
		for range 100 {
			use()
			for _, r := range []answer{f.do(post(refreshForm(login.RefreshToken))), f.do(get("", "x:"+key)), f.do(get("", ""))} {
				if r.status != 200 {
					t.Fatal(r.raw)
				}
			}
		}
		if n := f.db.Queries() - before; n != 0 {
			t.Errorf("%d queries", n)
		}
		if n := f.accounts.Hashes() - hashes; n != 0 {
			t.Errorf("%d password hashes", n)
		}
	})
}

// Nothing that is issued lives longer than the key it came of, whatever leeway
// and grace say.
func TestKeyEndsItsTokens(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		_, key := f.key(user("alice"), account.NewKey{Life: 100 * time.Second})
		a := f.do(get("offline_token=true", "alice:"+key))
		session := f.do(post(refreshForm(a.RefreshToken)))
		end := float64(f.clock().Add(100 * time.Second).Unix())
		for _, text := range []string{a.Token, session.Token} {
			if claims(t, text)["exp"] != end || a.ExpiresIn != 100 || session.ExpiresIn != 100 {
				t.Errorf("claims %v", claims(t, text))
			}
		}
		f.pass(99 * time.Second)
		f.alive("before the key's end", a.Token)
		f.pass(time.Second)
		f.dead("at the key's end", a.Token)
		f.dead("at the key's end, by session", session.Token)
		if a := f.do(post(refreshForm(a.RefreshToken))); a.status != 401 {
			t.Errorf("session after its key: %d", a.status)
		}
	})
}

func TestAuthorizeAtOnce(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		text := f.access("alice:"+password("alice"), "")
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 50 {
					if i == 0 {
						if err := f.accounts.AddMember(t.Context(), "dev", user("carol")); err != nil {
							t.Error(err)
						}
						if err := f.accounts.RemoveMember(t.Context(), "dev", user("carol")); err != nil {
							t.Error(err)
						}
					}
					if _, err := f.s.Authorize(t.Context(), text); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}
