package token_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/token"
)

// changing is an authenticator after whose proof something changes at once.
type changing struct {
	access.Authenticator
	change func()
}

func (c changing) Authenticate(ctx context.Context, cred access.Credential) (access.Identity, error) {
	id, err := c.Authenticator.Authenticate(ctx, cred)
	c.change()
	return id, err
}

// I-19: a login whose right is taken away before it is answered gets nothing
// that works, and leaves no session.
func TestLoginAgainstChange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, tt := range []struct {
			name   string
			byKey  bool
			change func(k account.Key, person string) error
		}{
			{"password, replaced", false, func(_ account.Key, person string) error {
				return f.accounts.SetPassword(f.ctx(), person, access.NewSecret("another password"))
			}},
			{"password, disabled", false, func(_ account.Key, person string) error { return f.accounts.Disable(f.ctx(), user(person)) }},
			{"password, removed", false, func(_ account.Key, person string) error { return f.accounts.Remove(f.ctx(), user(person)) }},
			{"key, revoked", true, func(k account.Key, _ string) error { return f.accounts.RevokeKey(f.ctx(), k.ID) }},
			{"key, disabled", true, func(_ account.Key, person string) error { return f.accounts.Disable(f.ctx(), user(person)) }},
		} {
			for _, query := range []string{"offline_token=true", ""} {
				const person = "zoe"
				_, err := f.accounts.AddUser(f.ctx(), person, secret(person))
				f.ok(err)
				k, key := f.key(user(person), account.NewKey{})
				change := func() { f.ok(tt.change(k, person)) }
				s, err := token.New(f.ctx(), token.Deps{
					Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db,
					Passwords: changing{f.accounts.Passwords(), change}, Keys: changing{f.accounts.Keys(), change}, Sealer: f.sealer,
				}, token.Options{Issuer: issuer, Service: service, Now: f.clock, Logger: f.logger()})
				f.ok(err)
				pair := person + ":" + password(person)
				if tt.byKey {
					pair = person + ":" + key
				}
				a := f.doOn(s, get(query, pair))
				switch {
				case query != "" && (a.status != http.StatusUnauthorized || a.Error != "invalid_grant"):
					t.Errorf("%s: login: %d %s", tt.name, a.status, a.raw)
				case query == "" && a.status == http.StatusOK:
					f.dead(tt.name, a.Token)
				}
				sessions, err := f.s.Sessions(f.ctx(), "", token.Place{}, 1000)
				f.ok(err)
				for _, session := range sessions {
					if session.Owner == "user:"+person {
						t.Errorf("%s: session %+v", tt.name, session)
					}
				}
				f.ok(s.Close())
				if tt.name != "password, removed" {
					f.ok(f.accounts.Remove(f.ctx(), user(person)))
				}
			}
		}
	})
}
