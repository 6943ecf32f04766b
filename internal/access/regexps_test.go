package access_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// conditional returns a policy document with a rule for each condition.
func conditional(conditions ...string) []byte {
	var b strings.Builder
	b.WriteString("version: 2\nrules:\n")
	for i, when := range conditions {
		fmt.Fprintf(&b, "- {name: r%d, subjects: [everyone], repositories: [\"**\"], actions: [push], when: %q}\n", i, when)
	}
	return []byte(b.String())
}

// many joins n expressions that each makes of its number.
func many(n int, each func(i int) string) string {
	var out []string
	for i := range n {
		out = append(out, each(i))
	}
	return strings.Join(out, "||")
}

// S-11: what the regular expressions of a policy take together is bounded,
// whoever may write but a part of it.
func TestRegexpsTogether(t *testing.T) {
	var large, small, classes, repeated, first []string
	for i := range 300 {
		large = append(large, many(26, func(j int) string { return fmt.Sprintf(`action.matches("(a{1,30}){1,30}x%d")`, i*100+j) }))
		classes = append(classes, fmt.Sprintf(`action.matches("x%d%s")`, i, strings.Repeat(`\\pL`, 230)))
		first = append(first, fmt.Sprintf(`action.matches("(a{1,10}){1,9}x%d")`, i))
		repeated = append(repeated, fmt.Sprintf(`action == "%d" || action.matches("(a{1,10}){1,9}")`, i))
	}
	for i := range 1000 {
		small = append(small, many(10, func(j int) string { return fmt.Sprintf(`action.matches("%d")`, i*10+j) }))
	}
	for _, c := range []struct {
		name       string
		conditions []string
		want       string // "" for what is taken
		problems   int
	}{
		{"one too large", large, "takes 3726 instructions; the limit is 1000", access.MaxPolicyProblems},
		{"classes of characters", classes, "instructions; the limit is 1000", access.MaxPolicyProblems},
		{"large together", first, "are too many or too large", 1},
		{"too many", small, "are too many or too large", 1},
		{"one that many conditions share", repeated, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			_, err := access.ParsePolicy(conditional(c.conditions...))
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if c.want == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %.300v, want %q", err, c.want)
			}
			if n := len(err.(*access.PolicyError).Problems); c.want == "" || n != c.problems {
				t.Errorf("%d problems, want %d: %.300v", n, c.problems, err)
			}
		})
	}
}

// After the conditions take too much no more of them are compiled, and a problem
// elsewhere is still told.
func TestConditionsTogether(t *testing.T) {
	var conditions []string
	for i := range 400 {
		conditions = append(conditions, fmt.Sprintf(`claims.a%d.matches("^[a-z]{1,20}$") && claims.b.contains(claims.c)`, i))
	}
	conditions = append(conditions, `tag ==`)
	refusedTogether(t, conditions, "all together can cost")
	conditions = nil
	for i := range 400 {
		conditions = append(conditions, many(100, func(int) string { return "true" })+fmt.Sprintf("||tag == %q", fmt.Sprint(i)))
	}
	refusedTogether(t, append(conditions, `tag ==`), "the limit of all together is 131072 bytes")
}

func refusedTogether(t *testing.T, conditions []string, want string) {
	t.Helper()
	_, err := access.ParsePolicy(append(conditional(conditions...), "more: x\n"...))
	bad, ok := err.(*access.PolicyError)
	if !ok || len(bad.Problems) != 2 || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("%v", err)
	}
}

// The cost of a condition counts what its regular expressions make of a text.
func TestRegexpCost(t *testing.T) {
	for _, c := range []struct {
		when string
		ok   bool
	}{
		{`tag.matches("^[0-9]+-[0-9a-f]{7}$")`, true},
		{`claims.ref.matches("^refs/(heads|tags)/[A-Za-z0-9._-]{1,64}$")`, true},
		{`tag.matches("(a{1,14}){1,14}")`, true},
		{`claims.ref.matches("(a{1,14}){1,14}")`, true},
		{`(claims.ref + claims.ref).matches("(a{1,14}){1,14}")`, false},
		{`(claims.ref + claims.ref).matches("(a{1,10}){1,10}")`, true},
		{`matches(claims.ref + claims.ref, "(a{1,14}){1,14}")`, false},
	} {
		_, err := access.ParsePolicy(conditional(c.when))
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "the condition can cost") {
			t.Errorf("%s: %v", c.when, err)
		}
	}
}

// Next takes what the policy before has compiled, counts it, and decides the same.
func TestPolicyNext(t *testing.T) {
	when := `tag.matches("^v[0-9]+$") && principal.name == "alice"`
	one := policy(t, string(conditional(`tag == "x"`, when)))
	next, err := one.Next(conditional(when, `tag == "y"`))
	if err != nil {
		t.Fatal(err)
	}
	for _, pol := range []*access.Policy{one, next} {
		for tag, want := range map[string]bool{"v1": true, "w1": false, "x": pol == one, "y": pol == next} {
			q := access.Query{Principal: user("alice"), Action: access.CreateTag, Name: "a"}
			q.Tag = oci.Tag(tag)
			if got := pol.Decide(q).Allowed; got != want {
				t.Errorf("tag %s: %t", tag, got)
			}
		}
	}
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf(`action.matches("(a{1,10}){1,8}x%d")`, i))
	}
	many := policy(t, string(conditional(all...)))
	if _, err := many.Next(conditional(append(all, all[0]+" && true")...)); err != nil {
		t.Errorf("a condition more with the same expression: %v", err)
	}
	for i := range 300 {
		all = append(all, fmt.Sprintf(`action.matches("(a{1,10}){1,8}y%d")`, i))
	}
	if _, err := many.Next(conditional(all...)); err == nil || !strings.Contains(err.Error(), "too many or too large") {
		t.Errorf("beyond the limit by what was there: %.200v", err)
	}
}
