package access_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// manyRules writes n rules with what each makes of its number.
func manyRules(n int, each func(i int) string) string {
	var b strings.Builder
	b.WriteString("version: 2\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {name: r%d, %s}\n", i, each(i))
	}
	return b.String()
}

// Shapes of large policies, and a request that one rule of each allows.
var shapes = []struct {
	name string
	rule func(i int) string
}{
	{"one group, other trees", func(i int) string {
		return fmt.Sprintf(`subjects: ["group:b"], repositories: ["team-%d/**"], actions: [pull]`, i)
	}},
	{"one group, other globs", func(i int) string {
		return fmt.Sprintf(`subjects: ["group:b"], repositories: ["team-%d*/*/x"], actions: [pull]`, i)
	}},
	{"one group, other ends", func(i int) string {
		return fmt.Sprintf(`subjects: ["group:b"], repositories: ["**/x-%d"], actions: [pull]`, i)
	}},
	{"other subjects", func(i int) string {
		return fmt.Sprintf(`subjects: ["user:u%d"], repositories: ["**"], actions: [pull]`, i)
	}},
	{"other claims", func(i int) string {
		return fmt.Sprintf(`subjects: [{issuer: idp, claims: {repo: "o/%d"}}], repositories: ["**"], actions: [pull]`, i)
	}},
	{"one group, other trees, conditions", func(i int) string {
		return fmt.Sprintf(`subjects: ["group:b"], repositories: ["team-%d/*"], actions: [pull], when: 'repository!="%d"'`, i, i%100)
	}},
}

// BenchmarkDecide: rules that cannot match cost nothing.
func BenchmarkDecide(b *testing.B) {
	for _, shape := range shapes {
		for _, n := range []int{10, 1000, access.MaxPolicyRules} {
			pol := policy(b, manyRules(n, shape.rule))
			last := n - 1
			q := access.Query{
				Principal: user(fmt.Sprintf("u%d", last), "a", "b"), Action: access.Pull, Name: fmt.Sprintf("team-%d/a/x", last),
				Origin: access.Origin{Address: netip.MustParseAddr("10.0.0.1")},
			}
			switch {
			case strings.HasSuffix(shape.name, "conditions"):
				q.Name = fmt.Sprintf("team-%d/a", last)
			case strings.HasSuffix(shape.name, "ends"):
				q.Name = fmt.Sprintf("team/a/x-%d", last)
			case strings.HasSuffix(shape.name, "claims"):
				q.Principal = access.ExternalPrincipal("idp", "x", map[string]string{"repo": fmt.Sprintf("o/%d", last)})
			}
			if !pol.Decide(q).Allowed {
				b.Fatalf("%s: %s is not allowed", shape.name, q.Name)
			}
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					pol.Decide(q)
				}
			})
		}
	}
}
