package access

import (
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
)

// sizes tells the estimate of a condition's cost how large its variables get, and
// its regular expressions.
type sizes struct{ regexps *expressions }

// EstimateCallCost is the standard one but for a regular expression, which it
// measures by the instructions instead of the characters.
func (s sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if function != overloads.Matches || len(args) == 0 {
		return nil
	}
	in := args[0]
	if target != nil {
		in = *target
	}
	size := in.ComputedSize()
	if size == nil {
		size = s.EstimateSize(in)
	}
	text, _ := writtenOut(args[len(args)-1].Expr())
	x := s.regexps.all[text]
	if size == nil || x == nil {
		return nil
	}
	length := cost.SizeEstimate{Min: size.Min, Max: size.Max}.Add(cost.FixedSizeEstimate(1))
	program := cost.FixedSizeEstimate(uint64(x.size))
	return cost.NewCallEstimate(length.MultiplyByCostFactor(cost.StringTraversalCostFactor).
		Multiply(program.MultiplyByCostFactor(cost.RegexStringLengthCostFactor)), nil)
}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	path := n.Path()
	if len(path) == 0 {
		return nil
	}
	size := uint64(maxOutsiderText) // of a group or a claim
	if len(path) == 1 {
		for _, v := range conditionVariables {
			if v.name == path[0] {
				size = v.size
			}
		}
	} else if path[0] == "principal.groups" {
		size = MaxName
	}
	return &cost.SizeEstimate{Max: size}
}
