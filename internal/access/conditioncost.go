package access

import "cel.dev/cel-go/common/cost"

// sizes tells the estimate of a condition's cost how large its variables get.
type sizes struct{}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
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
