package access

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// An evaluation is the work on one query with a single action.
type evaluation struct {
	policy *Policy
	query  Query // a copy: what a condition keeps would move the caller's to the heap
	action actionSet
	lookup lookup
	// Each condition is evaluated once at most, however many statements have it:
	// that bounds the cost of a decision. Both are made when first needed.
	outcomes  []outcome
	variables cel.Activation
}

// An outcome is what a condition says.
type outcome uint8

const (
	unasked outcome = iota
	no
	yes
	open   // it depends on the tag, which is not known yet
	failed // an error
)

// ask evaluates a condition; none always holds.
func (e *evaluation) ask(c *condition) outcome {
	if c == nil {
		return yes
	}
	if e.outcomes == nil {
		e.outcomes = make([]outcome, len(e.policy.conditions))
		e.variables = newVariables(e.query)
	}
	if e.outcomes[c.number] == unasked {
		e.outcomes[c.number] = c.evaluate(e.variables)
	}
	return e.outcomes[c.number]
}

func (c *condition) evaluate(variables cel.Activation) outcome {
	v, _, err := c.program.Eval(variables)
	switch {
	case err != nil:
		return failed
	case v == types.True:
		return yes
	case v == types.False:
		return no
	case types.IsUnknown(v):
		return open
	}
	return failed
}

// variables are those of conditionVariables for one query. One that is not
// known is an error for the condition that needs it.
type variables struct{ q Query }

var tagUnknown = []*interpreter.AttributePattern{cel.AttributePattern(variableTag)}

func newVariables(q Query) cel.Activation {
	if !q.AnyTag {
		return &variables{q}
	}
	v, err := cel.PartialVars(&variables{q}, tagUnknown...)
	if err != nil { // it does not take an activation, which cannot happen
		return cel.NoVars()
	}
	return v
}

func (v *variables) Parent() cel.Activation { return nil }

func (v *variables) ResolveName(name string) (any, bool) {
	p := &v.q.Principal
	switch name {
	case "principal.name":
		return p.Name, true
	case "principal.kind":
		return string(p.Kind), true
	case "principal.issuer":
		return p.Issuer, true
	case "principal.groups":
		return p.Groups, true
	case variableMethod:
		return v.q.Method, true
	case "claims":
		return p.Claims, true
	case variableName:
		return v.q.Name, true
	case variableTag:
		return string(v.q.Tag), !v.q.AnyTag
	case "action":
		return string(v.q.Action), true
	case "client.address":
		if !v.q.Origin.Address.IsValid() {
			return "", true
		}
		return v.q.Origin.Address.String(), true
	case "client.tls":
		return v.q.Origin.TLS, true
	case "now":
		return v.q.Time, !v.q.Time.IsZero()
	}
	return nil, false
}
