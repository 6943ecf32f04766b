package access

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Narrow returns n narrowed further to to. What to does not mention stays as it
// is. Errors, fit for the client, when to would leave more than n does, or when
// that cannot be ruled out: every pattern of to must lie within one of n.
func (n Narrowing) Narrow(to Narrowing) (Narrowing, error) {
	out := Narrowing{Repositories: n.Repositories, Actions: n.Actions, Networks: n.Networks}
	if len(to.Repositories) > 0 {
		out.Repositories = to.Repositories
		if err := n.coversRepositories(to.Repositories); err != nil {
			return Narrowing{}, err
		}
	}
	if len(to.Actions) > 0 {
		out.Actions = to.Actions
		for _, a := range to.Actions {
			if !n.IsZero() && setOf(a)&^n.left() != 0 {
				return Narrowing{}, fmt.Errorf("action %q would widen the credential, which is narrowed to %s", a, cmp.Or(join(n.Actions), "less"))
			}
		}
	}
	if len(to.Networks) > 0 {
		out.Networks = to.Networks
		for _, p := range to.Networks {
			within := func(outer netip.Prefix) bool { return outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) }
			if len(n.Networks) > 0 && !slices.ContainsFunc(n.Networks, within) {
				return Narrowing{}, fmt.Errorf("network %s would widen the credential, which is narrowed to others", p)
			}
		}
	}
	return out.Checked()
}

func (n Narrowing) coversRepositories(patterns []string) error {
	if len(n.Repositories) == 0 {
		return nil
	}
	for _, text := range patterns {
		inner, err := parsePattern(text)
		if err != nil {
			return err
		}
		covered := false
		for _, given := range n.Repositories {
			outer, err := parsePattern(given)
			covered = covered || err == nil && outer.covers(inner)
		}
		if !covered {
			return fmt.Errorf("pattern %q would widen the credential, which is narrowed to %s", text, strings.Join(n.Repositories, ", "))
		}
	}
	return nil
}

func join(as []Action) string {
	var words []string
	for _, a := range as {
		words = append(words, string(a))
	}
	return strings.Join(words, ", ")
}

// covers reports whether p is seen to match every name that q matches. It reads
// the segments of q as if they were a name: a star of q is taken by a star of p
// or by nothing, and "**" by "**". It may miss a cover, and never sees one that
// is not there.
func (p pattern) covers(q pattern) bool {
	outer, inner := p.parts(), q.parts()
	// fits[i] says whether the segments of p so far cover the first i of q.
	fits := make([]bool, len(inner)+1)
	fits[0] = true
	for _, o := range outer {
		next := make([]bool, len(fits))
		for i := range next {
			switch {
			case o == anySegments:
				next[i] = fits[i] || i > 0 && next[i-1]
			case i > 0 && inner[i-1] != anySegments:
				next[i] = fits[i-1] && matchSegment(o, inner[i-1])
			}
		}
		fits = next
	}
	return fits[len(inner)]
}

// parts returns the segments of p, also of a whole name.
func (p pattern) parts() []string {
	if p.segments == nil {
		return strings.Split(p.text, "/")
	}
	return p.segments
}
