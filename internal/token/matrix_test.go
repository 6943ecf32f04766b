package token_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// T-14: each credential of ours in each slot. Only the marked ones are taken:
// an access token where a bearer goes, an identity token where a refresh token
// goes, and these two's opaque cousins where a password goes, as decided at the
// top of THREATS.md.
func TestCredentialMatrix(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		login := f.login("alice")
		_, key := f.key(user("alice"), account.NewKey{})
		sessions, err := f.s.Sessions(f.ctx(), "")
		f.ok(err)
		keys, err := f.accounts.ListKeys(f.ctx(), "")
		f.ok(err)
		jti := claims(t, login.Token)["jti"].(string)
		foreign := "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC50ZXN0In0.c2ln"
		credentials := map[string]string{
			"password": password("alice"), "access key": key, "identity token": login.RefreshToken, "access token": login.Token,
			"foreign ID token": foreign, "session id": sessions[0].ID, "key id": keys[0].ID, "jti": jti, "account id": keys[0].AccountID,
		}
		issued := func(r *http.Request) bool { return f.do(r).status == http.StatusOK }
		slots := map[string]func(secret string) bool{
			"bearer": func(s string) bool {
				_, err := f.s.Authorize(f.ctx(), s)
				if err != nil && !errors.Is(err, access.ErrInvalidToken) {
					t.Errorf("Authorize: %v", err)
				}
				return err == nil
			},
			"Basic password":            func(s string) bool { return issued(get("", "alice:"+s)) },
			"Basic password of another": func(s string) bool { return issued(get("", "bob:"+s)) },
			"Basic password of nobody":  func(s string) bool { return issued(get("", ":"+s)) },
			"Basic name":                func(s string) bool { return issued(get("", s+":")) },
			"POST password": func(s string) bool {
				return issued(post(form("grant_type", "password", "username", "alice", "password", s)))
			},
			"POST username": func(s string) bool {
				return issued(post(form("grant_type", "password", "username", s, "password", "x")))
			},
			"POST refresh_token": func(s string) bool { return issued(post(refreshForm(s))) },
			"Bearer at /token": func(s string) bool {
				r := get("", "")
				r.Header.Set("Authorization", "Bearer "+s)
				return issued(r)
			},
			"?access_token": func(s string) bool { return issued(get("access_token="+s, "")) },
			"?token":        func(s string) bool { return issued(get("token="+s, "")) },
		}
		taken := map[string][]string{
			"bearer":                    {"access token"},
			"Basic password":            {"password", "access key", "identity token"},
			"Basic password of another": {"access key", "identity token"},
			"Basic password of nobody":  {"access key", "identity token"},
			"POST password":             {"password", "access key", "identity token"},
			"POST refresh_token":        {"identity token"},
		}
		for slot, try := range slots {
			for name, secret := range credentials {
				want := false
				for _, n := range taken[slot] {
					want = want || n == name
				}
				if got := try(secret); got != want {
					t.Errorf("%s as %s: taken %t, want %t", name, slot, got, want)
				}
			}
		}
	})
}
