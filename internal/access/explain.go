package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxNearest is how many rules an Explanation of a denial names.
const MaxNearest = 5

// An Explanation says why a policy decides a query as it does.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Action is the single action that decided: what Push or Admin came down to.
	Action Action `json:"action"`
	// DependsOnTag is set when it is allowed only with some tags.
	DependsOnTag bool `json:"dependsOnTag,omitempty"`
	// Rules are all that give it.
	Rules []Reason `json:"rules"`
	// Narrowed says what the credential keeps, if it does not keep this.
	Narrowed string `json:"narrowed,omitempty"`
	// Protections are all that take it away, or may when the tag is known.
	Protections []Reason `json:"protections"`
	// Nearest are the rules that lack least, when none gives it.
	Nearest []Reason `json:"nearest"`
}

// A Reason is a rule or protection and how it stands to the query.
type Reason struct {
	Name      string         `json:"name"`
	Line      int            `json:"line"`
	Lacks     []Lack         `json:"lacks,omitempty"` // nothing for one that applies
	Condition *ConditionFact `json:"condition,omitempty"`
	// DependsOnTag is set when it applies only to some tags, and the tag is not
	// known.
	DependsOnTag bool `json:"dependsOnTag,omitempty"`

	patterns []pattern // of the rule
}

// A Lack is a part of a rule that the query does not meet.
type Lack struct {
	What string `json:"what"` // "subject", "repository", "action" or "condition"
	Text string `json:"text"` // what the rule says there
}

// A ConditionFact is what a condition said, and the values it looked at.
type ConditionFact struct {
	Text    string            `json:"text"`
	Outcome string            `json:"outcome"` // "true", "false", "depends on the tag", or "error: …"
	Values  map[string]string `json:"values"`
}

// Explain decides q as Decide does, by the same evaluation, and says why. What
// rules lack is found by looking at each of them, so that it takes longer.
func (pol *Policy) Explain(q Query) Explanation {
	d, single := pol.decideOn(&q)
	x := Explanation{Allowed: d.Allowed, Action: single, Rules: []Reason{}, Protections: []Reason{}, Nearest: []Reason{}}
	if pol == nil || setOf(single) == 0 || setOf(single)&bitsAdmin == 0 && q.Name == "" {
		return x // there is nothing that a rule could lack
	}
	e := pol.evaluation(&q, single)
	x.rules(&e)
	if d.Narrowed {
		x.Narrowed = q.Narrowing.String()
	}
	for _, p := range pol.protect {
		if p.covers(e.lookup.name) {
			if effect := p.takes(&e); effect != none {
				x.Protections = append(x.Protections, Reason{
					Name: p.Name, Line: p.Line, Condition: e.fact(p.when), DependsOnTag: effect == maybe,
				})
			}
		}
	}
	certain := slices.ContainsFunc(x.Rules, func(r Reason) bool { return !r.DependsOnTag })
	x.DependsOnTag = x.Allowed && (!certain || len(x.Protections) > 0)
	return x
}

// Within leaves out of an explanation what somebody who may see only a part of
// the policy must not learn: near rules about other names that do not lie in
// the part, and in which groups somebody is. What decides about a name of theirs
// they see, wherever it is from.
func (x Explanation) Within(p Part) Explanation {
	if p.Whole() {
		return x
	}
	elsewhere := func(r Reason) bool {
		about := func(l Lack) bool { return l.What == "repository" }
		outside := func(q pattern) bool { return !p.contains(&q) }
		return slices.ContainsFunc(r.Lacks, about) && slices.ContainsFunc(r.patterns, outside)
	}
	x.Nearest = slices.DeleteFunc(slices.Clone(x.Nearest), elsewhere)
	for _, r := range slices.Concat(x.Rules, x.Protections, x.Nearest) {
		if c := r.Condition; c != nil && c.Values["principal.groups"] != "" {
			c.Values["principal.groups"] = "not shown"
		}
	}
	return x
}

// rules finds those that give and those that come near.
func (x *Explanation) rules(e *evaluation) {
	var near []Reason
	for _, r := range e.policy.rules {
		lacks := r.lacks(e)
		switch {
		case len(lacks) > 2:
			continue
		case len(lacks) < 2 && !r.holds(e):
			lacks = append(lacks, Lack{"condition", r.when.text})
		}
		reason := Reason{Name: r.Name, Line: r.Line, Lacks: lacks, patterns: r.patterns}
		if len(lacks) == 0 || lacks[len(lacks)-1].What == "condition" {
			reason.Condition = e.fact(r.when)
		}
		if len(lacks) == 0 {
			reason.DependsOnTag = e.ask(r.when) == open
			x.Rules = append(x.Rules, reason)
			continue
		}
		near = append(near, reason)
	}
	if len(x.Rules) > 0 {
		return
	}
	slices.SortStableFunc(near, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(len(a.Lacks), len(b.Lacks)), cmp.Compare(rank(a), rank(b)))
	})
	x.Nearest = append(x.Nearest, near[:min(len(near), MaxNearest)]...)
}

// rank puts a rule for somebody else after one for oneself.
func rank(r Reason) int {
	if r.Lacks[0].What == "subject" {
		return 1
	}
	return 0
}

// lacks says what of r, but for its condition, e does not meet.
func (r *rule) lacks(e *evaluation) []Lack {
	var out []Lack
	if !r.names.include(&e.query.Principal) {
		out = append(out, Lack{"subject", "is for " + some(r.names.list())})
	}
	if !r.covers(e.lookup.name, e.lookup.by) {
		text := "covers " + some(texts(r.patterns))
		if !r.except.empty() {
			text += ", with exceptions"
		}
		out = append(out, Lack{"repository", text})
	}
	if r.actions&e.action == 0 {
		out = append(out, Lack{"action", "gives " + strings.Join(r.actions.words(), ", ")})
	}
	return out
}

func (p *protection) covers(name string) bool {
	return name != "" && slices.ContainsFunc(p.patterns, func(pat pattern) bool { return pat.matches(name, nobody) })
}

func texts(patterns []pattern) []string {
	var out []string
	for _, p := range patterns {
		out = append(out, p.text)
	}
	return out
}

// some joins the first few.
func some(all []string) string {
	const few = 5
	if len(all) <= few {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
}

// fact says what a condition found.
func (e *evaluation) fact(c *condition) *ConditionFact {
	if c == nil {
		return nil
	}
	f := &ConditionFact{Text: c.text, Values: make(map[string]string)}
	switch e.ask(c) {
	case yes:
		f.Outcome = "true"
	case no:
		f.Outcome = "false"
	case open:
		f.Outcome = "depends on the tag"
	default:
		_, _, err := c.program.Eval(e.variables)
		f.Outcome = fmt.Sprintf("error: %v", err)
	}
	for _, name := range c.uses {
		v, known := (&variables{e.query}).ResolveName(name)
		if !known {
			f.Values[name] = "not known"
			continue
		}
		f.Values[name] = fmt.Sprintf("%.200v", v)
	}
	return f
}
