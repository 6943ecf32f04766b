package issuer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits on expressions. Cost is counted in CEL's units, about 0.1 µs each.
const (
	maxExpression = 2048    // bytes
	maxCost       = 50_000  // of one expression for one token
	maxAllCost    = 250_000 // of all expressions for one token
	maxRegexp     = 256     // bytes
	variableName  = "claims"
	variableUser  = "user"
)

// An expression is CEL over the claims of a token, or over the user that they
// were mapped to. An error while it is evaluated refuses the token (F-32).
type expression struct {
	text    string
	program cel.Program
	uses    map[string]bool // the fields of claims that it names
}

var environments = sync.OnceValues(func() (map[string]*cel.Env, error) {
	out := map[string]*cel.Env{}
	for _, variable := range []string{variableName, variableUser} {
		env, err := cel.NewEnv(
			cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(64), cel.DefaultUTCTimeZone(true),
			cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
			cel.Variable(variable, cel.MapType(cel.StringType, cel.DynType)))
		if err != nil {
			return nil, err
		}
		out[variable] = env
	}
	return out, nil
})

// compile reads an expression over a variable whose value is one of the types, or
// is known only when it is evaluated.
func compile(variable, text string, allowed ...*cel.Type) (*expression, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("it is %d bytes long; the limit is %d", len(text), maxExpression)
	}
	all, err := environments()
	if err != nil {
		return nil, err
	}
	env := all[variable]
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		e := issues.Errors()[0]
		return nil, fmt.Errorf("it cannot be read, at character %d: %.200s", e.Location.Column()+1, e.Message)
	}
	if out := checked.OutputType(); !out.IsExactType(cel.DynType) && !oneOf(out, allowed) {
		return nil, fmt.Errorf("it gives a %s", out)
	}
	x := &expression{text: text, uses: map[string]bool{}}
	if err := x.inspect(checked.NativeRep()); err != nil {
		return nil, err
	}
	x.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %.200s", err)
	}
	return x, nil
}

func oneOf(t *cel.Type, list []*cel.Type) bool {
	for _, l := range list {
		if t.IsExactType(l) {
			return true
		}
	}
	return false
}

// inspect notes which claims are used, and refuses a regular expression that is
// not written out: it could come from a token.
func (x *expression) inspect(a *ast.AST) error {
	var problem error
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind && of.AsIdent() == variableName {
				x.uses[e.AsSelect().FieldName()] = true
			}
		case ast.CallKind:
			call := e.AsCall()
			args := call.Args()
			for _, arg := range args {
				x.noteIndex(args, arg)
			}
			if call.FunctionName() == overloads.Matches && problem == nil {
				problem = checkRegexp(args)
			}
		}
	}))
	return problem
}

// noteIndex notes claims["x"] and claims[?"x"] and claims.?x, which are calls.
func (x *expression) noteIndex(args []ast.Expr, arg ast.Expr) {
	if args[0].Kind() != ast.IdentKind || args[0].AsIdent() != variableName || arg.Kind() != ast.LiteralKind {
		return
	}
	if key, ok := arg.AsLiteral().(types.String); ok {
		x.uses[string(key)] = true
	}
}

func checkRegexp(args []ast.Expr) error {
	last := args[len(args)-1]
	if last.Kind() == ast.LiteralKind {
		if text, ok := last.AsLiteral().(types.String); ok && len(text) <= maxRegexp {
			if _, err := regexp.Compile(string(text)); err != nil {
				return fmt.Errorf("the regular expression cannot be read: %.200s", err)
			}
			return nil
		}
	}
	return fmt.Errorf("matches needs its regular expression written out, in quotes and in at most %d bytes", maxRegexp)
}

// A budget is what the expressions for one token may still cost.
type budget struct{ left uint64 }

var errCost = errors.New("the rules cost too much for this token")

// eval returns the value of x with its variable as given.
func (x *expression) eval(ctx context.Context, b *budget, variables map[string]any) (any, error) {
	out, details, err := x.program.ContextEval(ctx, variables)
	if details != nil {
		if cost := details.ActualCost(); cost != nil {
			if *cost > b.left {
				return nil, errCost
			}
			b.left -= *cost
		}
	}
	if err != nil {
		return nil, err
	}
	if out == types.NullValue {
		return nil, nil
	}
	return out.Value(), nil
}

// holds reports whether x says true. Anything but a boolean is an error.
func (x *expression) holds(ctx context.Context, b *budget, variables map[string]any) (bool, error) {
	v, err := x.eval(ctx, b, variables)
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, errors.New("it says neither true nor false")
	}
	return yes, nil
}

// listOf returns the elements of a list, and whether v is one or null.
func listOf(v any) ([]any, bool) {
	switch list := v.(type) {
	case nil:
		return nil, true
	case []any:
		return list, true
	case []ref.Val:
		out := make([]any, len(list))
		for i, e := range list {
			out[i] = e.Value()
		}
		return out, true
	}
	return nil, false
}
