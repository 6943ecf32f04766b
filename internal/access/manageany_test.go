package access_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// TestCheckManageAny: whoever may manage something may see what there is to
// manage, and nobody else.
func TestCheckManageAny(t *testing.T) {
	pol := policy(t, `version: 2
rules:
  - {name: all, subjects: ["group:admins"], repositories: ["**"], actions: [admin]}
  - {name: part, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [manage-keys, pull]}
  - {name: outside, subjects: [{issuer: "https://idp", name: "ops-*"}], repositories: ["team-a/**"], actions: [manage-keys]}
`)
	api, err := access.ParseScopes([]string{"registry:api:*"})
	if err != nil {
		t.Fatal(err)
	}
	narrowing := func(actions ...string) access.Narrowing {
		n, err := access.NewNarrowing([]string{"team-a/app"}, actions, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ops := access.Principal{ID: access.ID{Issuer: "https://idp", Name: "ops-1"}, Kind: access.External}
	stranger := access.Principal{ID: access.ID{Issuer: "https://idp", Name: "dev-1"}, Kind: access.External}
	for _, c := range []struct {
		name   string
		who    access.Principal
		keeps  access.Narrowing
		action access.Action
		want   string
	}{
		{"administrator", user("root", "admins"), access.Narrowing{}, access.ManageAccounts, "ok"},
		{"of a part", user("alice"), access.Narrowing{}, access.ManageKeys, "ok"},
		{"another right", user("alice"), access.Narrowing{}, access.ManageAccounts, "denied manage-accounts registry:api"},
		{"no administrative action", user("alice"), access.Narrowing{}, access.Pull, "denied pull registry:api"},
		{"some of all", user("alice"), access.Narrowing{}, access.Admin, "denied admin registry:api"},
		{"nobody", user("bob"), access.Narrowing{}, access.ManageKeys, "denied manage-keys registry:api"},
		{"S-36 narrowed", user("alice"), narrowing("pull"), access.ManageKeys, "denied manage-keys registry:api"},
		{"S-36 narrowed to repositories", user("alice"), narrowing(), access.ManageKeys, "denied manage-keys registry:api"},
		{"narrowed to it", user("alice"), narrowing("manage-keys"), access.ManageKeys, "ok"},
		{"from outside", ops, access.Narrowing{}, access.ManageKeys, "ok"},
		{"another from outside", stranger, access.Narrowing{}, access.ManageKeys, "denied manage-keys registry:api"},
	} {
		t.Run(c.name, func(t *testing.T) {
			identity := access.Identity{Principal: c.who, Narrowing: c.keeps}
			au := access.Authority{Identity: identity, Policy: pol, Token: live}
			au.Held = pol.Grant(identity, access.Origin{}, au.Now, api)
			if got := outcome(au.CheckManageAny(c.action)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
