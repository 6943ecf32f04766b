package access

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits on the regular expressions of a policy. A few characters can ask for a
// program of any size, as "(a{1,1000}){1,1000}" does, so that sizes are counted
// before anything is compiled. An instruction takes about 100 bytes.
const (
	maxRegexp      = 1000   // instructions of one
	maxRegexps     = 50_000 // of all the different ones of a policy together
	maxRegexpCount = 1000   // different ones in a policy
)

// An expression is a regular expression, compiled once for all the conditions of
// a policy, and of the one before, that have it.
type expression struct {
	text    string
	size    int // instructions
	program *regexp.Regexp
}

// expressions are the different ones of a policy, by their text.
type expressions struct {
	all  map[string]*expression
	size int
}

// take counts x among them.
func (xs *expressions) take(x *expression) error {
	if xs.all[x.text] != nil {
		return nil
	}
	if xs.size += x.size; xs.size > maxRegexps || len(xs.all) == maxRegexpCount {
		return errTooMuch{fmt.Sprintf("with this condition the regular expressions of the policy are too many or too large: "+
			"the limit is %d different ones with %d instructions together", maxRegexpCount, maxRegexps)}
	}
	if xs.all == nil {
		xs.all = make(map[string]*expression)
	}
	xs.all[x.text] = x
	return nil
}

// compile returns the expression of that text, and counts it.
func (xs *expressions) compile(text string) (*expression, error) {
	if x := xs.all[text]; x != nil {
		return x, nil
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the regular expression %.80q cannot be read: %w", text, err)
	}
	x := &expression{text: text, size: programSize(parsed)}
	if x.size > maxRegexp {
		return nil, fmt.Errorf("the regular expression %.80q takes %d instructions; the limit is %d: repeat less, and not what is repeated", text, x.size, maxRegexp)
	}
	if err := xs.take(x); err != nil {
		return nil, err
	}
	if x.program, err = regexp.Compile(text); err != nil {
		return nil, fmt.Errorf("the regular expression %.80q cannot be read: %w", text, err)
	}
	return x, nil
}

// programSize bounds the instructions of an expression. A class of characters
// counts by the ranges that it has.
func programSize(re *syntax.Regexp) int {
	size := 1
	switch re.Op {
	case syntax.OpLiteral:
		return size + len(re.Rune)
	case syntax.OpCharClass:
		return size + len(re.Rune)/8
	}
	for _, sub := range re.Sub {
		size += 1 + programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		// syntax.Parse has bounded the product of repetitions inside repetitions.
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// optimizations let "matches" use what was compiled.
func (xs *expressions) optimizations() []*interpreter.RegexOptimization {
	matching := func(overload string) *interpreter.RegexOptimization {
		return &interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overload, RegexIndex: 1, Factory: xs.matches}
	}
	return []*interpreter.RegexOptimization{matching(overloads.Matches), matching(overloads.MatchesString)}
}

func (xs *expressions) matches(call interpreter.InterpretableCall, text string) (interpreter.InterpretableCall, error) {
	x, err := xs.compile(text)
	if err != nil {
		return nil, err
	}
	program := x.program
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		if len(args) == 2 {
			if s, ok := args[0].(types.String); ok {
				return types.Bool(program.MatchString(string(s)))
			}
		}
		return types.NoSuchOverloadErr()
	}), nil
}

// An errTooMuch says that a policy asks for more than all its conditions may
// take together. Nothing more of it is compiled.
type errTooMuch struct{ text string }

func (e errTooMuch) Error() string { return e.text }
