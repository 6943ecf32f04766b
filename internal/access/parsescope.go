package access

import (
	"fmt"
	"slices"
	"strings"
)

// Limits on what one token request may ask for.
const (
	MaxScopeResources = 50       // resources
	MaxScopeActions   = 20       // actions on one resource
	maxScopeEntry     = 4 << 10  // bytes of one resource with its actions
	maxScopeBytes     = 16 << 10 // bytes of all scope parameters
)

// ParseScopes reads the scope parameters of a token request: any number of
// them, each with any number of scopes separated by spaces. Actions that are
// asked for twice, or on a resource that comes twice, are united.
//
//	type ["(" class ")"] ":" name ":" action *("," action)
//
// The first colon ends the type and the last begins the actions, since a name
// may hold "host:port" (docker's scope.md). What is outside the grammar is left
// out, and what no policy gives is kept and given nothing: neither is an error.
// An error means that a limit is passed or a control character is in it; its
// text is fit for the client.
func ParseScopes(params []string) (Scope, error) {
	total := 0
	var s Scope
	at := make(map[Resource]int)
	for _, param := range params {
		if total += len(param); total > maxScopeBytes {
			return Scope{}, fmt.Errorf("scope: more than %d bytes in all", maxScopeBytes)
		}
		if i := strings.IndexFunc(param, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
			return Scope{}, fmt.Errorf("scope: control character at byte %d", i)
		}
		for text := range strings.SplitSeq(param, " ") {
			if len(text) > maxScopeEntry {
				return Scope{}, fmt.Errorf("scope: more than %d bytes for one resource", maxScopeEntry)
			}
			if r, actions, ok := cutScope(text); ok {
				if err := s.add(at, r, actions); err != nil {
					return Scope{}, err
				}
			}
		}
	}
	return s, nil
}

// cutScope takes one scope apart; ok is false outside the grammar.
func cutScope(text string) (r Resource, actions string, ok bool) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first <= 0 || last <= first+1 {
		return Resource{}, "", false
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c > '~' }) {
		return Resource{}, "", false
	}
	return Resource{Type: text[:first], Name: text[first+1 : last]}, text[last+1:], true
}

// add unites actions with those already asked for on r; at says where r is.
func (s *Scope) add(at map[Resource]int, r Resource, actions string) error {
	i, known := at[r]
	for a := range strings.SplitSeq(actions, ",") {
		switch {
		case a == "":
			continue
		case !known && len(s.entries) == MaxScopeResources:
			return fmt.Errorf("scope: more than %d resources", MaxScopeResources)
		case !known:
			i, known = len(s.entries), true
			at[r] = i
			s.entries = append(s.entries, ScopeEntry{Resource: r})
		}
		e := &s.entries[i]
		if slices.Contains(e.Actions, a) {
			continue
		}
		if len(e.Actions) == MaxScopeActions {
			return fmt.Errorf("scope: more than %d actions on one resource", MaxScopeActions)
		}
		e.Actions = append(e.Actions, a)
	}
	return nil
}

// String writes s in the grammar that ParseScopes reads: parsing it gives s.
func (s Scope) String() string {
	var parts []string
	for _, e := range s.entries {
		parts = append(parts, e.Resource.String()+":"+strings.Join(e.Actions, ","))
	}
	return strings.Join(parts, " ")
}
