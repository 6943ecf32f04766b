package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/oci"
)

// MaxNarrowing bounds the patterns of one narrowing.
const MaxNarrowing = 100

// A Narrowing says what of its owner's rights a credential keeps. It never
// gives any. The zero value, and an empty field, narrow nothing. Make one with
// NewNarrowing or from JSON and do not change it afterwards.
type Narrowing struct {
	Repositories []string `json:"repositories,omitempty"` // patterns, as in a policy
	Actions      []Action `json:"actions,omitempty"`

	// repositories are the patterns ready for use. nil in a value that was
	// written by hand: they are then read at each check.
	repositories *patternSet
}

// NewNarrowing checks and reads a narrowing. The text of an error is fit for
// the client.
func NewNarrowing(repositories, actions []string) (Narrowing, error) {
	n := Narrowing{Repositories: slices.Clone(repositories)}
	for _, a := range actions {
		n.Actions = append(n.Actions, Action(a))
	}
	return n, n.compile()
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
			return fmt.Errorf("action %.40q is unknown: use pull, push, delete or admin", a)
		}
		if a == Admin && len(n.Repositories) > 0 {
			return fmt.Errorf("admin is a right on the whole registry: it cannot be narrowed to repositories")
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

// IsZero reports whether n narrows nothing.
func (n Narrowing) IsZero() bool { return len(n.Repositories) == 0 && len(n.Actions) == 0 }

// Equal reports whether n and other say the same in the same order.
func (n Narrowing) Equal(other Narrowing) bool {
	return slices.Equal(n.Repositories, other.Repositories) && slices.Equal(n.Actions, other.Actions)
}

// Allows reports whether n leaves the right to do a on repo.
func (n Narrowing) Allows(a Action, repo oci.RepoName) bool {
	if a == Admin || len(n.Actions) > 0 && !slices.Contains(n.Actions, a) {
		return false
	}
	if len(n.Repositories) == 0 {
		return true
	}
	set := n.patterns()
	return set.matches(string(repo))
}

// AllowsAdmin reports whether n leaves the administrative right: a narrowed
// credential has it only when its actions say so.
func (n Narrowing) AllowsAdmin() bool {
	return n.IsZero() || len(n.Repositories) == 0 && slices.Contains(n.Actions, Admin)
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
	case len(n.Actions) > 0 && !slices.Contains(n.Actions, Pull):
		return nil
	case len(n.Repositories) == 0:
		return []string{""}
	}
	return n.patterns().literals()
}
