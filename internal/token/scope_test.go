package token_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// What a token holds of what was asked for. The order never matters.
func TestGrantedScopes(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		carol, alice, mallory := "carol:"+password("carol"), "alice:"+password("alice"), "mallory:"+password("mallory")
		for _, tt := range []struct{ name, pair, ask, want string }{
			{"no scope", alice, "", ""},
			{"S-01 more than given", carol, "repository:team-a/app:pull,push,delete", "repository:team-a/app:pull"},
			{"S-01 another's", carol, "repository:team-b/secret:pull", ""},
			{"S-01 without grants", mallory, "repository:team-a/app:pull", ""},
			{"S-02 *", carol, "repository:team-a/app:*", "repository:team-a/app:pull"},
			{"S-02 * for pull and push", alice, "repository:team-a/app:*", "repository:team-a/app:pull,push"},
			{"S-02 pull,*", carol, "repository:team-a/app:pull,*", "repository:team-a/app:pull"},
			{"S-02 PULL", carol, "repository:team-a/app:PULL", ""},
			{"S-02 pull and a space", carol, "repository:team-a/app:pull ", "repository:team-a/app:pull"},
			{"S-02 admin", carol, "repository:team-a/app:admin", ""},
			{"S-02 empty", carol, "repository:team-a/app:", ""},
			{"S-02 1,000 times", carol, "repository:team-a/app:" + strings.Repeat("pull,", 1000) + "pull", ""},
			{"S-02 500 times", carol, "repository:team-a/app:" + strings.Repeat("pull,", 500) + "pull", "repository:team-a/app:pull"},
			{"S-04 class", carol, "repository(plugin):team-a/app:pull", ""},
			{"S-04 another class", carol, "repository(x):team-a/app:pull", ""},
			{"S-04 another type", carol, "foo:team-a/app:pull", ""},
			{"S-04 REPOSITORY", carol, "REPOSITORY:team-a/app:pull", ""},
			{"S-05 two colons", alice, "repository:team-a/app:pull:push", ""},
			{"S-05 host and port", alice, "repository:host:5000/team-a/app:pull", ""},
			{"S-05 encoded space", alice, "%20repository:team-a/app:pull", ""},
			{"S-05 dots", alice, "repository:team-a/../team-b/secret:pull", ""},
			{"S-05 two slashes", alice, "repository:team-a//app:pull", ""},
			{"S-05 capitals", alice, "repository:team-a/App:pull", ""},
			{"S-05 wildcards", alice, "repository:team-a/**:pull", ""},
			{"S-05 all wildcards", alice, "repository:team-*/**:pull", ""},
			{"S-06 mixed", alice, "repository:team-b/secret:pull repository:team-a/app:push,pull repository:public/x:pull,push", "repository:public/x:pull repository:team-a/app:pull,push"},
			{"S-06 mixed, another order", alice, "repository:public/x:push,pull repository:team-a/app:pull repository:team-b/secret:pull repository:team-a/app:push", "repository:public/x:pull repository:team-a/app:pull,push"},
			{"1.3 doubled", alice, "repository:team-a/app:push,pull repository:team-a/app:pull,push", "repository:team-a/app:pull,push"},
			{"1.3 delete", alice, "repository:team-a/app:push,pull,delete", "repository:team-a/app:pull,push"},
			{"catalog", mallory, "registry:catalog:*", "registry:catalog:*"},
			{"catalog, anonymous", "", "registry:catalog:*", "registry:catalog:*"},
			{"API", mallory, "registry:api:*", "registry:api:*"},
			{"API, anonymous", "", "registry:api:*", ""},
			{"anonymous", "", "repository:public/x:pull,push repository:team-a/app:pull", "repository:public/x:pull"},
		} {
			for _, scopes := range [][]string{{tt.ask}, strings.Split(tt.ask, " ")} {
				a := f.do(get(url.Values{"service": {service}, "scope": scopes}.Encode(), tt.pair))
				if tt.want == "" && a.status == 400 {
					continue
				}
				if a.status != 200 || a.Scope != tt.want {
					t.Errorf("%s: %d, scope %q, want %q", tt.name, a.status, a.Scope, tt.want)
				}
			}
		}
	})
}

// T-30: a token fits into a header.
func TestTokenSizeIsBounded(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		form := manyScopes(50)
		a := f.do(post(form))
		if a.status != 200 || len(a.Token) > 6<<10 {
			t.Errorf("50 scopes: %d, %d bytes", a.status, len(a.Token))
		}
		form["scope"] = nil
		for i := range 50 {
			form.Add("scope", "repository:team-a/"+strings.Repeat("x", 100+i)+":pull")
		}
		if a := f.do(post(form)); a.status != 400 || !strings.Contains(a.Description, "too many scopes") {
			t.Errorf("50 long scopes: %d %.200s", a.status, a.raw)
		}
	})
}

// A narrowed key narrows its tokens, its sessions and their tokens, at issue
// and at each check.
func TestNarrowing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		narrowing, err := access.NewNarrowing([]string{"team-a/app"}, []string{"pull"}, nil)
		f.ok(err)
		_, key := f.key(user("alice"), account.NewKey{Narrowing: narrowing})
		const ask = "repository:team-a/app:pull,push repository:team-a/b:pull repository:public/x:pull"
		identity := f.do(get("offline_token=true", "alice:"+key)).RefreshToken
		for name, a := range map[string]answer{
			"key":           f.do(get(form("scope", ask).Encode(), "alice:"+key)),
			"session":       f.do(post(refreshForm(identity, "scope", ask))),
			"login by key":  f.do(get(form("scope", ask, "offline_token", "true").Encode(), "alice:"+key)),
			"session basic": f.do(get(form("scope", ask).Encode(), ":"+identity)),
		} {
			if a.Scope != "repository:team-a/app:pull" {
				t.Errorf("%s: scope %q", name, a.Scope)
			}
			au := f.alive(name, a.Token)
			if au.May(access.Push, "team-a/app") || au.May(access.Pull, "team-a/b") || !au.May(access.Pull, "team-a/app") {
				t.Errorf("%s: the authority is not narrowed", name)
			}
		}
	})
}
