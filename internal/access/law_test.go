package access_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// A random policy over few names, so that requests hit.
type randomDocument struct{ rules, protections []string }

func (d randomDocument) String() string {
	list := func(of []string) string {
		if len(of) == 0 {
			return " []\n"
		}
		return "\n  - {" + strings.Join(of, "}\n  - {") + "}\n"
	}
	return "version: 2\nrules:" + list(d.rules) + "protections:" + list(d.protections)
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 6)) }

var randomConditions = []string{
	`true`, `tag.startsWith("v")`, `!tag.startsWith("v")`, `principal.name == "a"`, `client.tls`, `inNetwork(client.address, "10.0.0.0/8")`,
	`claims.k == "1"`, `"g" in principal.groups && tag != "v1"`, `action == "move-tag"`, `tag == "v1" || claims.k == "1"`,
}

func randomTwo(r *rand.Rand) randomDocument {
	pick := func(of ...string) string {
		var out []string
		for range 1 + r.IntN(3) {
			out = append(out, of[r.IntN(len(of))])
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	subjects := []string{`"user:a"`, `"user:b"`, `"robot:a"`, `"group:g"`, `everyone`, `{issuer: i, name: a}`, `{issuer: i, name: "*"}`, `{issuer: i, claims: {k: "1"}}`, `{issuer: i, claims: {k: "*"}}`}
	patterns := []string{`"**"`, `"x/**"`, `"*"`, `x`, `x/y`, `"*/y"`, `"**/y"`, `"x/**/z"`, `"x*/y*"`, `"*x/*y"`, `"*a*/**"`}
	when := func(s string) string {
		if r.IntN(3) == 0 {
			s += fmt.Sprintf(", when: '%s'", randomConditions[r.IntN(len(randomConditions))])
		}
		return s
	}
	var d randomDocument
	for i := range 1 + r.IntN(8) {
		s := fmt.Sprintf("name: r%d, subjects: %s, ", i, pick(subjects...))
		switch r.IntN(6) {
		case 0:
			s = fmt.Sprintf("name: r%d, subjects: [anyone], repositories: %s, actions: [pull]", i, pick(patterns...))
		case 1:
			s += "repositories: " + pick(patterns...) + ", actions: " + pick("manage-policy", "manage-keys", "admin")
		case 2:
			s += "repositories: " + pick(append(patterns, `"{user}/**"`, `"x/{user}"`, `"{robot}/*"`)...) + ", actions: " + pick("pull", "push")
		default:
			s = when(s + "repositories: " + pick(patterns...) + ", actions: " + pick("push", "create-tag", "move-tag", "delete"))
		}
		if r.IntN(3) == 0 {
			s += ", except: " + pick(patterns[1:]...)
		}
		d.rules = append(d.rules, s)
	}
	for i := range r.IntN(4) {
		s := fmt.Sprintf("name: p%d, repositories: %s, actions: %s", i, pick(patterns...), pick("push", "create-tag", "move-tag", "delete"))
		if r.IntN(2) == 0 {
			s += ", tags: " + pick(`"v*"`, `v1`, `"*"`)
		}
		if r.IntN(2) == 0 {
			s += ", except-subjects: " + pick(subjects...)
		}
		d.protections = append(d.protections, when(s))
	}
	return d
}

// questions are queries over the names of random policies.
func questions() []access.Query {
	people := []access.Principal{
		anonymous, user("a"), user("b", "g"), robot("a"), user("z"),
		external("i", "a", "k", "1"), external("i", "x/y"), external("j", "a", "k", "1"),
	}
	origins := []access.Origin{{}, {Address: netip.MustParseAddr("10.0.0.1"), TLS: true}}
	tags := []struct {
		tag oci.Tag
		any bool
	}{{"", true}, {"", false}, {"v1", false}, {"latest", false}}
	actions := []access.Action{access.Pull, access.Push, access.CreateTag, access.MoveTag, access.Delete, access.ManageKeys, access.Admin}
	var out []access.Query
	for i, p := range people {
		for j, name := range []string{"x", "x/y", "x/a/z", "a/b", "ax/by", ""} {
			for k, a := range actions {
				for _, tag := range tags {
					out = append(out, access.Query{
						Principal: p, Action: a, Name: name, Tag: tag.tag, AnyTag: tag.any, Origin: origins[(i+j+k)%2],
					})
				}
			}
		}
	}
	return out
}

var allQuestions = questions()

func answers(pol *access.Policy) []bool {
	out := make([]bool, len(allQuestions))
	for i, q := range allQuestions {
		out[i] = pol.Decide(q).Allowed
	}
	return out
}

// FuzzPolicyLaws: removing a rule and adding a protection never grant more, and
// S-10 order never matters.
func FuzzPolicyLaws(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		d := randomTwo(r)
		all := answers(policy(t, d.String()))
		never := func(what string, fewer, more []bool) {
			for i := range fewer {
				if fewer[i] && !more[i] {
					t.Errorf("%s allows %+v in\n%s", what, allQuestions[i], d)
				}
			}
		}
		shuffled := randomDocument{slices.Clone(d.rules), slices.Clone(d.protections)}
		r.Shuffle(len(d.rules), func(i, j int) {
			shuffled.rules[i], shuffled.rules[j] = shuffled.rules[j], shuffled.rules[i]
		})
		slices.Reverse(shuffled.protections)
		if diff := cmp.Diff(all, answers(policy(t, shuffled.String()))); diff != "" {
			t.Errorf("another order decides otherwise:\n%s", d)
		}
		i := r.IntN(len(d.rules))
		without := randomDocument{slices.Delete(slices.Clone(d.rules), i, i+1), d.protections}
		never("removing a rule", answers(policy(t, without.String())), all)
		for i := range d.protections {
			without := randomDocument{d.rules, slices.Delete(slices.Clone(d.protections), i, i+1)}
			never("adding a protection", all, answers(policy(t, without.String())))
		}
	})
}

// FuzzPlaceholders: S-11 a placeholder means what its caller's name means when
// it is written there, and nothing for anybody else.
func FuzzPlaceholders(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := randomTwo(rand.New(rand.NewPCG(seed, 7)))
		d.rules = append(d.rules, `name: home, subjects: [everyone], repositories: ["{user}/**", "x/{robot}", "**/{user}", "*/{user}/*"], actions: [push]`)
		pol := policy(t, d.String())
		for _, c := range []struct{ user, robot string }{{"a", "-"}, {"b", "-"}, {"-", "a"}, {"-", "-"}} {
			// No name begins with "zz".
			text := strings.NewReplacer("{user}", strings.ReplaceAll(c.user, "-", "zz"), "{robot}", strings.ReplaceAll(c.robot, "-", "zz")).Replace(d.String())
			written := policy(t, text)
			for _, q := range allQuestions {
				p := q.Principal
				local := p.Issuer == "" && !p.IsAnonymous()
				if local && p.Name != c.user && p.Kind == access.User || local && p.Name != c.robot && p.Kind == access.Robot || !local && c.user+c.robot != "--" {
					continue
				}
				if pol.Decide(q).Allowed != written.Decide(q).Allowed {
					t.Fatalf("%+v: %+v, and with the name written %+v in\n%s", q, pol.Decide(q), written.Decide(q), d)
				}
			}
		}
	})
}

// FuzzExplain: an explanation, which looks at every rule, agrees with the
// decision, which looks them up; what is allowed exactly could be allowed while
// the tag is not known; and a narrowing gives nothing.
func FuzzExplain(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	narrowing, err := access.NewNarrowing([]string{"x/**"}, []string{"pull", "create-tag", "manage-keys"}, []string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := randomTwo(rand.New(rand.NewPCG(seed, 4)))
		pol := policy(t, d.String())
		for i, q := range allQuestions {
			if i%3 == 0 {
				wide := pol.Decide(q).Allowed
				q.Narrowing = narrowing
				if pol.Decide(q).Allowed && !wide {
					t.Errorf("a narrowing gives %+v in\n%s", q, d)
				}
			}
			got, x := pol.Decide(q), pol.Explain(q)
			if problem := disagree(got, x); problem != "" {
				t.Fatalf("%s: %+v, %+v to %+v in\n%s", problem, got, x, q, d)
			}
			could := q
			could.Tag, could.AnyTag = "", true
			if got.Allowed && !pol.Decide(could).Allowed {
				t.Errorf("%+v is allowed, and not before the tag is known, in\n%s", q, d)
			}
		}
	})
}

// disagree says how an explanation differs from a decision.
func disagree(d access.Decision, x access.Explanation) string {
	named := func(s access.Statement) func(access.Reason) bool {
		return func(r access.Reason) bool { return r.Name == s.Name && r.Line == s.Line }
	}
	taken := slices.ContainsFunc(x.Protections, func(r access.Reason) bool { return !r.DependsOnTag })
	switch {
	case x.Allowed != d.Allowed:
		return "the answer"
	case d.Allowed != (len(x.Rules) > 0 && x.Narrowed == "" && !taken):
		return "the reasons"
	case (d.Rule.Name != "") != (len(x.Rules) > 0):
		return "whether a rule gives it"
	case d.Rule.Name != "" && !slices.ContainsFunc(x.Rules, named(d.Rule)):
		return "the rule"
	case d.Protection.Name != "" && !slices.ContainsFunc(x.Protections, named(d.Protection)):
		return "the protection"
	case d.Narrowed != (x.Narrowed != ""):
		return "the credential"
	case len(x.Rules) > 0 && len(x.Nearest) > 0:
		return "near rules beside one that gives it"
	}
	for _, r := range x.Nearest {
		if len(r.Lacks) == 0 {
			return "a near rule that lacks nothing"
		}
	}
	return ""
}
