package access_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// with returns a policy whose one rule gives user alice, and whoever comes from
// idp, push on everything under a condition.
func with(t testing.TB, when string) *access.Policy {
	t.Helper()
	return policy(t, fmt.Sprintf(`version: 2
rules:
  - name: r
    subjects: ["user:alice", {issuer: idp, name: "**"}]
    repositories: ["**"]
    actions: [push]
    when: %q
`, when))
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func TestCondition(t *testing.T) {
	alice := user("alice", "dev", "ops")
	external := access.ExternalPrincipal("idp", "repo:org/app", map[string]string{"ref": "refs/heads/main", "actor": "*"})
	office := access.Origin{Address: netip.MustParseAddr("10.1.2.3"), TLS: true}
	for _, c := range []struct {
		when  string
		who   access.Principal
		from  access.Origin
		at    time.Time
		tag   oci.Tag
		want  bool // for the exact tag
		could bool // while the tag is not known
	}{
		{`true`, alice, office, noon, "v1", true, true},
		{`false`, alice, office, noon, "v1", false, false},
		{`tag.startsWith("v")`, alice, office, noon, "v1", true, true},
		{`tag.startsWith("v")`, alice, office, noon, "latest", false, true},
		{`tag == "v1" || principal.name == "bob"`, alice, office, noon, "v2", false, true},
		{`tag == "v1" && principal.name == "bob"`, alice, office, noon, "v1", false, false},
		{`tag == "v1" || principal.name == "alice"`, alice, office, noon, "v2", true, true},
		{`tag.matches("^v[0-9]+$")`, alice, office, noon, "v12", true, true},
		{`tag.matches("^v[0-9]+$")`, alice, office, noon, "v1x", false, true},
		{`tag == ""`, alice, office, noon, "", true, true},
		{`"ops" in principal.groups`, alice, office, noon, "v1", true, true},
		{`"dev2" in principal.groups`, alice, office, noon, "v1", false, false},
		{`principal.kind == "user" && principal.issuer == ""`, alice, office, noon, "v1", true, true},
		{`principal.kind == "external" && principal.issuer == "idp"`, external, office, noon, "v1", true, true},
		{`principal.method == "key"`, alice, office, noon, "v1", true, true},
		{`claims.ref == "refs/heads/main"`, external, office, noon, "v1", true, true},
		{`claims["ref"].startsWith("refs/heads/")`, external, office, noon, "v1", true, true},
		{`F-32 a claim that is missing: claims.none == "x"`, external, office, noon, "v1", false, false},
		{`F-32 a claim that is missing, negated: claims.none != "x"`, external, office, noon, "v1", false, false},
		{`"none" in claims && claims.none == "x"`, external, office, noon, "v1", false, false},
		{`F-32 a claim of one without claims: claims.ref != "x"`, alice, office, noon, "v1", false, false},
		{`S-11 a claim is a literal value: claims.actor == "abc"`, external, office, noon, "v1", false, false},
		{`repository.startsWith("team/") && action == "create-tag"`, alice, office, noon, "v1", true, true},
		{`action == "move-tag"`, alice, office, noon, "v1", false, true},
		{`client.tls`, alice, office, noon, "v1", true, true},
		{`client.tls`, alice, access.Origin{}, noon, "v1", false, false},
		{`inNetwork(client.address, "10.0.0.0/8")`, alice, office, noon, "v1", true, true},
		{`inNetwork(client.address, "192.168.0.0/16")`, alice, office, noon, "v1", false, false},
		{`inNetwork(client.address, "10.0.0.0/8")`, alice, access.Origin{}, noon, "v1", false, false},
		{`no address is in no network, and not outside one: !inNetwork(client.address, "10.0.0.0/8")`, alice, access.Origin{}, noon, "v1", false, false},
		{`now < timestamp("2026-06-01T00:00:00Z")`, alice, office, noon, "v1", true, true},
		{`now.getHours() >= 8 && now.getHours() < 18 && now.getDayOfWeek() == 3`, alice, office, noon, "v1", true, true},
		{`no time, no right: now > timestamp("2000-01-01T00:00:00Z")`, alice, office, time.Time{}, "v1", false, false},
		{`F-32 an error at run time: 1 / size(principal.groups.filter(g, g == "x")) == 1`, alice, office, noon, "v1", false, false},
		{`an error beside what decides: 1 / 0 == 1 || principal.name == "alice"`, alice, office, noon, "v1", true, true},
	} {
		name, when, titled := strings.Cut(c.when, ": ")
		if !titled {
			when = name
		}
		t.Run(name, func(t *testing.T) {
			pol := with(t, when)
			q := access.Query{Principal: c.who, Method: "key", Action: access.CreateTag, Name: "team/app", Tag: c.tag, Origin: c.from, Time: c.at}
			if got := pol.Decide(q).Allowed; got != c.want {
				t.Errorf("%s: %t", when, got)
			}
			q.Action, q.Tag, q.AnyTag = access.Push, "", true
			if got := pol.Decide(q).Allowed; got != c.could {
				t.Errorf("%s could: %t", when, got)
			}
		})
	}
}

// TestConditionProtects: a protection whose condition fails takes away, and one
// that depends on the tag waits until it is known.
func TestConditionProtects(t *testing.T) {
	for _, c := range []struct {
		when, tag      string
		exact, nowhere bool // allowed
	}{
		{`tag.startsWith("v")`, "v1", false, true},
		{`tag.startsWith("v")`, "latest", true, true},
		{`true`, "v1", false, false},
		{`false`, "v1", true, true},
		{`claims.none == "x"`, "v1", false, false},
		{`now.getHours() < 6`, "v1", false, false}, // no time is known
		{`tag == "v1" && principal.name == "bob"`, "v1", true, true},
		{`tag == "x" || principal.name == "alice"`, "v1", false, false},
	} {
		pol := policy(t, fmt.Sprintf(`version: 2
rules:
  - {name: r, subjects: ["user:alice"], repositories: ["**"], actions: [push]}
protections:
  - {name: p, repositories: ["**"], actions: [push], when: %q}
`, c.when))
		q := access.Query{Principal: user("alice"), Action: access.CreateTag, Name: "a", Tag: oci.Tag(c.tag)}
		if got := pol.Decide(q).Allowed; got != c.exact {
			t.Errorf("%s on %s allows: %t", c.when, c.tag, got)
		}
		q.Tag, q.AnyTag = "", true
		if got := pol.Decide(q).Allowed; got != c.nowhere {
			t.Errorf("%s before the tag is known allows: %t", c.when, got)
		}
	}
}

func TestConditionRefused(t *testing.T) {
	deep := strings.Repeat("principal.groups.all(a, ", 4) + "true" + strings.Repeat(")", 4)
	for _, c := range []struct{ name, when, want string }{
		{"empty", "", "cannot be read"},
		{"syntax", "tag ==", "cannot be read, at character"},
		{"unknown variable", `user == "alice"`, "undeclared reference to 'user'"},
		{"unknown field", `principal.uid == "x"`, "undeclared reference"},
		{"types", `tag == 1`, "no matching overload"},
		{"no boolean", `tag`, "the condition gives a string"},
		{"dynamic", `dyn(tag)`, "the condition gives a dyn"},
		{"F-32 loops in loops", deep, "the limit is 25000"},
		{"F-32 regular expression from a claim", `tag.matches(claims.re)`, "needs its regular expression written out"},
		{"F-32 bad regular expression", `tag.matches("(")`, "cannot be read"},
		{"F-32 large regular expression", `tag.matches("((((a{100}){100}){100}){100})")`, "cannot be read"},
		{"no network", `inNetwork(client.address, "10.0.0.0")`, "is no network"},
		{"network with a host", `inNetwork(client.address, "10.0.0.1/8")`, "write 10.0.0.0/8"},
		{"network from a claim", `inNetwork(client.address, claims.net)`, "needs its network written out"},
		{"long", `tag == "` + strings.Repeat("x", 1024) + `"`, "the limit is 1024"},
		{"deep", strings.Repeat("(", 400) + "true" + strings.Repeat(")", 400), "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := access.ParsePolicy([]byte(fmt.Sprintf("version: 2\nrules:\n- name: r\n  subjects: [everyone]\n  repositories: [\"**\"]\n  actions: [push]\n  when: %q\n", c.when)))
			if err == nil || !strings.HasPrefix(err.Error(), "line 7: rules[0].when: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
