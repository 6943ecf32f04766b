package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits on conditions. Cost is counted in CEL's units, about 0.1 µs each; what
// a condition can cost is estimated when the policy is read.
const (
	MaxConditions    = 1000      // different ones in a policy
	MaxConditionSize = 1024      // bytes
	maxConditions    = 128 << 10 // bytes of the different ones together: reading them takes up to 6 µs a byte
	maxConditionCost = 25_000
	maxPolicyCost    = 250_000 // of all conditions together: no decision costs more
)

// A condition is a "when", compiled once. It is an expression of CEL
// (https://cel.dev) over the variables of conditionVariables. An error while it
// is evaluated is neither yes nor no: a rule then gives nothing, a protection
// takes away.
type condition struct {
	text    string
	number  int // among the different conditions of the policy
	uses    []string
	cost    uint64
	regexps []*expression
	program cel.Program
}

// dependsOn reports whether c uses a variable.
func (c *condition) dependsOn(variable string) bool {
	return c != nil && slices.Contains(c.uses, variable)
}

const (
	variableTag    = "tag"
	variableName   = "repository"
	variableMethod = "principal.method"
)

// conditionVariables are what a condition can look at, and the largest size
// that its cost is estimated with: characters, or elements for groups and claims.
var conditionVariables = []struct {
	name string
	of   *cel.Type
	size uint64
}{
	{"principal.name", cel.StringType, maxOutsiderText},
	{"principal.kind", cel.StringType, 16},
	{"principal.issuer", cel.StringType, maxOutsiderText},
	{"principal.groups", cel.ListType(cel.StringType), 1000},
	{variableMethod, cel.StringType, 16},
	{"claims", cel.MapType(cel.StringType, cel.StringType), 64},
	{variableName, cel.StringType, 256},
	{variableTag, cel.StringType, 128},
	{"action", cel.StringType, 16},
	{"client.address", cel.StringType, 64},
	{"client.tls", cel.BoolType, 1},
	{"now", cel.TimestampType, 1},
}

// environment is what conditions are compiled in.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(MaxConditionSize),
		cel.ParserRecursionLimit(64),
		cel.DefaultUTCTimeZone(true),
		cel.Function("inNetwork", cel.Overload("in_network", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(inNetwork))),
	}
	for _, v := range conditionVariables {
		options = append(options, cel.Variable(v.name, v.of))
	}
	return cel.NewEnv(options...)
})

// inNetwork reports whether an address is in a network. An address that is not
// known is an error, so that !inNetwork(…) does not hold for it either.
func inNetwork(address, network ref.Val) ref.Val {
	a, err := netip.ParseAddr(string(address.(types.String)))
	if err != nil {
		return types.NewErr("the client's address is not known")
	}
	n, err := netip.ParsePrefix(string(network.(types.String)))
	if err != nil {
		return types.NewErr("%q is no network", network)
	}
	return types.Bool(n.Contains(a))
}

// compileCondition reads a condition, whose regular expressions are counted with
// others of its policy. The text of an error is fit for the client.
func compileCondition(text string, others *expressions) (*condition, error) {
	if len(text) > MaxConditionSize {
		return nil, fmt.Errorf("the condition is %d bytes long; the limit is %d", len(text), MaxConditionSize)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		e := issues.Errors()[0]
		return nil, fmt.Errorf("the condition cannot be read, at character %d: %s (variables: %s)",
			e.Location.Column()+1, e.Message, strings.Join(variableNames(), ", "))
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("the condition gives a %s: compare it with something, so that it says true or false", t)
	}
	c := &condition{text: text, uses: variablesIn(checked.NativeRep())}
	if c.regexps, err = checkCalls(checked.NativeRep(), others); err != nil {
		return nil, err
	}
	cost, err := env.EstimateCost(checked, sizes{others})
	if err != nil {
		return nil, fmt.Errorf("the cost of the condition cannot be estimated: %w", err)
	}
	if c.cost = cost.Max; c.cost > maxConditionCost {
		return nil, fmt.Errorf("the condition can cost %d, the limit is %d: write it without loops inside loops, and with short regular expressions", c.cost, maxConditionCost)
	}
	c.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval), cel.CostLimit(maxConditionCost),
		cel.OptimizeRegex(others.optimizations()...))
	if err != nil {
		return nil, fmt.Errorf("the condition cannot be read: %w", err)
	}
	return c, nil
}

func variableNames() []string {
	var out []string
	for _, v := range conditionVariables {
		out = append(out, v.name)
	}
	return out
}

// variablesIn returns the variables that the expression uses, sorted.
func variablesIn(a *ast.AST) []string {
	var out []string
	for _, r := range a.ReferenceMap() {
		if slices.Contains(variableNames(), r.Name) {
			out = append(out, r.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkCalls refuses a regular expression that is not written out, since it
// could come from a claim, and a network that is none. It returns the regular
// expressions, which are counted with others.
func checkCalls(a *ast.AST, others *expressions) ([]*expression, error) {
	var found []*expression
	var problem error
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || problem != nil {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if len(args) == 0 {
			return
		}
		last, literal := writtenOut(args[len(args)-1])
		switch call.FunctionName() {
		case overloads.Matches:
			var x *expression
			if !literal {
				problem = fmt.Errorf("matches needs its regular expression written out, in quotes")
			} else if x, problem = others.compile(last); problem == nil {
				found = append(found, x)
			}
		case "inNetwork":
			if !literal {
				problem = fmt.Errorf("inNetwork needs its network written out, as in inNetwork(client.address, \"10.0.0.0/8\")")
			} else if p, err := netip.ParsePrefix(last); err != nil {
				problem = fmt.Errorf("%.80q is no network: write it as in inNetwork(client.address, \"10.0.0.0/8\")", last)
			} else {
				problem = checkNetwork(p)
			}
		}
	}))
	return found, problem
}

// writtenOut returns the text of a literal.
func writtenOut(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}
