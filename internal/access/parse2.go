package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// document2 reads version 2 of the language.
func (p *policyParser) document2(n *yaml.Node) {
	fields := p.mapping(n, "", "version", "rules", "protections")
	if fields == nil {
		return
	}
	switch v := fields["version"]; {
	case v == nil:
		p.problem(n, "version", "missing: write \"version: 2\"")
	case v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Value != "2":
		p.problem(v, "version", "is not known here: write \"version: 2\"")
	}
	p.named = make(map[string]int)
	if rules := fields["rules"]; rules == nil {
		p.problem(n, "rules", "missing: to allow nothing write \"rules: []\"")
	} else {
		p.statements(rules, "rules", p.rule)
	}
	if protections := fields["protections"]; protections != nil {
		p.statements(protections, "protections", p.protection)
	}
}

func (p *policyParser) rule(n *yaml.Node, field string) {
	fields := p.mapping(n, field, "name", "subjects", "repositories", "except", "actions", "when")
	if fields == nil {
		return
	}
	before := len(p.problems)
	r := &rule{Statement: p.statement(n, fields["name"], field+".name")}
	r.names = p.subjects(n, fields["subjects"], field+".subjects")
	r.patterns = p.repositories(n, fields["repositories"], field+".repositories", parseRulePattern)
	if except := fields["except"]; except != nil {
		r.except = newPatternSet(p.repositories(n, except, field+".except", parsePattern))
	}
	r.actions = p.actions(n, fields["actions"], field+".actions", everyAction)
	p.anyonePulls(r, fields["actions"], field+".actions")
	r.when = p.condition(fields["when"], field+".when")
	if r.when.dependsOn(variableTag) && r.actions&bitPull != 0 {
		p.problem(fields["when"], field+".when", pullHasNoTag, "give")
	}
	p.administers(r, fields, field)
	if len(p.problems) == before {
		p.policy.rules = append(p.policy.rules, r)
	}
}

// pullHasNoTag is why pull does not depend on tags.
const pullHasNoTag = "what has a tag can be pulled by its digest too: %s pull in a statement of its own, which does not look at the tag"

// administers checks what is different for administrative rights.
func (p *policyParser) administers(r *rule, fields map[string]*yaml.Node, field string) {
	if r.actions&bitsAdmin == 0 {
		return
	}
	for _, pat := range r.patterns {
		if pat.placeholders {
			p.problem(fields["repositories"], field+".repositories", "administrative rights are given over names that are written out: %q has a placeholder", pat.text)
		}
	}
	if r.when.dependsOn(variableTag) || r.when.dependsOn(variableName) {
		p.problem(fields["when"], field+".when", "administrative rights are given over the names in repositories: leave tag and repository out of the condition")
	}
	whole := slices.ContainsFunc(r.patterns, func(pat pattern) bool { return pat.text == anySegments }) && r.except.empty()
	if r.actions&bitsAdmin == bitOperate && !whole && len(r.patterns) > 0 {
		p.problem(fields["repositories"], field+".repositories", "operate concerns the whole registry: give it in a rule with repositories [\"**\"] and without except")
	}
}

func (p *policyParser) protection(n *yaml.Node, field string) {
	fields := p.mapping(n, field, "name", "repositories", "tags", "actions", "except-subjects", "when")
	if fields == nil {
		return
	}
	before := len(p.problems)
	t := &protection{Statement: p.statement(n, fields["name"], field+".name")}
	t.patterns = p.repositories(n, fields["repositories"], field+".repositories", parsePattern)
	t.actions = p.actions(n, fields["actions"], field+".actions", tagActions)
	t.when = p.condition(fields["when"], field+".when")
	if tags := fields["tags"]; tags != nil {
		t.tags = p.tags(tags, field+".tags")
	}
	if t.actions&bitPull != 0 && (t.tags != nil || t.when.dependsOn(variableTag)) {
		p.problem(fields["actions"], field+".actions", pullHasNoTag, "protect")
	}
	if except := fields["except-subjects"]; except != nil {
		t.except = p.subjects(n, except, field+".except-subjects")
		if t.except.has(anyone) {
			p.problem(except, field+".except-subjects", "with anyone excepted nothing is protected: name who is, or leave the protection out")
		}
	}
	if len(p.problems) == before {
		p.policy.protect = append(p.policy.protect, t)
	}
}

// statement reads the name of a rule or protection; all names of a document are
// different.
func (p *policyParser) statement(parent, n *yaml.Node, field string) Statement {
	const cure = "use 1 to 100 lower-case letters, digits, '.', '_', '-', '/', beginning and ending with a letter or digit"
	switch {
	case n == nil:
		p.problem(parent, field, "missing: give it a name, as in \"name: team-a-pushes\"")
	case !p.plain(n, field):
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str" || !statementName(n.Value):
		p.problem(n, field, "%.120q is no name: %s", n.Value, cure)
	case p.named[n.Value] != 0:
		p.problem(n, field, "%q is the name of another rule or protection, on line %d: names are unique", n.Value, p.named[n.Value])
	default:
		p.named[n.Value] = n.Line
		return Statement{n.Value, parent.Line}
	}
	return Statement{}
}

func statementName(s string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	for i := range len(s) {
		if !alnum(s[i]) && !strings.ContainsRune("._-/", rune(s[i])) {
			return false
		}
	}
	return s != "" && len(s) <= 100 && alnum(s[0]) && alnum(s[len(s)-1])
}

func (p *policyParser) repositories(parent, n *yaml.Node, field string, read func(string) (pattern, error)) []pattern {
	if n == nil {
		p.problem(parent, field, "missing: write the repositories, as in [\"team/**\"], or [\"**\"] for all")
		return nil
	}
	var out []pattern
	p.list(n, field, func(n *yaml.Node, field string) {
		pat, err := read(n.Value)
		if err != nil {
			p.problem(n, field, "%v", err)
			return
		}
		out = append(out, pat)
	})
	return out
}

// What rules can give and protections can take away.
const (
	everyAction = "pull, push, create-tag, move-tag, delete, manage-policy, manage-accounts, manage-keys, read-audit, operate, admin"
	tagActions  = "pull, push, create-tag, move-tag, delete"
)

func (p *policyParser) actions(parent, n *yaml.Node, field, known string) actionSet {
	if n == nil {
		p.problem(parent, field, "missing: write a list of %s", known)
		return 0
	}
	var out actionSet
	p.list(n, field, func(n *yaml.Node, field string) {
		if !slices.Contains(strings.Split(known, ", "), n.Value) {
			p.problem(n, field, "%.40q is no action here: use %s", n.Value, known)
		}
		out |= setOf(Action(n.Value))
	})
	return out
}

// condition compiles a "when"; those with the same text are one.
func (p *policyParser) condition(n *yaml.Node, field string) *condition {
	if n == nil {
		return nil
	}
	if !p.plain(n, field) {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		p.problem(n, field, "must be a text: write it in quotes")
		return nil
	}
	if known := p.when[n.Value]; known != nil {
		return known
	}
	if p.spent {
		return nil // which is a problem already
	}
	if len(p.policy.conditions) == MaxConditions {
		p.spent = true
		p.problem(n, field, "is different condition number %d: the limit is %d", MaxConditions+1, MaxConditions)
		return nil
	}
	c, err := p.compile(n.Value)
	if err != nil {
		_, p.spent = errors.AsType[errTooMuch](err)
		p.problem(n, field, "%v", err)
		return nil
	}
	if p.when == nil {
		p.when = make(map[string]*condition)
	}
	c.number = len(p.policy.conditions)
	p.policy.conditions = append(p.policy.conditions, c)
	p.when[n.Value] = c
	return c
}

// compile returns the condition of that text, compiled if the policy before did
// not have it, and counts what it takes.
func (p *policyParser) compile(text string) (*condition, error) {
	if p.size += len(text); p.size > maxConditions {
		return nil, errTooMuch{fmt.Sprintf("with this condition the different ones are too long: the limit of all together is %d bytes", maxConditions)}
	}
	var c *condition
	if known := p.before[text]; known != nil {
		again := *known // its number will be another
		c = &again
		for _, x := range c.regexps {
			if err := p.regexps.take(x); err != nil {
				return nil, err
			}
		}
	} else {
		var err error
		if c, err = compileCondition(text, &p.regexps); err != nil {
			return nil, err
		}
	}
	if p.cost += c.cost; p.cost > maxPolicyCost {
		return nil, errTooMuch{fmt.Sprintf("with this condition all together can cost %d, the limit is %d: write shorter ones, or fewer", p.cost, maxPolicyCost)}
	}
	return c, nil
}

func (p *policyParser) tags(n *yaml.Node, field string) []string {
	var out []string
	p.list(n, field, func(n *yaml.Node, field string) {
		if !tagGlob(n.Value) {
			p.problem(n, field, "%.130q can match no tag: use letters, digits, '_', '.', '-' and \"*\" for any of them", n.Value)
		}
		out = append(out, n.Value)
	})
	return out
}

// tagGlob reports whether s could match a tag (distribution-spec, "Pulling
// manifests").
func tagGlob(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		return !letter && (c < '0' || c > '9') && !strings.ContainsRune("._-*", c)
	})
}
