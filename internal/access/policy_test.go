package access_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

const fixture = `
version: 1
rules:
  - who: ["user:alice"]
    what: ["team-a/*"]
    may: [pull, push]
  - who: ["user:bob", "group:b"]
    what: ["team-b/**"]
    may: [pull, push, delete]
  - who: ["user:carol"]
    what: ["team-a/app"]
    may: [pull]
  - who: ["robot:ci"]
    what: ["*/ci-*", "**/cache"]
    may: [pull, push]
  - who: ["group:admins"]
    may: [admin]
  - who: ["anyone"]
    what: ["public/*"]
    may: [pull]
`

func policy(t testing.TB, doc string) *access.Policy {
	t.Helper()
	p, err := access.ParsePolicy([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func user(name string, groups ...string) access.Principal {
	return access.Principal{ID: access.ID{Name: name}, Kind: access.User, UID: "uid-" + name, Groups: groups}
}

func robot(name string) access.Principal {
	return access.Principal{ID: access.ID{Name: name}, Kind: access.Robot, UID: "uid-" + name}
}

var anonymous access.Principal

// allowed writes what p may do on repo: "pull,push".
func allowed(pol *access.Policy, p access.Principal, repo oci.RepoName) string {
	var out []string
	for _, a := range []access.Action{access.Pull, access.Push, access.Delete, access.Admin} {
		if (access.Authority{Identity: access.Identity{Principal: p}, Policy: pol}).May(a, repo) {
			out = append(out, string(a))
		}
	}
	return strings.Join(out, ",")
}

// isAdmin reports whether p has every administrative right over everything.
func isAdmin(pol *access.Policy, p access.Principal) bool {
	return pol.Decide(access.Query{Principal: p, Action: access.Admin}).Allowed
}

func TestPolicyAllows(t *testing.T) {
	foreign := user("alice")
	foreign.Issuer = "https://idp.test"
	for _, c := range []struct {
		name string
		who  access.Principal
		repo oci.RepoName
		want string
	}{
		{"own rule", user("alice"), "team-a/app", "pull,push"},
		{"S-09 not the parent", user("alice"), "team-a", ""},
		{"S-09 not below", user("alice"), "team-a/x/y", ""},
		{"S-09 not beside", user("alice"), "team-a-evil/x", ""},
		{"other team", user("alice"), "team-b/secret", ""},
		{"by name", user("bob"), "team-b/x/y", "pull,push,delete"},
		{"by group", user("dave", "a", "b"), "team-b/secret", "pull,push,delete"},
		{"S-01 pull only", user("carol"), "team-a/app", "pull"},
		{"robot", robot("ci"), "team-a/ci-x", "pull,push"},
		{"robot, cache", robot("ci"), "cache", "pull,push"},
		{"kinds are apart", user("ci"), "team-a/ci-x", ""},
		{"kinds are apart the other way", robot("alice"), "team-a/app", ""},
		{"group name is no user", user("b"), "team-b/secret", ""},
		{"user name is no group", user("eve", "alice"), "team-a/app", ""},
		{"I-13 same name elsewhere", foreign, "team-a/app", ""},
		{"I-13 same name elsewhere, open to anyone", foreign, "public/x", "pull"},
		{"S-11 star for a name", user("*"), "team-a/app", ""},
		{"S-11 pattern for a name", user("a.*"), "team-a/app", ""},
		{"S-11 list for a group", user("eve", "a,b"), "team-b/secret", ""},
		{"S-34 delimiter in a name", user("x:b"), "team-b/secret", ""},
		{"a kind that is a subject", access.Principal{Kind: "group", ID: access.ID{Name: "b"}}, "team-b/secret", ""},
		{"a kind that is anyone", access.Principal{Kind: "anyone"}, "team-b/secret", ""},
		{"T-29 account called anonymous", user("anonymous"), "team-a/app", ""},
		{"no name", access.Principal{Kind: access.User}, "team-a/app", ""},
		{"anyone", user("mallory"), "public/base", "pull"},
		{"anonymous", anonymous, "public/base", "pull"},
		{"anonymous with groups", access.Principal{Groups: []string{"b"}}, "team-b/secret", ""},
		{"X-06 anonymous elsewhere", anonymous, "team-a/app", ""},
		{"admin is no right on a repository", user("root", "admins"), "team-a/app", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := allowed(policy(t, fixture), c.who, c.repo); got != c.want {
				t.Errorf("%s on %s: %q, want %q", c.who, c.repo, got, c.want)
			}
			if got := allowed(nil, c.who, c.repo); got != "" {
				t.Errorf("without a policy %s on %s: %q", c.who, c.repo, got)
			}
		})
	}
}

func TestPolicyAdmin(t *testing.T) {
	pol := policy(t, fixture)
	var none *access.Policy
	for _, c := range []struct {
		who  access.Principal
		want bool
	}{{user("root", "admins"), true}, {user("bob", "b"), false}, {user("admins"), false}, {anonymous, false}} {
		if got := isAdmin(pol, c.who); got != c.want || isAdmin(none, c.who) {
			t.Errorf("%s is admin: %t", c.who, got)
		}
	}
}

func TestPolicyFacts(t *testing.T) {
	pol := policy(t, fixture)
	var none *access.Policy
	for _, c := range []struct {
		kind access.Kind
		name string
		want bool
	}{
		{access.User, "alice", true}, {access.Robot, "ci", true}, {access.User, "ci", false}, {access.Robot, "alice", false},
		{"group", "admins", false}, {access.User, "admins", false}, {access.Anonymous, "", false}, {"anyone", "", false},
	} {
		if got := pol.Mentions(c.kind, c.name); got != c.want || none.Mentions(c.kind, c.name) {
			t.Errorf("Mentions(%q, %q) = %t", c.kind, c.name, got)
		}
	}
	if !pol.AnyoneMayPull() || none.AnyoneMayPull() || policy(t, "version: 1\nrules: []").AnyoneMayPull() {
		t.Error("AnyoneMayPull")
	}
}

func TestGrant(t *testing.T) {
	for _, c := range []struct {
		name  string
		who   access.Principal
		scope string
		want  string
	}{
		{"nothing asked", user("alice"), "", ""},
		{"all allowed", user("alice"), "repository:team-a/app:pull,push", "repository:team-a/app:pull,push"},
		{"S-01 more than given", user("carol"), "repository:team-a/app:pull,push,delete", "repository:team-a/app:pull"},
		{"S-02 star", user("carol"), "repository:team-a/app:*", "repository:team-a/app:pull"},
		{"S-02 star of a writer", user("bob"), "repository:team-b/x:*", "repository:team-b/x:delete,pull,push"},
		{"S-02 pull and star", user("carol"), "repository:team-a/app:pull,*", "repository:team-a/app:pull"},
		{"S-02 capitals", user("carol"), "repository:team-a/app:PULL", ""},
		{"S-02 admin", user("root", "admins"), "repository:team-a/app:admin", ""},
		{"S-02 no action", user("carol"), "repository:team-a/app:", ""},
		{"S-02 doubles", user("carol"), "repository:team-a/app:" + strings.Repeat("pull,", 700), "repository:team-a/app:pull"},
		{"S-04 class", user("bob"), "repository(plugin):team-b/secret:pull", ""},
		{"S-04 other class", user("bob"), "repository(x):team-b/secret:pull", ""},
		{"S-04 other type", user("bob"), "foo:team-b/secret:pull", ""},
		{"S-04 capital type", user("bob"), "REPOSITORY:team-b/secret:pull", ""},
		{"S-05 two action lists", user("alice"), "repository:team-a/app:pull:push", ""},
		{"S-05 host and port", user("bob"), "repository:host:5000/team-b/secret:pull", ""},
		{"S-05 encoded space", user("bob"), "%20repository:team-b/secret:pull", ""},
		{"S-05 dot dot", user("bob"), "repository:team-b/../team-b/secret:pull", ""},
		{"S-05 double slash", user("bob"), "repository:team-b//secret:pull", ""},
		{"S-05 capital name", user("bob"), "repository:Team-b/secret:pull", ""},
		{"S-05 pattern", user("bob"), "repository:team-b/**:pull", ""},
		{"S-06 mixed", user("alice"), "repository:team-b/secret:pull repository:team-a/app:pull,push repository:team-b/app:push", "repository:team-a/app:pull,push"},
		{"S-06 mixed, other order", user("alice"), "repository:team-a/app:push,pull repository:team-b/secret:pull", "repository:team-a/app:pull,push"},
		{"catalog", user("mallory"), "registry:catalog:*", "registry:catalog:*"},
		{"catalog, anonymous", anonymous, "registry:catalog:*", "registry:catalog:*"},
		{"catalog needs the star", user("mallory"), "registry:catalog:pull", ""},
		{"api", user("mallory"), "registry:api:*", "registry:api:*"},
		{"api, anonymous", anonymous, "registry:api:*", ""},
		{"api, other action", user("root", "admins"), "registry:api:admin", ""},
		{"registry, other name", user("root", "admins"), "registry:everything:*", ""},
		{"anonymous", anonymous, "repository:public/base:pull,push repository:team-a/app:pull", "repository:public/base:pull"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := access.ParseScopes([]string{c.scope})
			if err != nil {
				t.Fatal(err)
			}
			id := access.Identity{Principal: c.who}
			if got := policy(t, fixture).Grant(id, access.Origin{}, time.Time{}, want).String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			var none *access.Policy
			if got := none.Grant(id, access.Origin{}, time.Time{}, want); len(got.Resources()) > 0 {
				t.Errorf("without a policy: %s", got)
			}
		})
	}
	closed := policy(t, "version: 1\nrules: []")
	want, _ := access.ParseScopes([]string{"registry:catalog:* registry:api:*"})
	if got := closed.Grant(access.Identity{}, access.Origin{}, time.Time{}, want).String(); got != "" {
		t.Errorf("anonymous holds %q where nothing is open to anyone", got)
	}
}

// TestGrantNarrowed: what a credential was narrowed to bounds what it is given.
func TestGrantNarrowed(t *testing.T) {
	want, err := access.ParseScopes([]string{"repository:team-b/x:*", "repository:team-b/y:*", "repository:team-a/app:*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repos, actions []string
		want           string
	}{
		{nil, nil, "repository:team-b/x:delete,pull,push repository:team-b/y:delete,pull,push"},
		{[]string{"team-b/x", "team-a/**"}, nil, "repository:team-b/x:delete,pull,push"},
		{nil, []string{"pull"}, "repository:team-b/x:pull repository:team-b/y:pull"},
		{[]string{"*/y"}, []string{"pull", "push"}, "repository:team-b/y:pull,push"},
		{nil, []string{"admin"}, ""},
	} {
		n, err := access.NewNarrowing(c.repos, c.actions, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := policy(t, fixture).Grant(access.Identity{Principal: user("bob"), Narrowing: n}, access.Origin{}, time.Time{}, want).String(); got != c.want {
			t.Errorf("narrowed to %v %v: %q, want %q", c.repos, c.actions, got, c.want)
		}
	}
}

// randomPolicy returns the rules of a policy over few names, so that requests hit.
func randomPolicy(r *rand.Rand) (rules []string) {
	pick := func(of []string) string {
		var out []string
		for range 1 + r.IntN(3) {
			out = append(out, fmt.Sprintf("%q", of[r.IntN(len(of))]))
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	for range r.IntN(8) {
		rule := "who: " + pick([]string{"user:a", "user:b", "robot:a", "group:g", "group:h"}) +
			", what: " + pick([]string{"**", "x/**", "*", "x", "x/y", "*/y", "**/y", "x/**/z", "x*/y*"}) +
			", may: " + pick([]string{"pull", "push", "delete"})
		if r.IntN(4) == 0 {
			rule = `who: [anyone], what: ` + pick([]string{"x/*", "pub/**", "y"}) + `, may: [pull]`
		}
		if r.IntN(6) == 0 {
			rule = `who: ` + pick([]string{"user:a", "group:g"}) + `, may: [admin]`
		}
		rules = append(rules, rule)
	}
	return rules
}

func document(rules []string) string {
	if len(rules) == 0 {
		return "version: 1\nrules: []\n"
	}
	return "version: 1\nrules:\n  - {" + strings.Join(rules, "}\n  - {") + "}\n"
}

// decisions writes everything that a policy decides over few names, as lines.
func decisions(pol *access.Policy) []string {
	var out []string
	people := []access.Principal{anonymous, user("a"), user("b", "g"), robot("a"), user("c", "g", "h"), user("z")}
	for _, p := range people {
		who := fmt.Sprint(p, p.Groups)
		for _, repo := range []oci.RepoName{"x", "y", "x/y", "x/z", "x/a/z", "pub/a", "xx/yy", "other/y"} {
			for _, a := range strings.FieldsFunc(allowed(pol, p, repo), func(c rune) bool { return c == ',' }) {
				out = append(out, who+" "+a+" "+string(repo))
			}
		}
		if isAdmin(pol, p) {
			out = append(out, who+" admin")
		}
	}
	return out
}

// FuzzPolicyOnlyGives: rules only give, so removing one never grants more, and
// S-10 their order does not matter.
func FuzzPolicyOnlyGives(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		rules := randomPolicy(r)
		all := decisions(policy(t, document(rules)))
		has := make(map[string]bool)
		for _, d := range all {
			has[d] = true
		}
		shuffled := slices.Clone(rules)
		r.Shuffle(len(rules), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(all, decisions(policy(t, document(shuffled)))); diff != "" {
			t.Errorf("another order decides otherwise:\n%s%s", document(rules), diff)
		}
		for i := range rules {
			fewer := document(slices.Delete(slices.Clone(rules), i, i+1))
			for _, d := range decisions(policy(t, fewer)) {
				if !has[d] {
					t.Errorf("without rule %d of\n%s%s is allowed", i, document(rules), d)
				}
			}
		}
	})
}

// TestDecideAllocates nothing: it runs on every request.
func TestDecideAllocates(t *testing.T) {
	pol := policy(t, fixture)
	bob, n := user("dave", "a", "b"), access.Narrowing{}
	narrowed, err := access.NewNarrowing([]string{"team-b/**", "x*"}, []string{"pull"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	held := access.GrantsOf([]access.Claim{{Type: "repository", Name: "team-b/x/y", Actions: []string{"pull"}}})
	au := access.Authority{Identity: access.Identity{Principal: bob}, Policy: pol, Held: held, Token: access.TokenFacts{ID: "t"}}
	for name, f := range map[string]func(){
		"Decide":  func() { pol.Decide(access.Query{Principal: bob, Action: access.Pull, Name: "team-b/x/y"}) },
		"refused": func() { pol.Decide(access.Query{Principal: bob, Action: access.Delete, Name: "team-c/x/y"}) },
		"admin":   func() { isAdmin(pol, bob) },
		"Narrowing.Allows": func() {
			n.Allows(access.Pull, "a/b", access.Origin{})
			narrowed.Allows(access.Pull, "team-b/x/y", access.Origin{})
		},
		"Check": func() { _ = au.Check(access.Pull, "team-b/x/y") },
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}
