package access_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

func TestParsePolicyAccepts(t *testing.T) {
	for _, c := range []struct{ name, doc string }{
		{"nothing allowed", "version: 1\nrules: []\n"},
		{"comments and order", "# who may what\nrules:\n- may: [pull]\n  what: ['**']\n  who: [anyone] # all\nversion: 1\n"},
		{"admin alone", "version: 1\nrules: [{who: ['group:admins'], may: [admin]}]"},
		{"admin with everything", "version: 1\nrules: [{who: ['group:admins'], what: ['**'], may: [pull, push, delete, admin]}]"},
		{"names twice", "version: 1\nrules: [{who: ['user:a', 'user:a'], what: ['x', 'x'], may: [pull, pull]}]"},
		{"JSON", `{"version":1,"rules":[{"who":["user:a"],"what":["**"],"may":["pull"]}]}`},
		{"numbers as names", "version: 1\nrules: [{who: ['user:1'], what: ['1'], may: [pull]}]"},
		{"end marker", "---\nversion: 1\nrules: []\n...\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := access.ParsePolicy([]byte(c.doc)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	rule := func(s string) string {
		return "version: 1\nrules:\n  - " + strings.ReplaceAll(s, "; ", "\n    ") + "\n"
	}
	good := `who: ["user:a"]; what: ["**"]; may: [pull]`
	for _, c := range []struct {
		name, doc string
		want      []string // each line of the error begins with one of these
	}{
		{"X-05 empty", "", []string{`the policy is empty: to allow nothing write`}},
		{"X-05 only a comment", "# nothing\n", []string{`the policy is empty`}},
		{"X-05 null", "null\n", []string{`line 1: must have the fields version, rules`}},
		{"list", "- a\n", []string{`line 1: must have the fields version, rules`}},
		{"no fields", "{}", []string{`line 1: version: missing: write "version: 2"`, `line 1: rules: missing`}},
		{"X-05 misspelt key", "version: 1\nrule: []\n", []string{`line 2: unknown field "rule": use version, rules`, `line 1: rules: missing`}},
		{"X-05 capital key", "Version: 1\nrules: []\n", []string{`line 1: unknown field "Version"`, `line 1: version: missing`}},
		{"key twice", "version: 1\nrules: []\nrules: []\n", []string{`line 3: rules: is there twice, first on line 2: keep one`}},
		{"second document", "version: 1\nrules: []\n---\nversion: 1\nrules: []\n", []string{`line 3: a second YAML document begins here`}},
		{"empty second document", "version: 1\nrules: []\n---\n", []string{`line 3: a second YAML document begins here`}},
		{"version 3", "version: 3\nrules: []\n", []string{`line 1: version: is not known here: write "version: 2"`}},
		{"version as text", "version: '1'\nrules: []\n", []string{`line 1: version: is not known here`}},
		{"rules mapping", "version: 1\nrules: {}\n", []string{`line 2: rules: must be a list of rules`}},
		{"rules null", "version: 1\nrules:\n", []string{`line 2: rules: must be a list of rules`}},
		{"rule text", "version: 1\nrules: [x]\n", []string{`line 2: rules[0]: must have the fields who, what, may`}},
		{"no YAML", "version: 1\nrules: [\n", []string{`line 3: not valid YAML`}},
		{"bad indent", "version: 1\n rules: []\n", []string{`line 2: not valid YAML`}},
		{"unquoted star", rule(`who: ["user:a"]; what: [**]; may: [pull]`), []string{`line 4: not valid YAML: unknown anchor '*' referenced (quote a pattern`}},
		{"not UTF-8", "version: 1\nrules: [\xff]\n", []string{`not valid YAML`}},
		{"too large", strings.Repeat("#", 2<<20+1), []string{`the policy is 2097153 bytes long; the limit is 2097152`}},

		{"missing fields", rule(`what: ["**"]`), []string{`line 3: rules[0].who: missing`, `line 3: rules[0].may: missing`}},
		{"missing what", rule(`who: ["user:a"]; may: [pull]`), []string{`line 3: rules[0].what: missing: write the repositories`}},
		{"missing what beside admin", rule(`who: ["user:a"]; may: [pull, admin]`), []string{`line 3: rules[0].what: missing`}},
		{"X-05 dropped field", rule(good + "; except: [x]"), []string{`line 6: rules[0]: unknown field "except": use who, what, may`}},
		{"who is a text", rule(`who: anyone; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who: must be a list of at least one text`}},
		{"nobody", rule(`who: []; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who: must be a list of at least one text`}},
		{"nothing", rule(`who: ["user:a"]; what: []; may: []`), []string{`line 5: rules[0].may: must be a list`, `line 4: rules[0].what: must be a list`}},
		{"numbers", rule(`who: [1]; what: [2]; may: [3]`), []string{`line 3: rules[0].who[0]: must be a text: write it in quotes`, `line 5: rules[0].may[0]: must be a text`, `line 4: rules[0].what[0]: must be a text`}},
		{"list in a list", rule(`who: [["user:a"]]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: must be a text`}},
		{"bare name", rule(`who: [alice]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: "alice" names nobody: write user:NAME, robot:NAME, group:NAME, anyone or everyone`}},
		{"unknown kind", rule(`who: ["team:a"]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: "team:a" names nobody`}},
		{"S-11 star for a user", rule(`who: ["user:*"]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: name "*": use lower-case`}},
		{"I-12 capital", rule(`who: ["user:Alice"]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: name "Alice"`}},
		{"anyone with a name", rule(`who: ["anyone:a"]; what: ["**"]; may: [pull]`), []string{`line 3: rules[0].who[0]: "anyone:a" names nobody`}},
		{"capital action", rule(`who: ["user:a"]; what: ["**"]; may: [Pull]`), []string{`line 5: rules[0].may[0]: "Pull" is no action of version 1: use pull, push, delete or admin`}},
		{"star action", rule(`who: ["user:a"]; what: ["**"]; may: ["*"]`), []string{`line 5: rules[0].may[0]: "*" is no action`}},
		{"bad pattern", rule(`who: ["user:a"]; what: ["a**"]; may: [pull]`), []string{`line 4: rules[0].what[0]: pattern "a**": "**" must be a whole segment`}},
		{"pattern that matches nothing", rule(`who: ["user:a"]; what: ["Team/*"]; may: [pull]`), []string{`line 4: rules[0].what[0]: pattern "Team/*" can match no repository name`}},
		{"anyone may push", rule(`who: [anyone]; what: ["**"]; may: [pull, push]`), []string{`line 5: rules[0].may: anyone, also without a login, may only be given pull`}},
		{"anyone is admin", rule(`who: ["user:a", anyone]; may: [admin]`), []string{`line 4: rules[0].may: anyone, also without a login, may only be given pull`}},
		{"admin of a part", rule(`who: ["user:a"]; what: ["team/**"]; may: [pull, admin]`), []string{`line 4: rules[0].what[0]: admin is a right on the whole registry: give it in a rule of its own`}},
		{"anchor", "version: 1\nrules: &a []\n", []string{`line 2: rules: anchors (&), aliases (*) and tags (!) are not part of a policy`}},
		{"alias", rule(`who: &a ["user:a"]; what: *a; may: [pull]`), []string{`line 3: rules[0].who: anchors`, `line 4: rules[0].what: anchors`}},
		{"tag", rule(`who: ["user:a"]; what: ["**"]; may: [!!str pull]`), []string{`line 5: rules[0].may[0]: anchors`}},
		{"merge", rule(good + "; <<: {who: [\"user:b\"]}"), []string{`line 6: rules[0]: unknown field "<<"`}},
		{"all at once", rule(`who: [a]; what: [A]; may: [x]`) + "  - {}\n", []string{`line 3: rules[0].who[0]`, `line 5: rules[0].may[0]`, `line 4: rules[0].what[0]`, `line 6: rules[1].who: missing`, `line 6: rules[1].may: missing`}},
		{"many rules", "version: 1\nrules:\n" + strings.Repeat("- {}\n", 10_001), []string{`line 3: rules: has 10001 rules; the limit is 10000`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pol, err := access.ParsePolicy([]byte(c.doc))
			if pol != nil || err == nil {
				t.Fatalf("accepted: %v", pol)
			}
			if _, ok := errors.AsType[*access.PolicyError](err); !ok {
				t.Fatalf("%T", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(lines, c.want, strings.HasPrefix) {
				t.Errorf("got\n%s\nwant\n%s", err, strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestParsePolicyProblemsBounded(t *testing.T) {
	for _, doc := range []string{
		"version: 1\nrules:\n" + strings.Repeat("- {}\n", 5000),
		"version: 1\nrules:\n- who: [" + strings.Repeat("x, ", 100_000) + "]\n",
		"version: 1\nrules:\n- {" + strings.Repeat("x: 1, ", 50_000) + "}\n",
	} {
		_, err := access.ParsePolicy([]byte(doc))
		e, ok := errors.AsType[*access.PolicyError](err)
		if !ok || len(e.Problems) != access.MaxPolicyProblems || len(e.Error()) > 4096 {
			t.Errorf("%d bytes of problems", len(fmt.Sprint(err)))
		}
	}
}

func TestValidName(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"usual", "alice", true},
		{"one letter", "a", true},
		{"all characters", "a0.b_c-d", true},
		{"in the tree", "team-a/ci", true},
		{"deep", "a/b.c/d_e/f", true},
		{"128 characters", strings.Repeat("a", 128), true},
		{"I-12 capital", "Admin", false},
		{"I-12 all capitals", "ADMIN", false},
		{"I-12 Cyrillic", "аdmin", false},
		{"I-12 zero width", "admin\u200b", false},
		{"I-12 space", "admin ", false},
		{"I-12 circled", "ⓐdmin", false},
		{"I-03 full width", "ａlice", false},
		{"I-15 colon", "a:b", false},
		{"I-15 newline", "a\nb", false},
		{"I-15 slash first", "/b", false},
		{"I-15 slash last", "a/", false},
		{"I-15 two slashes", "a//b", false},
		{"I-15 dots between slashes", "a/../b", false},
		{"I-15 tilde", "a~b", false},
		{"I-15 quote", `a"b`, false},
		{"I-15 RTL mark", "a\u200fb", false},
		{"I-15 300 characters", strings.Repeat("a", 300), false},
		{"129 characters", strings.Repeat("a", 129), false},
		{"I-08 NUL", "a\x00", false},
		{"S-11 star", "*", false},
		{"S-11 variable", "${x}", false},
		{"empty", "", false},
		{"dot", ".", false},
		{"dash first", "-a", false},
		{"dot last", "a.", false},
		{"at", "a@b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := access.ValidName(c.text); (err == nil) != c.ok {
				t.Errorf("ValidName(%q) = %v", c.text, err)
			}
		})
	}
}

var nameGrammar = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*\z`)

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"alice", "a.b", "team-a/ci", "a//b", "-a", strings.Repeat("a", 129), "A", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := access.ValidName(s); (err == nil) != (len(s) <= access.MaxName && nameGrammar.MatchString(s)) {
			t.Errorf("ValidName(%q) = %v", s, err)
		}
	})
}

// plainPolicy is a policy as a YAML library reads it.
type plainPolicy struct {
	Version int
	Rules   []struct{ Who, What, May []string }
}

// gives decides as the language is described, rule by rule.
func (p plainPolicy) gives(who access.Principal, a access.Action, repo string) bool {
	names := []string{"anyone", who.String()}
	for _, g := range who.Groups {
		names = append(names, "group:"+g)
	}
	for _, r := range p.Rules {
		covers := slices.ContainsFunc(r.What, func(pattern string) bool {
			text := regexp.QuoteMeta(pattern)
			text = regexp.MustCompile(`(^|/)\\\*\\\*$`).ReplaceAllString(text, `$1.+`)
			text = strings.ReplaceAll(text, `\*\*/`, `(.+/)?`)
			text = strings.ReplaceAll(text, `\*`, `[^/]*`)
			return regexp.MustCompile(`\A` + text + `\z`).MatchString(repo)
		})
		if slices.ContainsFunc(r.Who, func(w string) bool { return slices.Contains(names, w) }) && covers && slices.Contains(r.May, string(a)) {
			return true
		}
	}
	return false
}

// FuzzParsePolicy: a document that is accepted is one that a plain YAML decoder
// reads too, and it decides what a plain reading of its rules gives.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(fixture))
	f.Add([]byte("version: 1\nrules: []"))
	f.Add([]byte(`{"version":1,"rules":[{"who":["user:a","group:g"],"what":["x*/**","**/y","a/**/b"],"may":["pull","delete"]}]}`))
	f.Add([]byte("version: 1\nrules:\n- who: [anyone]\n  what: [a, 'b/*']\n  may: [pull]\n"))
	f.Add([]byte("version: 1\nrules: &a\n- *a\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		pol, err := access.ParsePolicy(doc)
		if err != nil {
			e, ok := errors.AsType[*access.PolicyError](err)
			if !ok || len(e.Problems) == 0 || len(e.Problems) > access.MaxPolicyProblems || pol != nil {
				t.Errorf("%T %v", err, err)
			}
			return
		}
		var plain plainPolicy
		if err := yaml.Load(doc, &plain, yaml.WithKnownFields()); err != nil {
			t.Fatalf("a YAML decoder refuses what we accept: %v", err)
		}
		if plain.Version != 1 {
			t.Errorf("version %d", plain.Version)
		}
		for _, who := range []access.Principal{anonymous, user("a"), user("alice", "g"), robot("ci"), user("bob", "b")} {
			for _, repo := range []oci.RepoName{"a", "x", "y", "a/b", "xx/y/z", "team-a/app", "team-b/x/y", "public/base", "x/cache"} {
				for _, a := range []access.Action{access.Pull, access.Push, access.Delete} {
					if got, want := (access.Authority{Identity: access.Identity{Principal: who}, Policy: pol}).May(a, repo), plain.gives(who, a, string(repo)); got != want {
						t.Errorf("%s %s %s: %t, want %t", who, a, repo, got, want)
					}
				}
			}
		}
	})
}
