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
	MaxPolicySize  = 2 << 20 // bytes
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
//	version: 2
//	rules:
//	  - name: team-a
//	    subjects: ["group:dev", "robot:team-a/ci"]
//	    repositories: ["team-a/**"]
//	    actions: [pull, push]
//	protections:
//	  - name: releases-stay
//	    repositories: ["**"]
//	    tags: ["v*"]
//	    actions: [move-tag, delete]
//
// Rules give and protections take away; docs/policy.md describes the language.
// Version 1 is read too (see parse1.go). YAML's anchors, aliases and tags are
// not part of it. Errors: *PolicyError.
func ParsePolicy(doc []byte) (*Policy, error) { return (*Policy)(nil).Next(doc) }

// Next is ParsePolicy for a document that may replace pol's: a condition that
// both have is not compiled again.
func (pol *Policy) Next(doc []byte) (*Policy, error) { return parsePolicy(doc, pol) }

// parsePolicy compiles what no policy of before has.
func parsePolicy(doc []byte, before ...*Policy) (*Policy, error) {
	if len(doc) > MaxPolicySize {
		return nil, &PolicyError{[]PolicyProblem{{Text: fmt.Sprintf("the policy is %d bytes long; the limit is %d", len(doc), MaxPolicySize)}}}
	}
	root, problem := loadPolicy(doc)
	if problem != nil {
		return nil, &PolicyError{[]PolicyProblem{*problem}}
	}
	p := policyParser{policy: new(Policy), before: conditionsOf(before)}
	p.document(root)
	if len(p.problems) > 0 {
		return nil, &PolicyError{p.problems}
	}
	p.policy.index()
	return p.policy, nil
}

// conditionsOf returns the conditions of policies by their texts.
func conditionsOf(policies []*Policy) map[string]*condition {
	out := make(map[string]*condition)
	for _, pol := range policies {
		if pol != nil {
			for _, c := range pol.conditions {
				out[c.text] = c
			}
		}
	}
	return out
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
		return nil, &PolicyProblem{Text: "the policy is empty: to allow nothing write \"version: 2\" and \"rules: []\""}
	case err != nil:
		return nil, yamlProblem(err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &PolicyProblem{Line: second.Line, Text: "a second YAML document begins here: a policy is one document"}
	case !errors.Is(err, io.EOF):
		return nil, yamlProblem(err)
	}
	root := first.Content[0]
	root.HeadComment = strings.TrimSpace(first.HeadComment + "\n\n" + root.HeadComment)
	root.FootComment = strings.TrimSpace(root.FootComment + "\n\n" + first.FootComment)
	return root, nil
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
	named    map[string]int // the line of each name
	when     map[string]*condition
	before   map[string]*condition // of the policy that may be replaced
	regexps  expressions
	size     int    // of all conditions, in bytes
	cost     uint64 // what they can cost
	spent    bool   // they take too much: no more are compiled
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
	if p.version(n) == "1" {
		p.document1(n)
		return
	}
	p.document2(n)
}

// version returns what a document says it is, "" if it does not.
func (p *policyParser) version(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == "version" && v.Kind == yaml.ScalarNode && v.Tag == "!!int" {
			return v.Value
		}
	}
	return ""
}

// statements calls each with the mappings of a list of rules or protections.
func (p *policyParser) statements(n *yaml.Node, field string, each func(n *yaml.Node, field string)) {
	switch {
	case !p.plain(n, field):
		return
	case n.Kind != yaml.SequenceNode:
		p.problem(n, field, "must be a list of %s", field)
		return
	case len(n.Content) > MaxPolicyRules:
		p.problem(n, field, "has %d %s; the limit is %d: name several repositories or groups in one", len(n.Content), field, MaxPolicyRules)
		return
	}
	for i, c := range n.Content {
		if p.full() {
			return
		}
		each(c, fmt.Sprintf("%s[%d]", field, i))
	}
}

// list calls each with the texts of a list, which must not be empty.
func (p *policyParser) list(n *yaml.Node, field string, each func(n *yaml.Node, field string)) {
	p.items(n, field, func(n *yaml.Node, field string) {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			p.problem(n, field, "must be a text: write it in quotes")
			return
		}
		each(n, field)
	})
}

// items calls each with what is in a list, which must not be empty.
func (p *policyParser) items(n *yaml.Node, field string, each func(n *yaml.Node, field string)) {
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
		if at := fmt.Sprintf("%s[%d]", field, i); p.plain(c, at) {
			each(c, at)
		}
	}
}

// anyonePulls checks that those who did not log in are given nothing else.
func (p *policyParser) anyonePulls(r *rule, n *yaml.Node, field string) {
	if r.names.has(anyone) && r.actions&^bitPull != 0 {
		p.problem(n, field, "anyone, also without a login, may only be given pull: give the rest to a group in another rule")
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
