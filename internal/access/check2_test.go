package access_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

func TestCheckTag(t *testing.T) {
	pol := policy(t, team)
	push := "repository:prod/app:pull,push,delete"
	pullOnly, err := access.NewNarrowing(nil, []string{"create-tag"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		who    access.Principal
		keeps  access.Narrowing
		held   string
		action access.Action
		tag    oci.Tag
		want   string
	}{
		{"creates", robot("ci"), access.Narrowing{}, push, access.CreateTag, "v1", "<nil>"},
		{"S-25 may not move", robot("ci"), access.Narrowing{}, push, access.MoveTag, "v1", "robot:ci may not move-tag prod/app:v1"},
		{"S-26 protected", user("root", "admins"), access.Narrowing{}, push, access.MoveTag, "v1", "user:root may not move-tag prod/app:v1: protected by releases-stay"},
		{"S-17 no right there at all", user("eve"), access.Narrowing{}, push, access.MoveTag, "v1", "user:eve may not move-tag prod/app:v1"},
		{"S-01 token does not hold push", robot("ci"), access.Narrowing{}, "repository:prod/app:pull", access.CreateTag, "v1", "token lacks repository:prod/app:pull,push"},
		{"S-27 token does not hold delete", user("root", "admins"), access.Narrowing{}, "repository:prod/app:pull,push", access.Delete, "x", "token lacks repository:prod/app:delete"},
		{"S-36 narrowed", user("root", "admins"), pullOnly, push, access.MoveTag, "x", "user:root may not move-tag prod/app:x"},
		{"S-36 narrowed, and protected", user("root", "admins"), pullOnly, push, access.MoveTag, "v1", "user:root may not move-tag prod/app:v1"},
		{"anonymous", anonymous, access.Narrowing{}, push, access.CreateTag, "x", "token lacks repository:prod/app:pull,push"},
		{"administrative", user("root", "admins"), access.Narrowing{}, push, access.Admin, "x", "user:root may not admin prod/app:x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			au := access.Authority{
				Identity: access.Identity{Principal: c.who, Narrowing: c.keeps}, Policy: pol, Held: held(t, c.held), Token: live,
			}
			if got := fmt.Sprint(au.CheckTag(c.action, "prod/app", c.tag)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestGrantTwo: a token's scope knows push alone, which who may create or move
// tags is given; and what is given depends on where it is asked for.
func TestGrantTwo(t *testing.T) {
	pol := policy(t, team+`  - {name: office, repositories: ["**"], actions: [push], when: '!inNetwork(client.address, "10.0.0.0/8")'}
`)
	for _, c := range []struct {
		who   access.Principal
		from  string
		scope string
		want  string
	}{
		{robot("ci"), "10.0.0.1", "repository:prod/app:pull,push,create-tag,move-tag", "repository:prod/app:pull,push"},
		{user("mo"), "10.0.0.1", "repository:prod/app:*", "repository:prod/app:push"},
		{user("mo"), "192.0.2.1", "repository:prod/app:*", ""},
		{user("ann", "a"), "10.0.0.1", "repository:team-a/frozen:* repository:team-a/embargo:*", "repository:team-a/embargo:push repository:team-a/frozen:pull"},
		{user("amy"), "10.0.0.1", "repository:team-a/app:manage-policy,admin registry:api:*", "registry:api:*"},
		{external("https://idp.test", "x", "repo", "org/app", "ref", "refs/heads/x"), "10.0.0.1", "repository:prod/app:* registry:catalog:*", "registry:catalog:* repository:prod/app:push"},
	} {
		want, err := access.ParseScopes([]string{c.scope})
		if err != nil {
			t.Fatal(err)
		}
		from := access.Origin{Address: netip.MustParseAddr(c.from)}
		if got := pol.Grant(access.Identity{Principal: c.who}, from, noon, want).String(); got != c.want {
			t.Errorf("%s from %s: %q, want %q", c.who, c.from, got, c.want)
		}
	}
}

// TestDecideConcurrently: conditions are shared by all requests.
func TestDecideConcurrently(t *testing.T) {
	pol := with(t, `tag.startsWith("v") && principal.groups.exists(g, g == "ops")`)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			q := access.Query{Principal: user("alice", "dev", "ops"), Action: access.MoveTag, Name: "a", Tag: "v1"}
			if i%2 == 1 {
				q.Tag = "latest"
			}
			for range 200 {
				if got := pol.Decide(q).Allowed; got != (i%2 == 0) {
					t.Errorf("%s: %t", q.Tag, got)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestCheckManage(t *testing.T) {
	for _, c := range []struct {
		who    access.Principal
		held   string
		action access.Action
		name   string
		want   string
	}{
		{user("amy"), "registry:api:*", access.ManageKeys, "team-a/ci", "<nil>"},
		{user("amy"), "registry:api:*", access.ManageKeys, "team-b/ci", "user:amy may not manage-keys team-b/ci"},
		{user("amy"), "registry:api:*", access.ManageKeys, "", "user:amy may not manage-keys in the whole registry"},
		{user("amy"), "", access.ManageKeys, "team-a/ci", "token lacks registry:api:*"},
		{user("root", "admins"), "registry:api:*", access.Admin, "", "<nil>"},
		{user("root", "admins"), "registry:api:*", access.Operate, "", "<nil>"},
		{user("ann", "a"), "registry:api:*", access.Admin, "", "user:ann has no administrative right"},
		{user("ann", "a"), "registry:api:*", access.Pull, "team-a/app", "user:ann may not pull team-a/app"}, // no administrative right
	} {
		au := access.Authority{Identity: access.Identity{Principal: c.who}, Policy: policy(t, team), Held: held(t, c.held), Token: live}
		if got := fmt.Sprint(au.CheckManage(c.action, c.name)); got != c.want {
			t.Errorf("%s %s %s: %q, want %q", c.who, c.action, c.name, got, c.want)
		}
	}
}

// TestMentionsInProtections: a name that only a protection has must not come to mean another.
func TestMentionsInProtections(t *testing.T) {
	pol := policy(t, "version: 2\nrules: []\nprotections:\n- {name: p, repositories: [x], actions: [push], except-subjects: [\"robot:old\"]}\n")
	if !pol.Mentions(access.Robot, "old") || pol.Mentions(access.User, "old") {
		t.Error("Mentions")
	}
}

// TestPlaceholderPrefixes: a listing seeks to one's own home.
func TestPlaceholderPrefixes(t *testing.T) {
	for _, c := range []struct {
		who  access.Principal
		want string
	}{
		{user("bob"), "home/bob/ public/"}, {robot("bob"), "bot/bob public/"}, {user("bob/x"), "public/"},
		{external("https://idp.test", "bob"), "public/"}, {user("ann", "a"), "home/ann/ public/ team-a/"},
	} {
		au := access.Authority{Identity: access.Identity{Principal: c.who}, Policy: policy(t, team)}
		if got := strings.Join(au.VisiblePrefixes(), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.who, got, c.want)
		}
	}
}
