package access_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

// brief writes an explanation as lines.
func brief(x access.Explanation) []string {
	out := []string{fmt.Sprintf("%t %s", x.Allowed, x.Action)}
	add := func(kind string, reasons []access.Reason) {
		for _, r := range reasons {
			line := fmt.Sprintf("%s %s:%d", kind, r.Name, r.Line)
			if r.DependsOnTag {
				line += " by tag"
			}
			for _, l := range r.Lacks {
				line += fmt.Sprintf("; %s %s", l.What, l.Text)
			}
			if c := r.Condition; c != nil {
				line += fmt.Sprintf("; %s: %s %v", c.Text, c.Outcome, c.Values)
			}
			out = append(out, line)
		}
	}
	add("gives", x.Rules)
	if x.Narrowed != "" {
		out = append(out, "narrowed to "+x.Narrowed)
	}
	add("takes", x.Protections)
	add("near", x.Nearest)
	return out
}

func TestExplain(t *testing.T) {
	pol := policy(t, `version: 2
rules:
- {name: dev, subjects: ["group:dev"], repositories: ["team/**"], except: [team/secret], actions: [pull, create-tag]}
- {name: night, subjects: ["group:dev"], repositories: ["team/**"], actions: [move-tag], when: 'inNetwork(client.address, "10.0.0.0/8")'}
- {name: releases, subjects: ["robot:ci"], repositories: ["team/**"], actions: [push], when: 'tag.startsWith("v")'}
- {name: elsewhere, subjects: ["user:bob", "user:eve"], repositories: ["other/**"], actions: [push]}
protections:
- {name: stay, repositories: ["team/**"], tags: ["v*"], actions: [move-tag]}
`)
	pulls, err := access.NewNarrowing(nil, []string{"pull"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ann := user("ann", "dev")
	office := access.Origin{Address: netip.MustParseAddr("10.0.0.7")}
	for _, c := range []struct {
		name string
		q    access.Query
		want []string
	}{
		{"allowed", access.Query{Principal: ann, Action: access.Pull, Name: "team/a"}, []string{"true pull", "gives dev:3"}},
		{"except", access.Query{Principal: ann, Action: access.Pull, Name: "team/secret"}, []string{
			"false pull", "near dev:3; repository covers team/**, with exceptions",
			`near night:4; action gives move-tag; condition inNetwork(client.address, "10.0.0.0/8"); inNetwork(client.address, "10.0.0.0/8"): error: the client's address is not known map[client.address:]`,
			"near releases:5; subject is for robot:ci; action gives push",
		}},
		{"push is what comes closest", access.Query{Principal: ann, Action: access.Push, Name: "team/a", AnyTag: true}, []string{
			"true create-tag", "gives dev:3",
		}},
		{"condition", access.Query{Principal: ann, Action: access.MoveTag, Name: "team/a", Tag: "x", Origin: access.Origin{Address: netip.MustParseAddr("192.0.2.1")}}, []string{
			"false move-tag",
			`near dev:3; action gives pull, create-tag`,
			`near night:4; condition inNetwork(client.address, "10.0.0.0/8"); inNetwork(client.address, "10.0.0.0/8"): false map[client.address:192.0.2.1]`,
			`near releases:5; subject is for robot:ci; condition tag.startsWith("v"); tag.startsWith("v"): false map[tag:x]`,
			"near elsewhere:6; subject is for user:bob, user:eve; repository covers other/**",
		}},
		{"condition fails", access.Query{Principal: ann, Action: access.MoveTag, Name: "team/a", Tag: "v1"}, []string{
			"false move-tag", "takes stay:8",
			`near dev:3; action gives pull, create-tag`,
			`near night:4; condition inNetwork(client.address, "10.0.0.0/8"); inNetwork(client.address, "10.0.0.0/8"): error: the client's address is not known map[client.address:]`,
			`near releases:5; subject is for robot:ci`,
			"near elsewhere:6; subject is for user:bob, user:eve; repository covers other/**",
		}},
		{"protected", access.Query{Principal: ann, Action: access.MoveTag, Name: "team/a", Tag: "v1", Origin: office}, []string{
			"false move-tag", `gives night:4; inNetwork(client.address, "10.0.0.0/8"): true map[client.address:10.0.0.7]`, "takes stay:8",
		}},
		{"narrowed", access.Query{Principal: ann, Action: access.CreateTag, Name: "team/a", Tag: "v1", Narrowing: pulls}, []string{
			"false create-tag", "gives dev:3", "narrowed to actions pull",
		}},
		{"by tag", access.Query{Principal: robot("ci"), Action: access.MoveTag, Name: "team/a", AnyTag: true}, []string{
			"true move-tag", `gives releases:5 by tag; tag.startsWith("v"): depends on the tag map[tag:not known]`, "takes stay:8 by tag",
		}},
		{"subject", access.Query{Principal: user("zoe"), Action: access.Push, Name: "other/a", AnyTag: true}, []string{
			"false create-tag", "near elsewhere:6; subject is for user:bob, user:eve",
			"near dev:3; subject is for group:dev; repository covers team/**, with exceptions",
			"near releases:5; subject is for robot:ci; repository covers team/**",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := brief(pol.Explain(c.q))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	var none *access.Policy
	if x := none.Explain(access.Query{Principal: ann, Action: access.Pull, Name: "a"}); x.Allowed || x.Rules == nil || len(x.Nearest) > 0 {
		t.Errorf("without a policy: %+v", x)
	}
}

// TestExplainWithin: who sees a part learns nothing of rules about other names.
func TestExplainWithin(t *testing.T) {
	pol := policy(t, team)
	x := pol.Explain(access.Query{Principal: user("zoe"), Action: access.MoveTag, Name: "team-a/app", Tag: "x"})
	names := func(x access.Explanation) string {
		var out []string
		for _, r := range x.Nearest {
			out = append(out, r.Name)
		}
		return strings.Join(out, " ")
	}
	if got, want := names(x), "homes administrators team-a public team-a-admins"; got != want {
		t.Errorf("near: %s, want %s", got, want)
	}
	amy := access.Authority{Identity: access.Identity{Principal: user("amy")}, Policy: pol}
	if got, want := names(x.Within(amy.Part(access.ManagePolicy))), "administrators team-a team-a-admins"; got != want {
		t.Errorf("near for amy: %s, want %s", got, want)
	}
	root := access.Authority{Identity: access.Identity{Principal: user("root", "admins")}, Policy: pol}
	if got := names(x.Within(root.Part(access.ManagePolicy))); got != names(x) {
		t.Errorf("near for root: %s", got)
	}
}

func TestExplainIsBounded(t *testing.T) {
	pol := policy(t, manyRules(access.MaxPolicyRules, func(i int) string {
		return fmt.Sprintf(`subjects: ["group:b"], repositories: ["t%d/**"], actions: [pull]`, i)
	}))
	if x := pol.Explain(access.Query{Principal: user("a", "b"), Action: access.Pull, Name: "x/y"}); len(x.Nearest) != access.MaxNearest {
		t.Errorf("%d near rules", len(x.Nearest))
	}
}

func TestWhoCan(t *testing.T) {
	pol := policy(t, team)
	for _, c := range []struct {
		action    access.Action
		name, tag string
		want      []string
	}{
		{access.Push, "prod/app", "", []string{
			"administrators: group:admins may create-tag, move-tag",
			"creators: robot:ci may create-tag",
			"movers: user:mo may move-tag",
			`pipeline: {issuer: "https://idp.test", claims: {"ref": "refs/heads/*", "repo": "org/app"}}, {issuer: "x509:build", name: "spiffe://corp/*/deployer"} may create-tag, move-tag`,
			"but releases-stay",
			`but only-the-pipeline-releases, except robot:ci, {issuer: "https://idp.test", name: "**"}`,
		}},
		{access.CreateTag, "prod/app", "latest", []string{
			"administrators: group:admins may create-tag",
			"creators: robot:ci may create-tag",
			`pipeline: {issuer: "https://idp.test", claims: {"ref": "refs/heads/*", "repo": "org/app"}}, {issuer: "x509:build", name: "spiffe://corp/*/deployer"} may create-tag`,
		}},
		{access.Pull, "home/bob/x", "", []string{"administrators: group:admins may pull", "homes: everyone may pull"}},
		{access.Pull, "team-a/embargo", "", []string{"administrators: group:admins may pull", "team-a: group:a may pull", "but embargo"}},
		{access.Pull, "team-a/secret", "", []string{"administrators: group:admins may pull"}},
		{access.ManageAccounts, "", "", []string{"administrators: group:admins may manage-accounts"}},
	} {
		q := access.Query{Action: c.action, Name: c.name, AnyTag: c.tag == ""}
		if c.tag != "" {
			q.Tag = "latest"
		}
		who := pol.WhoCan(q)
		var got []string
		for _, g := range who.Gives {
			got = append(got, fmt.Sprintf("%s: %s may %s", g.Name, strings.Join(g.Subjects, ", "), strings.Trim(strings.ReplaceAll(fmt.Sprint(g.Actions), " ", ", "), "[]")))
		}
		for _, p := range who.Takes {
			line := "but " + p.Name
			if len(p.Except) > 0 {
				line += ", except " + strings.Join(p.Except, ", ")
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s: %s", c.action, c.name, diff)
		}
	}
}

func TestPolicyCases(t *testing.T) {
	pol := policy(t, team)
	cases, err := access.ParsePolicyCases([]byte(`
cases:
- {name: releases, principal: "robot:ci", action: create-tag, repository: prod/app, tag: v1, expect: allow, rule: creators}
- {name: stays, principal: "user:root", groups: [admins], action: move-tag, repository: prod/app, tag: v1, address: "::ffff:10.0.0.1", tls: true, time: 2026-01-02T03:04:05Z, expect: deny, rule: releases-stay}
- {name: outside, principal: "external:x (https://idp.test)", claims: {repo: org/app, ref: refs/heads/x}, action: push, repository: prod/app, expect: allow, rule: pipeline}
- {name: anybody, principal: anonymous, action: pull, repository: team-a/app, expect: deny}
- {name: whole, principal: "user:root", groups: [admins], action: operate, expect: allow}
- {name: wrong answer, principal: anonymous, action: pull, repository: public/x, expect: deny}
- {name: wrong rule, principal: anonymous, action: pull, repository: public/x, expect: allow, rule: homes}
`))
	if err != nil {
		t.Fatal(err)
	}
	var failures []string
	for _, r := range pol.Test(cases) {
		if !r.Passed {
			failures = append(failures, r.Case.Name+": "+r.Failure)
		}
	}
	if diff := cmp.Diff([]string{"wrong answer: expected deny, got allow", "wrong rule: allow as expected, but not by homes"}, failures); diff != "" {
		t.Error(diff)
	}
	const good = `name: x, principal: "user:a", action: pull, repository: a, expect: allow`
	for doc, want := range map[string]string{
		"":                                "no documents",
		"cases: []":                       "0 cases",
		"cases: [{" + good + ", foo: 1}]": "foo",
		"cases: [{" + strings.Replace(good, "name: x", "tls: true", 1) + "}]":             "name is missing",
		"cases: [{" + strings.Replace(good, "allow", "yes", 1) + "}]":                     "write allow or deny",
		"cases: [{" + strings.Replace(good, "user:a", "alice", 1) + "}]":                  "write user:NAME",
		"cases: [{" + strings.Replace(good, "user:a", "external:a", 1) + "}]":             "external:NAME (ISSUER)",
		"cases: [{" + strings.Replace(good, "pull", "fly", 1) + "}]":                      `action "fly" is unknown`,
		"cases: [{" + strings.Replace(good, "pull", "operate", 1) + ", tag: x}]":          "leave tag out",
		"cases: [{" + strings.Replace(good, "y: a", "y: A", 1) + "}]":                     "is no name of a repository",
		"cases: [{" + good + ", tag: a b}]":                                               "is no tag",
		"cases: [{" + good + ", address: x}]":                                             "is no IP address",
		"cases: [{" + good + ", claims: {a: b}}]":                                         "claims for external principals",
		"cases: [{" + strings.Replace(good, "user:a", "anonymous", 1) + ", groups: [a]}]": "groups are for users",
	} {
		if _, err := access.ParsePolicyCases([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	for _, p := range []access.Principal{
		{}, {ID: access.ID{Name: "team/a"}, Kind: access.User}, {ID: access.ID{Name: "ci"}, Kind: access.Robot},
		access.ExternalPrincipal("x509:build", "spiffe://a/b (c)", nil), access.ExternalPrincipal("https://idp.test", "repo:o/r:ref", nil),
	} {
		got, err := access.ParsePrincipal(p.String())
		if diff := cmp.Diff(p, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", p, err, diff)
		}
	}
	for _, s := range []string{"", "alice", "user:", "user:A", "external:a", "external:a ()", "external: (i)", "external:(i)", "group:a"} {
		if p, err := access.ParsePrincipal(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
	}
	// S-34: what divides issuer and name cannot be moved.
	a, b := access.ExternalPrincipal("ab", "c", nil), access.ExternalPrincipal("a", "bc", nil)
	if a.UID == b.UID || a.UID != access.ExternalPrincipal("ab", "c", map[string]string{"x": "y"}).UID || len(a.UID) != 53 {
		t.Errorf("%s and %s", a.UID, b.UID)
	}
}
