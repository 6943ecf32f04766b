package access_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// team is a policy in version 2 with all parts of the language.
const team = `
version: 2
rules:
  - name: administrators
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
  - name: team-a
    subjects: ["group:a"]
    repositories: ["team-a/**"]
    except: ["team-a/secret", "team-a/private/**"]
    actions: [pull, push]
  - name: team-a-admins
    subjects: ["user:amy"]
    repositories: ["team-a/**"]
    actions: [manage-policy, manage-accounts, manage-keys]
  - name: homes
    subjects: [everyone]
    repositories: ["home/{user}/**", "bot/{robot}"]
    actions: [pull, push, delete]
  - name: creators
    subjects: ["robot:ci"]
    repositories: ["prod/*"]
    actions: [pull, create-tag]
  - name: movers
    subjects: ["user:mo"]
    repositories: ["prod/*"]
    actions: [move-tag]
  - name: pipeline
    subjects:
      - issuer: https://idp.test
        claims: {repo: "org/app", ref: "refs/heads/*"}
      - issuer: "x509:build"
        name: "spiffe://corp/*/deployer"
    repositories: ["prod/*"]
    actions: [push]
  - name: public
    subjects: [anyone]
    repositories: ["public/**"]
    actions: [pull]
  - name: auditors
    subjects: ["user:aud"]
    repositories: ["**"]
    except: ["team-a/**"]
    actions: [read-audit]
protections:
  - name: releases-stay
    repositories: ["prod/**"]
    tags: ["v*"]
    actions: [move-tag, delete]
  - name: only-the-pipeline-releases
    repositories: ["prod/**"]
    tags: ["v*"]
    actions: [create-tag]
    except-subjects: ["robot:ci", {issuer: "https://idp.test", name: "**"}]
  - name: frozen
    repositories: ["team-a/frozen"]
    actions: [push, delete]
  - name: embargo
    repositories: ["team-a/embargo"]
    actions: [pull]
`

func external(issuer, name string, claims ...string) access.Principal {
	of := make(map[string]string)
	for i := 0; i+1 < len(claims); i += 2 {
		of[claims[i]] = claims[i+1]
	}
	return access.ExternalPrincipal(issuer, name, of)
}

func TestPolicyTwo(t *testing.T) {
	pol := policy(t, team)
	root, ann, ci := user("root", "admins"), user("ann", "a"), robot("ci")
	const idp = "https://idp.test"
	for _, c := range []struct {
		name   string
		who    access.Principal
		action access.Action
		repo   string
		tag    oci.Tag // "-": not known yet
		want   string
	}{
		{"group", ann, access.Pull, "team-a/app", "", "team-a"},
		{"except name", ann, access.Pull, "team-a/secret", "", ""},
		{"except tree", ann, access.Push, "team-a/private/x", "-", ""},
		{"create", ann, access.CreateTag, "team-a/app", "x", "team-a"},
		{"no delete", ann, access.Delete, "team-a/app", "x", ""},
		{"S-11 own home", user("bob"), access.Push, "home/bob/app", "-", "homes"},
		{"S-11 another's home", user("bob"), access.Push, "home/ann/app", "-", ""},
		{"S-11 a robot is no user", robot("bob"), access.Push, "home/bob/app", "-", ""},
		{"S-11 a user is no robot", user("bob"), access.Push, "bot/bob", "-", ""},
		{"S-11 robot", robot("bob"), access.Push, "bot/bob", "-", "homes"},
		{"S-11 outsiders have no home", external("https://idp.test", "bob"), access.Push, "home/bob/app", "-", ""},
		{"S-11 a name with a slash", user("bob/app"), access.Push, "home/bob/app/x", "-", ""},
		{"S-11 a name that is a pattern", user("*"), access.Push, "home/bob/x", "-", ""},
		{"S-11 a name that is all", user("**"), access.Push, "home/bob/x", "-", ""},
		{"S-11 a name that is a placeholder", user("{user}"), access.Push, "home/bob/x", "-", ""},
		{"anonymous has no home", anonymous, access.Pull, "home/x", "", ""},
		{"S-25 may create", ci, access.CreateTag, "prod/app", "v1", "creators"},
		{"S-25 may not move", ci, access.MoveTag, "prod/app", "latest", ""},
		{"S-25 pushes content", ci, access.Push, "prod/app", "-", "creators"},
		{"only move", user("mo"), access.CreateTag, "prod/app", "latest", ""},
		{"only move, pushes content", user("mo"), access.Push, "prod/app", "-", "movers"},
		{"only move, moves", user("mo"), access.MoveTag, "prod/app", "latest", "movers"},
		{"S-26 protected from moving", user("mo"), access.MoveTag, "prod/app", "v1", "movers but releases-stay"},
		{"S-26 protected from administrators", root, access.MoveTag, "prod/app", "v1", "administrators but releases-stay"},
		{"S-26 protected from deletion", root, access.Delete, "prod/app", "v1", "administrators but releases-stay"},
		{"S-26 delete by digest: no tag", root, access.Delete, "prod/app", "", "administrators"},
		{"S-26 not known yet", root, access.Delete, "prod/app", "-", "administrators"},
		{"only the pipeline", root, access.CreateTag, "prod/app", "v1", "administrators but only-the-pipeline-releases"},
		{"only the pipeline, other tag", root, access.CreateTag, "prod/app", "latest", "administrators"},
		{"protection without a right", ann, access.MoveTag, "prod/app", "v1", ""},
		{"all tags", ann, access.Push, "team-a/frozen", "-", "team-a but frozen"},
		{"all tags, pull", ann, access.Pull, "team-a/frozen", "", "team-a"},
		{"pull", ann, access.Pull, "team-a/embargo", "", "team-a but embargo"},
		{"pull, administrator", root, access.Pull, "team-a/embargo", "", "administrators but embargo"},
		{"claims", external(idp, "x", "repo", "org/app", "ref", "refs/heads/main"), access.CreateTag, "prod/app", "v1", "pipeline"},
		{"claim of two segments", external(idp, "x", "repo", "org/app", "ref", "refs/heads/a/b"), access.Push, "prod/app", "-", ""},
		{"F-32 claim missing", external(idp, "x", "repo", "org/app"), access.Push, "prod/app", "-", ""},
		{"S-11 claim that is a pattern", external(idp, "x", "repo", "*", "ref", "refs/heads/main"), access.Push, "prod/app", "-", ""},
		{"S-34 issuer and name", external("x509", "build:spiffe://corp/a/deployer"), access.Push, "prod/app", "-", ""},
		{"certificate", external("x509:build", "spiffe://corp/a/deployer"), access.Push, "prod/app", "-", "pipeline"},
		{"certificate of another", external("x509:build", "spiffe://corp/a/b/deployer"), access.Push, "prod/app", "-", ""},
		{"certificate, not excepted", external("x509:build", "spiffe://corp/a/deployer"), access.CreateTag, "prod/app", "v1", "pipeline but only-the-pipeline-releases"},
		{"other issuer", external("https://evil.test", "x", "repo", "org/app", "ref", "refs/heads/main"), access.Push, "prod/app", "-", ""},
		{"I-13 outsider called as a user", external("https://idp.test", "amy"), access.ManagePolicy, "team-a/x", "", ""},
		{"everyone is not anyone", anonymous, access.Pull, "home/x/y", "", ""},
		{"outsiders are anyone", external("https://idp.test", "x"), access.Pull, "public/x", "", "public"},
		{"part", user("amy"), access.ManageAccounts, "team-a/ci", "", "team-a-admins"},
		{"not beside the part", user("amy"), access.ManageAccounts, "team-ab/ci", "", ""},
		{"not the root of the part", user("amy"), access.ManageAccounts, "team-a", "", ""},
		{"not the whole", user("amy"), access.ManageAccounts, "", "", ""},
		{"not another right", user("amy"), access.ReadAudit, "team-a/ci", "", ""},
		{"whole", root, access.Operate, "", "", "administrators"},
		{"all", root, access.Admin, "", "", "administrators"},
		{"whole needs no exception", user("aud"), access.ReadAudit, "", "", ""},
		{"with exception", user("aud"), access.ReadAudit, "team-b/x", "", "auditors"},
		{"excepted", user("aud"), access.ReadAudit, "team-a/x", "", ""},
		{"one of all", user("amy"), access.Admin, "team-a/x", "", ""},
		{"unknown action", root, "fly", "x", "", ""},
		{"no repository", root, access.Pull, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := access.Query{Principal: c.who, Action: c.action, Name: c.repo, Tag: c.tag}
			if c.tag == "-" {
				q.Tag, q.AnyTag = "", true
			}
			d := pol.Decide(q)
			got := d.Rule.Name
			if d.Protection.Name != "" {
				got += " but " + d.Protection.Name
			}
			if d.Allowed != (got != "" && d.Protection.Name == "") {
				t.Errorf("%+v", d)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// inRule and inProtection write a document around the fields of one statement.
func inRule(s string) string {
	return "version: 2\nrules:\n  - " + strings.ReplaceAll(s, "; ", "\n    ") + "\n"
}

func inProtection(s string) string {
	return "version: 2\nrules: []\nprotections:\n  - " + strings.ReplaceAll(s, "; ", "\n    ") + "\n"
}

const goodRule = `name: a; subjects: ["user:a"]; repositories: ["**"]; actions: [pull]`

// refusedTwo are documents of version 2 that are refused, and a part of why.
var refusedTwo = []struct{ name, doc, want string }{
	{"X-05 unknown field", inRule(goodRule + "; deny: [x]"), `line 7: rules[0]: unknown field "deny": use name, subjects, repositories, except, actions, when`},
	{"X-05 words of version 1", inRule(`who: ["user:a"]`), `line 3: rules[0]: unknown field "who"`},
	{"no name", inRule(`subjects: ["user:a"]; repositories: ["**"]; actions: [pull]`), `line 3: rules[0].name: missing`},
	{"bad name", inRule(strings.Replace(goodRule, "name: a", "name: A b", 1)), `line 3: rules[0].name: "A b" is no name: use 1 to 100`},
	{"name twice", inRule(goodRule) + "  - {name: a}\n", `line 7: rules[1].name: "a" is the name of another rule or protection, on line 3`},
	{"name of a protection", inRule(goodRule) + "protections:\n  - {name: a}\n", `line 8: protections[0].name: "a" is the name of another`},
	{"nobody", inRule(strings.Replace(goodRule, `["user:a"]`, "[]", 1)), `line 4: rules[0].subjects: must be a list of at least one`},
	{"outsider without issuer", inRule(strings.Replace(goodRule, `["user:a"]`, `[{name: x}]`, 1)), `line 4: rules[0].subjects[0].issuer: missing`},
	{"outsider, anybody", inRule(strings.Replace(goodRule, `["user:a"]`, `[{issuer: x}]`, 1)), `line 4: rules[0].subjects[0]: says nothing about name or claims`},
	{"outsider, unknown field", inRule(strings.Replace(goodRule, `["user:a"]`, `[{issuer: x, name: y, groups: z}]`, 1)), `line 4: rules[0].subjects[0]: unknown field "groups"`},
	{"claim that is no text", inRule(strings.Replace(goodRule, `["user:a"]`, `[{issuer: x, claims: {a: 1}}]`, 1)), `line 4: rules[0].subjects[0].claims.a: must be a text`},
	{"no claims", inRule(strings.Replace(goodRule, `["user:a"]`, `[{issuer: x, claims: {}}]`, 1)), `line 4: rules[0].subjects[0].claims: must have 1 to 20 claims`},
	{"unknown action", inRule(strings.Replace(goodRule, "[pull]", "[fly]", 1)), `line 6: rules[0].actions[0]: "fly" is no action here: use pull, push, create-tag`},
	{"S-11 placeholder inside a segment", inRule(strings.Replace(goodRule, `"**"`, `"x-{user}/**"`, 1)), `line 5: rules[0].repositories[0]: pattern "x-{user}/**" can match no`},
	{"S-11 unknown placeholder", inRule(strings.Replace(goodRule, `"**"`, `"{group}/**"`, 1)), `line 5: rules[0].repositories[0]: pattern "{group}/**" can match no`},
	{"S-11 placeholder in except", inRule(goodRule + `; except: ["{user}/**"]`), `line 7: rules[0].except[0]: pattern "{user}/**" can match no`},
	{"S-11 placeholder in a part", inRule(`name: a; subjects: [everyone]; repositories: ["{user}/**"]; actions: [manage-keys]`), `line 5: rules[0].repositories: administrative rights are given over names that are written out`},
	{"operate on a part", inRule(strings.Replace(strings.Replace(goodRule, "[pull]", "[operate]", 1), "**", "a/**", 1)), `line 5: rules[0].repositories: operate concerns the whole registry`},
	{"anyone pushes", inRule(strings.Replace(strings.Replace(goodRule, "user:a", "anyone", 1), "[pull]", "[create-tag]", 1)), `line 6: rules[0].actions: anyone, also without a login, may only be given pull`},
	{"pull by tag", inRule(goodRule + `; when: 'tag == "x"'`), `line 7: rules[0].when: what has a tag can be pulled by its digest too`},
	{"part by condition", inRule(strings.Replace(goodRule, "[pull]", "[manage-keys]", 1) + `; when: 'repository == "x"'`), `line 7: rules[0].when: administrative rights are given over the names in repositories`},
	{"condition is no text", inRule(goodRule + `; when: true`), `line 7: rules[0].when: must be a text`},
	{"protection of administration", inProtection(`name: p; repositories: ["**"]; actions: [admin]`), `line 6: protections[0].actions[0]: "admin" is no action here: use pull, push, create-tag, move-tag, delete`},
	{"protection of nothing", inProtection(`name: p; repositories: ["**"]; actions: [push]; except-subjects: [anyone]`), `line 7: protections[0].except-subjects: with anyone excepted nothing is protected`},
	{"protection of pull by tag", inProtection(`name: p; repositories: ["**"]; actions: [pull]; tags: [v*]`), `line 6: protections[0].actions: what has a tag can be pulled by its digest too`},
	{"protection with rules' fields", inProtection(`name: p; repositories: ["**"]; actions: [push]; subjects: [everyone]`), `line 7: protections[0]: unknown field "subjects": use name, repositories, tags, actions, except-subjects, when`},
	{"tag that is none", inProtection(`name: p; repositories: ["**"]; actions: [push]; tags: ["v?"]`), `line 7: protections[0].tags[0]: "v?" can match no tag`},
	{"no rules", "version: 2\nprotections: []\n", `line 1: rules: missing`},
	{"anchors", inRule(`name: &x a; subjects: ["user:a"]; repositories: ["**"]; actions: [pull]`), `line 3: rules[0].name: anchors`},
	{"many conditions", "version: 2\nrules:\n" + manyConditions(1001), `line 1003: rules[1000].when: is different condition number 1001: the limit is 1000`},
	{"F-32 dear conditions", "version: 2\nrules:\n" + dearConditions(200), `.when: with this condition all together can cost `},
}

func TestParsePolicyTwoRefuses(t *testing.T) {
	for _, c := range refusedTwo {
		t.Run(c.name, func(t *testing.T) {
			_, err := access.ParsePolicy([]byte(c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func manyConditions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {name: r%d, subjects: [everyone], repositories: [\"**\"], actions: [push], when: 'tag == \"%d\"'}\n", i, i)
	}
	return b.String()
}

func dearConditions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {name: r%d, subjects: [everyone], repositories: [\"**\"], actions: [push], when: 'principal.groups.exists(g, g == \"%d\")'}\n", i, i)
	}
	return b.String()
}

// TestLargeRules: a rule of many subjects and many patterns is not indexed as
// their product, and decides the same.
func TestLargeRules(t *testing.T) {
	var subjects, patterns []string
	for i := range 3000 {
		subjects = append(subjects, fmt.Sprintf(`"user:u%d", {issuer: i, name: "n%d"}`, i, i))
		patterns = append(patterns, fmt.Sprintf(`"t%d/**", "*/x%d"`, i, i))
	}
	pol := policy(t, fmt.Sprintf("version: 2\nrules:\n- {name: r, subjects: [%s], repositories: [%s], actions: [pull]}\n",
		strings.Join(subjects, ", "), strings.Join(patterns, ", ")))
	for _, c := range []struct {
		who  access.Principal
		repo string
		want bool
	}{
		{user("u2999"), "t17/a/b", true}, {user("u1"), "y/x2999", true}, {user("u3000"), "t1/a", false}, {user("u1"), "t3000/a", false},
		{external("i", "n7"), "t1/a", true}, {external("i", "n3000"), "t1/a", false},
	} {
		if got := pol.Decide(access.Query{Principal: c.who, Action: access.Pull, Name: c.repo}).Allowed; got != c.want {
			t.Errorf("%s on %s: %t", c.who, c.repo, got)
		}
	}
}
