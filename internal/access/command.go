package access

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/interpreter"
)

// Commands reports whether au may obtain or make a credential of p by the
// administrative right that it has over p's name. Who has a credential of an
// account acts as it, so that no rule may give the account more than au has
// itself or manages:
//
//   - what is no administrative right, where au has right over the repositories;
//   - anything that a rule gives au too, on the same names or more, under the
//     same condition or none, where no protection binds au and not p.
//
// Who has all administrative rights over the whole registry commands everybody.
// It denies what is not plain to see, never the other way. Errors: *Denied.
func (au Authority) Commands(right Action, p Principal) error {
	if au.MayManage(Admin, "") {
		return nil
	}
	cm := newCommander(au, right)
	return cm.denied(cm.beyond(nil, &p), p.Name, p.String())
}

// Joins reports whether au may put p into a group by the right that it has over
// the group's name: what p comes to have by that must be what Commands lets au
// give. Errors: *Denied.
func (au Authority) Joins(right Action, p Principal, group string) error {
	if au.MayManage(Admin, "") || slices.Contains(p.Groups, group) {
		return nil
	}
	after := p
	after.Groups = append(slices.Clone(p.Groups), group)
	slices.Sort(after.Groups)
	cm := newCommander(au, right)
	return cm.denied(cm.beyond(&p, &after), group, subject{kindGroup, group}.String())
}

// A commander is somebody who wants a right to be in the hands of an account.
type commander struct {
	au    Authority
	right Action
	part  Part    // where the commander has right
	own   []*rule // that name the commander
}

func newCommander(au Authority, right Action) *commander {
	cm := &commander{au: au, right: right, part: au.Part(right)}
	au.Policy.givenTo(&au.Identity.Principal, func(of *given) bool {
		for _, r := range of.all {
			if !of.check || r.names.include(cm.self()) {
				cm.own = append(cm.own, r)
			}
		}
		return true
	})
	return cm
}

func (cm *commander) self() *Principal { return &cm.au.Identity.Principal }

// A surplus is a rule that gives more than a commander may, or a protection that
// binds the commander alone.
type surplus struct {
	Statement
	patterns []pattern
}

// denied says that s is in the way, if it is not nil. Its name is for who may see
// it; the record gets it always.
func (cm *commander) denied(s *surplus, name, who string) error {
	if s == nil {
		return nil
	}
	policy := cm.au.Part(ManagePolicy)
	hidden := slices.ContainsFunc(s.patterns, func(q pattern) bool { return !policy.contains(&q) })
	return &Denied{
		Principal: *cm.self(), Action: cm.right, Resource: Resource{typeName, name},
		Beyond: Beyond{Who: who, Rule: s.Name, Hidden: hidden},
	}
}

// beyond returns something that gives p more than the commander may give. What
// it gave before, already, does not count; nil is nobody.
func (cm *commander) beyond(before, p *Principal) *surplus {
	var found *surplus
	cm.au.Policy.givenTo(p, func(of *given) bool {
		for _, r := range of.all {
			if found == nil && (before == nil || !gaveBefore(r, before, p)) {
				found = cm.tooMuch(r, p)
			}
		}
		return found == nil
	})
	if found != nil || before == nil {
		return found
	}
	for _, t := range cm.au.Policy.protect {
		if t.spares(before, p) && t.spares(cm.self(), p) && slices.ContainsFunc(t.patterns, func(q pattern) bool { return !cm.part.contains(&q) }) {
			return &surplus{t.Statement, t.patterns}
		}
	}
	return nil
}

// gaveBefore reports whether r gives p nothing that it did not give before.
func gaveBefore(r *rule, before, p *Principal) bool {
	return r.names.include(before) && (r.when.sameFor(before, p) || r.when.outcomeFor(before) == yes)
}

// tooMuch returns what of r, which names p, the commander may not give.
func (cm *commander) tooMuch(r *rule, p *Principal) *surplus {
	if o := r.when.outcomeFor(p); o == no || o == failed {
		return nil
	}
	for i := range r.patterns {
		q, some := r.patterns[i].writtenFor(callerOf(*p))
		if !some {
			continue
		}
		for _, a := range r.actions.single() {
			if setOf(a)&bitsAdmin == 0 && cm.part.contains(&q) {
				continue
			}
			// What everybody has is nobody's gain, and not kept from a narrowed
			// credential either.
			open := (r.names.has(everyone) || r.names.has(anyone)) && !r.patterns[i].placeholders && r.when.sameFor(cm.self(), p)
			if !open && !cm.has(a, r.when, p).contains(&q) {
				return &surplus{r.Statement, r.patterns}
			}
			if t := cm.boundAlone(a, &q, p); t != nil {
				return &surplus{t.Statement, t.patterns}
			}
		}
	}
	return nil
}

// has returns where the commander has a whenever p has it under a condition.
func (cm *commander) has(a Action, when *condition, p *Principal) Part {
	out, left := cm.au.left(a)
	if !left {
		return Part{}
	}
	for _, s := range cm.own {
		if s.actions&setOf(a) == 0 {
			continue
		}
		if s.when == when && when.sameFor(cm.self(), p) || s.when.outcomeFor(cm.self()) == yes {
			out.rules = append(out.rules, s)
		}
	}
	return out
}

// boundAlone returns a protection that may take a on a name of q from the
// commander, and not from p.
func (cm *commander) boundAlone(a Action, q *pattern, p *Principal) *protection {
	for _, t := range cm.au.Policy.protect {
		meets := func(o pattern) bool {
			return strings.HasPrefix(o.literal, q.literal) || strings.HasPrefix(q.literal, o.literal)
		}
		if t.actions&setOf(a) != 0 && slices.ContainsFunc(t.patterns, meets) && t.spares(cm.self(), p) {
			return t
		}
	}
	return nil
}

// spares reports whether t may bind one and not other.
func (t *protection) spares(one, other *Principal) bool {
	switch {
	case t.except.include(one) || t.when.outcomeFor(one) == no:
		return false
	case t.except.include(other):
		return true
	case t.when.sameFor(one, other):
		return false
	}
	o := t.when.outcomeFor(other)
	return o != yes && o != failed
}

// writtenFor returns p with the placeholders filled in, and false when it fits
// nothing.
func (p *pattern) writtenFor(by caller) (pattern, bool) {
	if !p.placeholders {
		return *p, true
	}
	segments := strings.Split(p.text, "/")
	for i, s := range segments {
		switch s {
		case userSegment:
			segments[i] = by.user
		case robotSegment:
			segments[i] = by.robot
		}
		if segments[i] == "" {
			return pattern{}, false
		}
	}
	out, err := parsePattern(strings.Join(segments, "/"))
	return out, err == nil
}

// sameFor reports whether c says the same about two local principals who do the
// same in the same way.
func (c *condition) sameFor(one, other *Principal) bool {
	if c == nil {
		return true
	}
	for _, name := range c.uses {
		same := true
		switch name {
		case "principal.name":
			same = one.Name == other.Name
		case "principal.kind", variableMethod: // each kind has its methods
			same = one.Kind == other.Kind
		case "principal.issuer":
			same = one.Issuer == other.Issuer
		case "principal.groups":
			same = slices.Equal(one.Groups, other.Groups)
		case "claims":
			same = one.local() && other.local()
		}
		if !same {
			return false
		}
	}
	return true
}

// elsewhere are the variables that do not come of who asks alone.
var elsewhere = func() (out []*interpreter.AttributePattern) {
	for _, name := range []string{variableMethod, variableName, variableTag, "action", "client.address", "client.tls", "now"} {
		out = append(out, cel.AttributePattern(name))
	}
	return out
}()

// outcomeFor returns what c says about p whatever p does, when and from where;
// open if that matters.
func (c *condition) outcomeFor(p *Principal) outcome {
	if c == nil {
		return yes
	}
	v, err := cel.PartialVars(&variables{Query{Principal: *p}}, elsewhere...)
	if err != nil {
		return open
	}
	return c.evaluate(v)
}
