package access_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

// shared is a policy of which team-a manages a part.
const shared = `# Who may do what.
version: 2
rules:
  - name: administrators
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
  - name: team-a-admins # by OPS-7
    subjects: ["user:amy"]
    repositories: ["team-a/**"]
    except: ["team-a/core/**"]
    actions: [manage-policy, manage-keys]
  # Developers of team a.
  - name: team-a/dev
    subjects: ["group:a"]
    repositories: ["team-a/app", "team-a/web/*"]
    actions: [pull, push]
  - name: both
    subjects: ["group:a"]
    repositories: ["team-a/app", "team-b/app"]
    actions: [pull]
  - name: core
    subjects: ["group:core"]
    repositories: ["team-a/core/x"]
    actions: [push]
protections:
  - name: team-a/releases # stay
    repositories: ["team-a/app"]
    tags: ["v*"]
    actions: [delete]
  - name: all-releases
    repositories: ["**"]
    tags: ["release-*"]
    actions: [delete]
`

func managing(t *testing.T, who access.Principal) access.Authority {
	return access.Authority{Identity: access.Identity{Principal: who}, Policy: policy(t, shared)}
}

func TestPartShow(t *testing.T) {
	amy := managing(t, user("amy")).Part(access.ManagePolicy)
	if amy.Empty() || amy.Whole() || amy.String() != "team-a/**" {
		t.Errorf("amy's part: %s", amy)
	}
	shown, err := amy.Show(nil, []byte(shared))
	if err != nil {
		t.Fatal(err)
	}
	want := `version: 2
rules:
  # Developers of team a.
  - name: team-a/dev
    subjects: ["group:a"]
    repositories: ["team-a/app", "team-a/web/*"]
    actions: [pull, push]
protections:
  - name: team-a/releases # stay
    repositories: ["team-a/app"]
    tags: ["v*"]
    actions: [delete]
`
	if diff := cmp.Diff(want, string(shown)); diff != "" {
		t.Error(diff)
	}
	back, _, err := amy.Replace(nil, []byte(shared), shown)
	if diff := cmp.Diff(shared, string(back)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	const commented = "# secret-1\n\n# secret-2\nversion: 2 # secret-3\nrules: # secret-4\n  # secret-5\n" +
		"  - {name: a, subjects: [everyone], repositories: [team-b/x], actions: [pull]}\n  # secret-6\n\n  # mine\n" +
		"  - {name: b, subjects: [everyone], repositories: [team-a/x], actions: [pull]} # mine too\n\n# secret-7\nprotections: # secret-8\n" +
		"  - {name: c, repositories: [team-b/x], actions: [pull]}\n  # secret-9\n\n# secret-10\n"
	shown, err = amy.Show(nil, []byte(commented))
	if err != nil || strings.Contains(string(shown), "secret") || !strings.Contains(string(shown), "# mine\n") || !strings.Contains(string(shown), "# mine too\n") {
		t.Errorf("%v: of comments amy is shown\n%s", err, shown)
	}
	kept, _, err := amy.Replace(nil, []byte(commented), shown)
	if err != nil || strings.Count(string(kept), "secret") != 10 {
		t.Errorf("%v: of comments is left\n%s", err, kept)
	}
	root := managing(t, user("root", "admins")).Part(access.ManagePolicy)
	if all, err := root.Show(nil, []byte(shared)); err != nil || string(all) != shared || !root.Whole() {
		t.Errorf("root is shown %v\n%s", err, all)
	}
	if _, err := amy.Show(nil, []byte("version: 1\nrules: []\n")); err == nil {
		t.Error("a part of version 1 is shown")
	}
	if p := managing(t, user("eve")).Part(access.ManagePolicy); !p.Empty() || p.Whole() {
		t.Errorf("eve's part: %s", p)
	}
	if p := managing(t, user("root", "admins")).Part(access.Pull); !p.Empty() {
		t.Error("a part for what is no administrative right")
	}
}

func TestPartNarrowed(t *testing.T) {
	for _, c := range []struct {
		repositories, actions, networks []string
		empty, whole                    bool
	}{
		{nil, nil, nil, false, true},
		{[]string{"team-a/**"}, nil, nil, true, false},
		{nil, []string{"pull"}, nil, true, false},
		{nil, []string{"admin"}, nil, false, true},
		{[]string{"team-a/**"}, []string{"manage-policy"}, nil, false, false},
		{[]string{"**"}, []string{"manage-policy"}, []string{"10.0.0.0/8"}, false, true},
		{nil, []string{"manage-policy"}, []string{"192.0.2.0/24"}, true, false},
	} {
		n, err := access.NewNarrowing(c.repositories, c.actions, c.networks)
		if err != nil {
			t.Fatal(err)
		}
		au := managing(t, user("root", "admins"))
		au.Identity.Narrowing, au.Origin.Address = n, netip.MustParseAddr("10.0.0.1")
		if p := au.Part(access.ManagePolicy); p.Empty() != c.empty || p.Whole() != c.whole || p.Whole() != au.MayManage(access.ManagePolicy, "") {
			t.Errorf("narrowed to %s: %q, whole %t", n, p, p.Whole())
		}
	}
}

func TestCheckChange(t *testing.T) {
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(shared) }
	const devRule = "  - name: team-a/dev\n    subjects: [\"group:a\"]\n    repositories: [\"team-a/app\", \"team-a/web/*\"]\n    actions: [pull, push]\n"
	add := func(rule string) string { return edit("protections:\n", rule+"\nprotections:\n") }
	for _, c := range []struct {
		name string
		who  access.Principal
		doc  string
		want string // "" when it may be
	}{
		{"nothing", user("amy"), shared, ""},
		{"comments and lines", user("amy"), "\n# more\n" + shared, ""},
		{"a rule inside", user("amy"), edit(`["group:a"]`+"\n    repositories: [\"team-a/app\", \"team-a/web", `["group:a2"]`+"\n    repositories: [\"team-a/app\", \"team-a/web"), ""},
		{"removes inside", user("amy"), edit(devRule, ""), ""},
		{"removes a protection inside", user("amy"), edit("  - name: team-a/releases # stay\n    repositories: [\"team-a/app\"]\n    tags: [\"v*\"]\n    actions: [delete]\n", ""), ""},
		{"adds inside", user("amy"), add(`  - {name: n, subjects: [everyone], repositories: ["team-a/x*/**"], actions: [pull]}`), ""},
		{"adds outside", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-b/**"], actions: [pull]}`), "line 26: n: does not lie in the part"},
		{"adds beside", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-ab/**"], actions: [pull]}`), "n: does not lie"},
		{"adds the root of it", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a"], actions: [pull]}`), "n: does not lie"},
		{"adds above", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["**"], actions: [pull]}`), "n: does not lie"},
		{"adds by star", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a*/x"], actions: [pull]}`), "n: does not lie"},
		{"adds by placeholder", user("amy"), add(`  - {name: n, subjects: [everyone], repositories: ["{user}/**"], actions: [pull]}`), "n: does not lie"},
		{"adds in and out", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a/x", "team-b/x"], actions: [pull]}`), "n: does not lie"},
		{"adds what is excepted", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a/core/x"], actions: [pull]}`), "n: does not lie"},
		{"adds over what is excepted", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a/**"], actions: [pull]}`), "n: does not lie"},
		{"passes on what she has", user("amy"), add(`  - {name: n, subjects: ["user:al"], repositories: ["team-a/x/**"], actions: [manage-keys, manage-policy]}`), ""},
		{"passes on what she has not", user("amy"), add(`  - {name: n, subjects: ["user:amy"], repositories: ["team-a/x/**"], actions: [manage-accounts]}`), "n: gives manage-accounts where you do not have it yourself"},
		{"changes a rule outside", user("amy"), edit(`["group:core"]`, `["user:amy"]`), "core: does not lie"},
		{"moves a rule of hers out", user("amy"), edit(`["team-a/app", "team-a/web/*"]`, `["team-b/app"]`), "team-a/dev: does not lie"},
		{"moves a rule in", user("amy"), edit(`["team-a/app", "team-b/app"]`, `["team-a/app"]`), "both: does not lie"},
		{"removes outside", user("amy"), edit("  - name: all-releases\n    repositories: [\"**\"]\n    tags: [\"release-*\"]\n    actions: [delete]\n", ""), "all-releases: is missing, and does not lie"},
		{"widens her own right", user("amy"), edit(`    except: ["team-a/core/**"]`+"\n", ""), "team-a-admins: does not lie"},
		{"administrator", user("root", "admins"), "version: 2\nrules: []\n", ""},
		{"nobody", user("eve"), shared, "user:eve may not manage-policy in the whole registry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := access.CheckChange(managing(t, c.who), policy(t, c.doc))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, ok := errors.AsType[*access.ChangeError](err); err != nil && !ok && c.name != "nobody" {
				t.Errorf("%T", err)
			}
		})
	}
}

// A right that holds under a condition is passed on under that condition alone:
// whoever has it must not get it for good while the condition holds (S-38).
func TestCheckChangeKeepsConditions(t *testing.T) {
	const when, other = `, when: 'client.tls && now < timestamp("2030-01-01T00:00:00Z")'`, `, when: 'client.tls'`
	rule := func(name, who, where, when string) string {
		return "  - {name: " + name + `, subjects: ["user:` + who + `"], repositories: ["` + where + `"], actions: [manage-policy, manage-keys]` + when + "}\n"
	}
	const root = `  - {name: root, subjects: ["group:admins"], repositories: ["**"], actions: [admin]}` + "\n"
	const use = `  - {name: use, subjects: ["user:amy"], repositories: ["team-a/x"], actions: [pull]}` + "\n"
	before := "version: 2\nrules:\n" + root + rule("amys", "amy", "team-a/**", when)
	for _, c := range []struct {
		name, before, after string
		ok                  bool
	}{
		{"to herself for good", "", rule("new", "amy", "team-a/**", ""), false},
		{"to another for good", "", rule("new", "al", "team-a/x/**", ""), false},
		{"under another condition", "", rule("new", "amy", "team-a/**", other), false},
		{"under the same", "", rule("new", "al", "team-a/x/**", when), true},
		{"what is no administrative right", "", use, true},
		{"who has it for good too", rule("more", "amy", "team-a/**", ""), rule("more", "amy", "team-a/**", "") + rule("new", "al", "team-a/x/**", ""), true},
		{"who has it for good elsewhere", rule("more", "amy", "team-a/y/**", ""), rule("more", "amy", "team-a/y/**", "") + rule("new", "al", "team-a/x/**", ""), false},
	} {
		au := access.Authority{
			Identity: access.Identity{Principal: user("amy")}, Policy: policy(t, before+c.before),
			Origin: access.Origin{TLS: true}, Now: noon,
		}
		err := access.CheckChange(au, policy(t, before+c.after))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, is := errors.AsType[*access.ChangeError](err); err != nil && !is {
			t.Errorf("%s: %T", c.name, err)
		}
	}
	au := access.Authority{Identity: access.Identity{Principal: user("amy")}, Policy: policy(t, before), Origin: access.Origin{TLS: true}, Now: noon}
	if err := access.CheckChange(au, policy(t, strings.Replace(before, when, "", 1))); err == nil {
		t.Error("she took the condition out of her own rule")
	}
}

func TestPartReplace(t *testing.T) {
	amy := managing(t, user("amy")).Part(access.ManagePolicy)
	for _, c := range []struct{ name, doc, shown, want string }{
		{"new list of protections",
			"version: 2\nrules:\n- {name: root, subjects: [\"group:x\"], repositories: [\"**\"], actions: [pull]}\n",
			"version: 2\nrules: []\nprotections:\n- {name: p, repositories: [team-a/x], actions: [push]}\n",
			"version: 2\nrules:\n  - {name: root, subjects: [\"group:x\"], repositories: [\"**\"], actions: [pull]}\nprotections:\n  - {name: p, repositories: [team-a/x], actions: [push]}\n"},
		{"list of protections left out",
			"version: 2\nrules: []\nprotections:\n- {name: p, repositories: [team-a/x], actions: [push]}\n- {name: q, repositories: [x], actions: [push]}\n",
			"version: 2\nrules:\n# mine\n- {name: a, subjects: [everyone], repositories: [team-a/x], actions: [pull]}\n",
			"version: 2\nrules:\n  # mine\n  - {name: a, subjects: [everyone], repositories: [team-a/x], actions: [pull]}\nprotections:\n  - {name: q, repositories: [x], actions: [push]}\n"},
	} {
		got, _, err := amy.Replace(nil, []byte(c.doc), []byte(c.shown))
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
	if _, _, err := amy.Replace(nil, []byte(shared), []byte("version: 2\nrules: [x]\n")); err == nil {
		t.Error("what is no policy was taken")
	}
}

// FuzzPart: what somebody may change in a part changes nothing outside of it.
func FuzzPart(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 5))
		d := randomTwo(r)
		part := []string{"x/**", "x/y", "*/y", "**", "a/b"}[r.IntN(5)]
		d.rules = append(d.rules, `name: part, subjects: ["user:amy"], repositories: ["`+part+`"], actions: [manage-policy]`)
		other := randomTwo(r)
		next := randomDocument{append(other.rules, d.rules[len(d.rules)-1]), other.protections}
		before, after := policy(t, d.String()), policy(t, next.String())
		au := access.Authority{Identity: access.Identity{Principal: user("amy")}, Policy: before}
		if access.CheckChange(au, after) != nil {
			// Most random changes are refused. One rule alone is refused less often.
			next = randomDocument{append(d.rules, strings.Replace(other.rules[0], "name: r0", "name: new", 1)), d.protections}
			after = policy(t, next.String())
			if access.CheckChange(au, after) != nil {
				return
			}
		}
		for _, q := range allQuestions {
			if !au.MayManage(access.ManagePolicy, q.Name) && before.Decide(q).Allowed != after.Decide(q).Allowed {
				t.Errorf("who manages %s changed %+v from\n%sto\n%s", part, q, d, next)
			}
		}
	})
}
