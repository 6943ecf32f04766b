package access

import (
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// A Query is one question to a policy: may Principal do Action there, with what
// its credential keeps, coming from Origin at Time? What decides is in it, and
// nothing else.
type Query struct {
	Principal Principal
	Method    string // how the principal was proven, as in Proof
	Narrowing Narrowing
	Action    Action
	// Name is a repository, or for an administrative right any name in the tree
	// (of a repository, an account or a group); "" asks for the whole registry.
	Name string
	// Tag is "" for what has none, such as an untagged manifest.
	Tag oci.Tag
	// AnyTag asks what could be allowed while the tag is not known: rules that
	// depend on it give, protections that depend on it do not take away. The
	// exact question follows when the tag is known.
	AnyTag bool
	Origin Origin
	Time   time.Time
}

// A Decision is the answer to a Query.
type Decision struct {
	Allowed bool
	// Rule is one that gives it, even if a protection takes it away; the zero
	// value if none does.
	Rule Statement
	// Narrowed is set when the credential does not keep what Rule gives.
	Narrowed bool
	// Protection is one that takes away what Rule gives and the credential keeps.
	Protection Statement
}

// Decide is the one evaluator: every check, grant and explanation comes of it.
// Push asks whether CreateTag or MoveTag is allowed, Admin whether all
// administrative rights are. A nil Policy allows nothing.
func (pol *Policy) Decide(q Query) Decision {
	d, _ := pol.decideOn(&q)
	return d
}

// decideOn answers q and returns the single action that decided.
func (pol *Policy) decideOn(q *Query) (Decision, Action) {
	switch set := setOf(q.Action); {
	case pol == nil || set == 0:
		return Decision{}, q.Action
	case q.Action == Push:
		create := pol.decide(q, CreateTag)
		if create.Allowed {
			return create, CreateTag
		}
		// The answer that came closer to allowing it is the more useful one.
		if move := pol.decide(q, MoveTag); move.Allowed || move.closer(create) {
			return move, MoveTag
		}
		return create, CreateTag
	case q.Action == Admin:
		for _, a := range administrative {
			if d := pol.decide(q, a); !d.Allowed || a == Operate {
				return d, a
			}
		}
	}
	return pol.decide(q, q.Action), q.Action
}

// closer reports whether d lacks less than other.
func (d Decision) closer(other Decision) bool {
	lacks := func(d Decision) int {
		switch {
		case d.Rule.Name == "":
			return 2
		case d.Narrowed:
			return 1
		}
		return 0
	}
	return lacks(d) < lacks(other)
}

// decide answers q for a single action.
func (pol *Policy) decide(q *Query, a Action) Decision {
	e := pol.evaluation(q, a)
	if e.action&bitsAdmin == 0 && q.Name == "" {
		return Decision{} // only administrative rights are over the whole registry
	}
	var d Decision
	e.giving(func(r *rule) bool {
		d.Rule, d.Allowed = r.Statement, true
		return false
	})
	if d.Allowed && !q.Narrowing.Allows(a, q.Name, q.Origin) {
		d.Narrowed, d.Allowed = true, false
	}
	if !d.Allowed {
		return d
	}
	e.taking(func(p *protection) bool {
		d.Protection, d.Allowed = p.Statement, false
		return false
	})
	return d
}

func (pol *Policy) evaluation(q *Query, a Action) evaluation {
	e := evaluation{policy: pol, query: *q, action: setOf(a), lookup: lookUp(q.Name, callerOf(q.Principal))}
	e.query.Action = a
	return e
}

// giving calls visit for the rules that give, until it returns false. A rule
// may come several times.
func (e *evaluation) giving(visit func(*rule) bool) {
	check := false
	try := func(r *rule) bool {
		if r.actions&e.action == 0 || r.excepts(e.lookup.name) || check && !r.names.include(&e.query.Principal) {
			return true
		}
		return !r.holds(e) || visit(r)
	}
	e.policy.givenTo(&e.query.Principal, func(of *given) bool {
		check = of.check
		return of.rules.find(&e.lookup, try) && each(of.large, func(r *rule) bool {
			return r.own.find(&e.lookup, try)
		})
	})
}

// taking calls visit for the protections that take away, until it returns
// false. A protection may come several times.
func (e *evaluation) taking(visit func(*protection) bool) {
	e.policy.protections.find(&e.lookup, func(p *protection) bool {
		return p.takes(e) != sure || visit(p)
	})
}
