package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxNarrowing bounds the patterns, and the networks, of one narrowing.
const MaxNarrowing = 100

// A Narrowing says what of its owner's rights a credential keeps. It never
// gives any. The zero value, and an empty field, narrow nothing. Make one with
// NewNarrowing or from JSON and do not change it afterwards.
type Narrowing struct {
	Repositories []string       `json:"repositories,omitempty"` // patterns, as in a policy
	Actions      []Action       `json:"actions,omitempty"`
	Networks     []netip.Prefix `json:"networks,omitempty"` // of the client

	// repositories are the patterns ready for use. nil in a value that was
	// written by hand: they are then read at each check.
	repositories *patternSet
}

// NewNarrowing checks and reads a narrowing. The text of an error is fit for
// the client.
func NewNarrowing(repositories, actions, networks []string) (Narrowing, error) {
	n := Narrowing{Repositories: slices.Clone(repositories)}
	for _, a := range actions {
		n.Actions = append(n.Actions, Action(a))
	}
	for _, text := range networks {
		prefix, err := parseNetwork(text)
		if err != nil {
			n.Networks = []netip.Prefix{{}} // which holds no address
			return n, err
		}
		n.Networks = append(n.Networks, prefix)
	}
	return n.Checked()
}

// Checked returns n ready for use: for one that was written by hand. Errors: as
// NewNarrowing.
func (n Narrowing) Checked() (Narrowing, error) {
	err := n.compile()
	return n, err
}

// parseNetwork reads "10.0.0.0/8", or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if addr, notAddr := netip.ParseAddr(text); notAddr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("network %.80q: write an address or a network such as 10.0.0.0/8", text)
	}
	return prefix, checkNetwork(prefix)
}

// checkNetwork refuses a network that is not written as it is compared.
func checkNetwork(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("network is not valid: write an address or a network such as 10.0.0.0/8")
	case p.Addr().Is4In6():
		return fmt.Errorf("network %s: write an IPv4 network as such", p)
	case p != p.Masked():
		return fmt.Errorf("network %s has bits of a host: write %s", p, p.Masked())
	}
	return nil
}

// compile checks n and gets its patterns ready. After an error n allows nothing.
func (n *Narrowing) compile() error {
	set, err := n.readRepositories()
	n.repositories = &set
	if err != nil {
		return err
	}
	for _, a := range n.Actions {
		if setOf(a) == 0 {
			return fmt.Errorf("action %.40q is unknown: use %s", a, knownActions)
		}
	}
	if len(n.Networks) > MaxNarrowing {
		return fmt.Errorf("%d networks: the limit is %d", len(n.Networks), MaxNarrowing)
	}
	for _, p := range n.Networks {
		if err := checkNetwork(p); err != nil {
			return err
		}
	}
	return nil
}

func (n *Narrowing) readRepositories() (patternSet, error) {
	if len(n.Repositories) > MaxNarrowing {
		return patternSet{}, fmt.Errorf("%d repository patterns: the limit is %d", len(n.Repositories), MaxNarrowing)
	}
	var patterns []pattern
	for _, text := range n.Repositories {
		p, err := parsePattern(text)
		if err != nil {
			return patternSet{}, err
		}
		patterns = append(patterns, p)
	}
	return newPatternSet(patterns), nil
}

// UnmarshalJSON refuses what NewNarrowing refuses, and unknown fields: one
// that is passed over would widen what a credential may do.
func (n *Narrowing) UnmarshalJSON(b []byte) error {
	type plain Narrowing
	var read plain
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&read); err != nil {
		return fmt.Errorf("read narrowing: %w", err)
	}
	*n = Narrowing(read)
	if n.IsZero() {
		return nil
	}
	if err := n.compile(); err != nil {
		return fmt.Errorf("read narrowing: %w", err)
	}
	return nil
}

// String says what n keeps, for people.
func (n Narrowing) String() string {
	var parts []string
	add := func(what string, of []string) {
		if len(of) > 0 {
			parts = append(parts, what+" "+strings.Join(of, ", "))
		}
	}
	var actions, networks []string
	for _, a := range n.Actions {
		actions = append(actions, string(a))
	}
	for _, p := range n.Networks {
		networks = append(networks, p.String())
	}
	add("repositories", n.Repositories)
	add("actions", actions)
	add("networks", networks)
	return strings.Join(parts, "; ")
}

// IsZero reports whether n narrows nothing.
func (n Narrowing) IsZero() bool {
	return len(n.Repositories) == 0 && len(n.Actions) == 0 && len(n.Networks) == 0
}

// Equal reports whether n and other say the same in the same order.
func (n Narrowing) Equal(other Narrowing) bool {
	return slices.Equal(n.Repositories, other.Repositories) && slices.Equal(n.Actions, other.Actions) &&
		slices.Equal(n.Networks, other.Networks)
}

// AllowsFrom reports whether the credential may be used from address. An
// address that is not known is in no network.
func (n Narrowing) AllowsFrom(address netip.Addr) bool {
	if len(n.Networks) == 0 {
		return true
	}
	return slices.ContainsFunc(n.Networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

// Allows reports whether n leaves the right to do a on a name, as in a Query,
// to one who comes from there. Push is left when CreateTag or MoveTag is, Admin
// when all administrative rights are. These a narrowed credential has only when
// its actions say so.
func (n Narrowing) Allows(a Action, name string, from Origin) bool {
	if n.IsZero() {
		return true
	}
	return n.AllowsFrom(from.Address) && n.leaves(a) && n.covers(name)
}

func (n Narrowing) leaves(a Action) bool {
	asked, left := setOf(a), n.left()
	if a == Push {
		return left&asked != 0
	}
	return asked != 0 && left&asked == asked
}

// left returns the actions that a narrowing leaves: the administrative ones only
// when it says so.
func (n Narrowing) left() (left actionSet) {
	if len(n.Actions) == 0 {
		return ^bitsAdmin
	}
	for _, kept := range n.Actions {
		left |= setOf(kept)
	}
	return left
}

func (n Narrowing) covers(name string) bool {
	switch {
	case len(n.Repositories) == 0:
		return true
	case name == "":
		return slices.Contains(n.Repositories, anySegments)
	}
	return n.patterns().matches(name)
}

// patterns returns the patterns of n, and none when one of them is no pattern.
func (n Narrowing) patterns() *patternSet {
	if n.repositories != nil {
		return n.repositories
	}
	set, err := n.readRepositories()
	if err != nil {
		return &patternSet{}
	}
	return &set
}

// pullPrefixes is as Policy.pullPrefixes.
func (n Narrowing) pullPrefixes() []string {
	switch {
	case !n.leaves(Pull):
		return nil
	case len(n.Repositories) == 0:
		return []string{""}
	}
	return n.patterns().literals()
}
