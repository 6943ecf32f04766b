package access

import (
	"fmt"
	"slices"
	"strings"
)

// A Part is the part of the name tree over which somebody has an administrative
// right. The zero value is empty.
type Part struct {
	rules  []*rule
	within []pattern // what a narrowing keeps; nil keeps all
}

// Part returns where the principal has the administrative right a now. Errors
// of conditions give nothing, as everywhere.
func (au Authority) Part(a Action) Part {
	p, left := au.left(a)
	if au.Policy == nil || setOf(a)&bitsAdmin == 0 || !left {
		return Part{}
	}
	// A condition of an administrative rule does not look at the name.
	q := Query{
		Principal: au.Identity.Principal, Method: au.Identity.Proof.Method, Origin: au.Origin, Time: au.Now,
	}
	e := au.Policy.evaluation(&q, a)
	for _, r := range au.Policy.rules {
		if r.actions&e.action == e.action && r.names.include(&e.query.Principal) && r.holds(&e) {
			p.rules = append(p.rules, r)
		}
	}
	return p
}

// left returns a part of no rules within what the narrowing keeps, and false when
// it does not keep a at all.
func (au Authority) left(a Action) (p Part, ok bool) {
	n := au.Identity.Narrowing
	if !n.IsZero() && (!n.AllowsFrom(au.Origin.Address) || !n.leaves(a)) {
		return Part{}, false
	}
	for _, text := range n.Repositories {
		pat, err := parsePattern(text)
		if err != nil {
			return Part{}, false
		}
		p.within = append(p.within, pat)
	}
	return p, true
}

// Empty reports whether it is no name at all.
func (p Part) Empty() bool { return len(p.rules) == 0 }

// under returns the part of p that somebody has for good, or under the condition
// when: nobody may pass on without its condition what a condition gives.
func (p Part) under(when string) Part {
	p.rules = slices.DeleteFunc(slices.Clone(p.rules), func(r *rule) bool { return r.when != nil && r.when.text != when })
	return p
}

// Whole reports whether it is the whole registry.
func (p Part) Whole() bool {
	return p.contains(&pattern{text: anySegments, segments: []string{"*", anySegments}})
}

// Prefixes returns what every name in p begins with one of: sorted, none begins
// with another.
func (p Part) Prefixes() []string {
	var out []string
	for _, r := range p.rules {
		for _, q := range r.patterns {
			out = append(out, q.literal)
		}
	}
	return uncovered(out)
}

// String lists its patterns, for people.
func (p Part) String() string {
	var out []string
	for _, r := range p.rules {
		out = append(out, texts(r.patterns)...)
	}
	slices.Sort(out)
	return some(slices.Compact(out))
}

// contains reports whether all names that q matches are in p, where that is
// plain to see: it may deny a pattern that is inside, never the other way.
func (p Part) contains(q *pattern) bool {
	if p.within != nil && !slices.ContainsFunc(p.within, func(w pattern) bool { return within(q, &w) }) {
		return false
	}
	return slices.ContainsFunc(p.rules, func(r *rule) bool {
		return slices.ContainsFunc(r.patterns, func(o pattern) bool { return within(q, &o) }) && r.except.apart(q)
	})
}

// within reports whether every name that q matches, outer matches: when they are
// the same, when outer is everything, and when it is a tree that all of q's
// names begin with.
func within(q, outer *pattern) bool {
	if outer.text == anySegments || outer.text == q.text {
		return true
	}
	tree, ok := strings.CutSuffix(outer.text, anySegments)
	return ok && tree == outer.literal && strings.HasPrefix(q.literal, tree)
}

// apart reports whether no name matches both q and the set, where that is plain
// to see: their beginnings differ.
func (set *patternSet) apart(q *pattern) bool {
	for _, l := range set.literals() {
		if strings.HasPrefix(l, q.literal) || strings.HasPrefix(q.literal, l) {
			return false
		}
	}
	return true
}

// A ChangeError says why an author may not change a policy so. Its text is fit
// for the author.
type ChangeError struct {
	Name string // of the rule or protection
	Line int    // in the new document, 0 for one that is no longer there
	Text string
}

func (e *ChangeError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Name, e.Text)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Name, e.Text)
}

// CheckChange reports whether the author may make the policy next out of
// author.Policy. Who manages all of the policy may make any. Who manages it on
// a part of the tree may add, change and remove the rules and protections
// that lie wholly in that part, and give administrative rights only where they
// have them: where they have one under a condition, under that condition.
// Errors: *ChangeError; *Denied without the right.
func CheckChange(author Authority, next *Policy) error {
	part := author.Part(ManagePolicy)
	switch {
	case part.Empty():
		return &Denied{Principal: author.Identity.Principal, Action: ManagePolicy, Resource: API}
	case part.Whole():
		return nil
	}
	old := statementsOf(author.Policy)
	for _, s := range statementsIn(next) {
		before, there := old[s.name]
		delete(old, s.name)
		if there && before.content == s.content {
			continue
		}
		if there && !before.inside(part) || !s.inside(part) {
			return &ChangeError{s.name, s.line, fmt.Sprintf("does not lie in the part of the policy that you manage: %s", part)}
		}
		for _, a := range (s.actions & bitsAdmin).single() {
			have := author.Part(a)
			if !s.inside(have) {
				return &ChangeError{s.name, s.line, fmt.Sprintf("gives %s where you do not have it yourself", a)}
			}
			if !s.inside(have.under(s.when)) {
				return &ChangeError{s.name, s.line, fmt.Sprintf("gives %s where you have it under another condition: write the \"when\" of the rule that gives it to you", a)}
			}
		}
	}
	for name, s := range old {
		if !s.inside(part) {
			return &ChangeError{name, 0, fmt.Sprintf("is missing, and does not lie in the part of the policy that you manage: %s", part)}
		}
	}
	return nil
}

// A stated is a rule or protection as CheckChange compares it.
type stated struct {
	name     string
	line     int
	content  string // the same for two that decide the same
	patterns []pattern
	actions  actionSet
	when     string
}

func (s *stated) inside(p Part) bool {
	return !slices.ContainsFunc(s.patterns, func(q pattern) bool { return !p.contains(&q) })
}

func statementsIn(pol *Policy) []stated {
	var out []stated
	for _, r := range pol.rules {
		content := fmt.Sprintf("rule %q %q %q %d %q", r.names.list(), texts(r.patterns), r.except.texts(), r.actions, r.when)
		out = append(out, stated{r.Name, r.Line, content, r.patterns, r.actions, r.when.String()})
	}
	for _, p := range pol.protect {
		content := fmt.Sprintf("protection %q %q %q %d %q", p.except.list(), texts(p.patterns), p.tags, p.actions, p.when)
		out = append(out, stated{p.Name, p.Line, content, p.patterns, p.actions, p.when.String()})
	}
	return out
}

func statementsOf(pol *Policy) map[string]stated {
	out := make(map[string]stated)
	if pol != nil {
		for _, s := range statementsIn(pol) {
			out[s.name] = s
		}
	}
	return out
}
