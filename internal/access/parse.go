package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits on a policy document.
const (
	MaxPolicySize  = 1 << 20 // bytes
	MaxPolicyRules = 10_000
	// MaxPolicyProblems is how many problems a PolicyError lists.
	MaxPolicyProblems = 20
)

// A PolicyError says everything that is wrong with a policy document, up to
// MaxPolicyProblems. Its text is fit for the client.
type PolicyError struct{ Problems []PolicyProblem }

// A PolicyProblem is one thing to mend, and how.
type PolicyProblem struct {
	Line  int    // from 1; 0 when it concerns the whole document
	Field string // "rules[2].who[0]", counted from 0; "" for the whole document
	Text  string
}

func (p PolicyProblem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	return b.String() + p.Text
}

func (e *PolicyError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// ParsePolicy reads a policy document:
//
//	version: 1
//	rules:
//	  - who: ["user:alice", "robot:ci", "group:dev", "anyone"]
//	    what: ["team-a/**", "public/*"]
//	    may: [pull, push, delete]
//	  - who: ["group:admins"]
//	    may: [admin]
//
// who may do what is the union of all rules. "anyone" includes those who did
// not log in, and may be given pull alone. admin is a right on the whole
// registry, so its rule has no what, or "**". user, robot and group mean local
// ones. YAML's anchors, aliases and tags are not part of the language.
// Errors: *PolicyError.
func ParsePolicy(doc []byte) (*Policy, error) {
	if len(doc) > MaxPolicySize {
		return nil, &PolicyError{[]PolicyProblem{{Text: fmt.Sprintf("the policy is %d bytes long; the limit is %d", len(doc), MaxPolicySize)}}}
	}
	root, problem := loadPolicy(doc)
	if problem != nil {
		return nil, &PolicyError{[]PolicyProblem{*problem}}
	}
	p := policyParser{policy: &Policy{of: make(map[subject][]*rule)}}
	p.document(root)
	if len(p.problems) > 0 {
		return nil, &PolicyError{p.problems}
	}
	return p.policy, nil
}

// loadPolicy reads exactly one YAML document.
func loadPolicy(doc []byte) (*yaml.Node, *PolicyProblem) {
	loader, err := yaml.NewLoader(bytes.NewReader(doc))
	if err != nil {
		return nil, &PolicyProblem{Text: err.Error()}
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0:
		return nil, &PolicyProblem{Text: "the policy is empty: to allow nothing write \"version: 1\" and \"rules: []\""}
	case err != nil:
		return nil, yamlProblem(err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &PolicyProblem{Line: second.Line, Text: "a second YAML document begins here: a policy is one document"}
	case !errors.Is(err, io.EOF):
		return nil, yamlProblem(err)
	}
	return first.Content[0], nil
}

func yamlProblem(err error) *PolicyProblem {
	const cure = "not valid YAML: %s (quote a pattern that begins with \"*\")"
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return &PolicyProblem{Line: e.Mark.Line, Text: fmt.Sprintf(cure, e.Message)}
	}
	return &PolicyProblem{Text: fmt.Sprintf(cure, err)}
}

// A policyParser walks the document and goes on after a problem.
type policyParser struct {
	policy   *Policy
	problems []PolicyProblem
}

func (p *policyParser) problem(n *yaml.Node, field, format string, args ...any) {
	if len(p.problems) < MaxPolicyProblems {
		p.problems = append(p.problems, PolicyProblem{Line: n.Line, Field: field, Text: fmt.Sprintf(format, args...)})
	}
}

// full reports whether nothing more would be listed.
func (p *policyParser) full() bool { return len(p.problems) == MaxPolicyProblems }

func (p *policyParser) document(n *yaml.Node) {
	fields := p.mapping(n, "", "version", "rules")
	if fields == nil {
		return
	}
	if v := fields["version"]; v == nil {
		p.problem(n, "version", "missing: write \"version: 1\"")
	} else if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Value != "1" {
		p.problem(v, "version", "is not known here: write \"version: 1\"")
	}
	rules := fields["rules"]
	switch {
	case rules == nil:
		p.problem(n, "rules", "missing: to allow nothing write \"rules: []\"")
		return
	case !p.plain(rules, "rules"):
		return
	case rules.Kind != yaml.SequenceNode:
		p.problem(rules, "rules", "must be a list of rules")
		return
	case len(rules.Content) > MaxPolicyRules:
		p.problem(rules, "rules", "has %d rules; the limit is %d: name several repositories or groups in one rule", len(rules.Content), MaxPolicyRules)
		return
	}
	for i, r := range rules.Content {
		if p.full() {
			return
		}
		p.rule(r, fmt.Sprintf("rules[%d]", i))
	}
}

func (p *policyParser) rule(n *yaml.Node, field string) {
	fields := p.mapping(n, field, "who", "what", "may")
	if fields == nil {
		return
	}
	before := len(p.problems)
	who := p.who(n, fields["who"], field+".who")
	may := p.may(n, fields["may"], field+".may")
	what := p.what(n, fields["what"], field+".what", may)
	for _, s := range who {
		if s == anyone && may&^setOf(Pull) != 0 {
			p.problem(fields["may"], field+".may", "anyone, also without a login, may only be given pull: give the rest to a group in another rule")
		}
	}
	if len(p.problems) > before {
		return
	}
	r := &rule{may: may, what: newPatternSet(what)}
	for _, s := range who {
		if of := p.policy.of[s]; !slices.Contains(of[max(0, len(of)-1):], r) { // named twice in one rule
			p.policy.of[s] = append(of, r)
		}
	}
}

func (p *policyParser) who(rule, n *yaml.Node, field string) []subject {
	if n == nil {
		p.problem(rule, field, "missing: write who is given this, as in [\"user:alice\", \"robot:ci\", \"group:dev\"]")
		return nil
	}
	var out []subject
	p.list(n, field, func(n *yaml.Node, field string) {
		kind, name, named := strings.Cut(n.Value, ":")
		switch {
		case n.Value == anyone.kind:
			out = append(out, anyone)
		case !named || kind != kindUser && kind != kindRobot && kind != kindGroup:
			p.problem(n, field, "%.80q names nobody: write user:NAME, robot:NAME, group:NAME or anyone", n.Value)
		default:
			if err := ValidName(name); err != nil {
				p.problem(n, field, "%v", err)
				return
			}
			out = append(out, subject{kind, name})
		}
	})
	return out
}

func (p *policyParser) may(rule, n *yaml.Node, field string) actionSet {
	if n == nil {
		p.problem(rule, field, "missing: write what is given, of [pull, push, delete, admin]")
		return 0
	}
	var out actionSet
	p.list(n, field, func(n *yaml.Node, field string) {
		a := setOf(Action(n.Value))
		if a == 0 {
			p.problem(n, field, "%.40q is no action: use pull, push, delete or admin", n.Value)
		}
		out |= a
	})
	return out
}

// what is required for rights on repositories and out of place for admin.
func (p *policyParser) what(rule, n *yaml.Node, field string, may actionSet) []pattern {
	if n == nil {
		if may&^setOf(Admin) != 0 {
			p.problem(rule, field, "missing: write the repositories, as in [\"team/**\"], or [\"**\"] for all")
		}
		return nil
	}
	var out []pattern
	p.list(n, field, func(n *yaml.Node, field string) {
		pat, err := parsePattern(n.Value)
		if err != nil {
			p.problem(n, field, "%v", err)
			return
		}
		if may.has(Admin) && pat.text != anySegments {
			p.problem(n, field, "admin is a right on the whole registry: give it in a rule of its own, without what")
		}
		out = append(out, pat)
	})
	return out
}

// list calls each with the texts of a list, which must not be empty.
func (p *policyParser) list(n *yaml.Node, field string, each func(n *yaml.Node, field string)) {
	if !p.plain(n, field) {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.problem(n, field, "must be a list of at least one text: write it in [ ]")
		return
	}
	for i, c := range n.Content {
		if p.full() {
			return
		}
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !p.plain(c, at):
		case c.Kind != yaml.ScalarNode || c.Tag != "!!str":
			p.problem(c, at, "must be a text: write it in quotes")
		default:
			each(c, at)
		}
	}
}

// mapping returns the fields of a mapping that has no others than the allowed,
// each once, or nil when n is no mapping.
func (p *policyParser) mapping(n *yaml.Node, field string, allowed ...string) map[string]*yaml.Node {
	expect := strings.Join(allowed, ", ")
	if !p.plain(n, field) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		p.problem(n, field, "must have the fields %s", expect)
		return nil
	}
	out := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content) && !p.full(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(field+"."+key.Value, ".")
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || !slices.Contains(allowed, key.Value):
			p.problem(key, field, "unknown field %.40q: use %s", key.Value, expect)
		case out[key.Value] != nil:
			p.problem(key, at, "is there twice, first on line %d: keep one", out[key.Value].Line)
		default:
			out[key.Value] = value
		}
	}
	return out
}

// plain refuses what makes a document mean more than it shows.
func (p *policyParser) plain(n *yaml.Node, field string) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		p.problem(n, field, "anchors (&), aliases (*) and tags (!) are not part of a policy: write it out, and quote a pattern that begins with \"*\"")
		return false
	}
	return true
}
