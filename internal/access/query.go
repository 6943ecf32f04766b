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
	switch set := setOf(q.Action); {
	case pol == nil || set == 0:
		return Decision{}
	case q.Action == Push:
		q.Action = CreateTag
		d := pol.decide(&q, bitCreateTag)
		if d.Allowed {
			return d
		}
		q.Action = MoveTag
		if move := pol.decide(&q, bitMoveTag); move.Allowed || d.Rule == (Statement{}) || d.Narrowed {
			return move
		}
		return d
	case q.Action == Admin:
		var d Decision
		for i, a := range singleActions {
			if bit := actionSet(1) << i; bit&bitsAdmin != 0 {
				q.Action = a
				if d = pol.decide(&q, bit); !d.Allowed {
					return d
				}
			}
		}
		return d
	default:
		return pol.decide(&q, set)
	}
}

// An evaluation is the work on one query with a single action.
type evaluation struct {
	query  *Query
	action actionSet
	lookup lookup
}

func (pol *Policy) decide(q *Query, action actionSet) Decision {
	if action&bitsAdmin == 0 && q.Name == "" {
		return Decision{} // only administrative rights are over the whole registry
	}
	e := evaluation{q, action, lookUp(q.Name, callerOf(q.Principal))}
	var d Decision
	pol.giving(&e, func(r *rule) bool {
		d.Rule, d.Allowed = r.Statement, true
		return false
	})
	if d.Allowed && !q.Narrowing.Allows(q.Action, q.Name, q.Origin) {
		d.Narrowed, d.Allowed = true, false
	}
	if !d.Allowed {
		return d
	}
	pol.protections.find(&e.lookup, func(p *protection) bool {
		if p.takes(&e) == sure {
			d.Protection, d.Allowed = p.Statement, false
		}
		return d.Allowed
	})
	return d
}

// giving calls visit for the rules that give e, until it returns false. A rule
// may come several times.
func (pol *Policy) giving(e *evaluation, visit func(*rule) bool) {
	check := false
	try := func(r *rule) bool {
		if r.actions&e.action == 0 || r.excepts(e.lookup.name) || check && !r.names.include(&e.query.Principal) {
			return true
		}
		return visit(r)
	}
	pol.givenTo(&e.query.Principal, func(of *given) bool {
		check = of.check
		return of.rules.find(&e.lookup, try) && each(of.large, func(r *rule) bool {
			return r.own.find(&e.lookup, try)
		})
	})
}
