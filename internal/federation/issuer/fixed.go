package issuer

import (
	"context"
	"fmt"
)

// SetFixed takes over the definitions of the configured file after it has changed.
// What came of one that is not there any more, or has changed, ends. Nothing is
// taken over if one is wrong or clashes with another one: errors carry a Hint, and
// later is whether the same list may be taken over another time.
func (s *Set) SetFixed(ctx context.Context, list []Definition) (later bool, err error) {
	if _, err := s.load(ctx); err != nil { // what was removed just now clashes with nothing
		return true, err
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	before := s.snapshot.Load()
	var fixed []*trusted
	for _, d := range list {
		if old := before.byName[d.Name]; old != nil && old.fixed && old.problem == nil && old.revision == d.Revision() {
			fixed = append(fixed, old) // with its keys
			continue
		}
		t := s.trust(d)
		t.fixed = true
		fixed = append(fixed, t)
	}
	for _, t := range fixed {
		for _, other := range before.byName {
			if !other.fixed && (other.definition.Name == t.definition.Name || other.url() == t.url()) {
				return true, &clash{fmt.Sprintf("issuer %s: there is another issuer with this name or the URL %s", t.definition.Name, t.url())}
			}
		}
	}
	for _, t := range fixed {
		if err := t.validate(); err != nil {
			return false, within("issuer "+t.definition.Name, err)
		}
	}
	var stored []Stored
	for _, name := range before.names() {
		if t := before.byName[name]; !t.fixed {
			stored = append(stored, t.stored)
		}
	}
	s.fixed = fixed
	s.snapshot.Store(s.assemble(before.generation, before, stored))
	return false, nil
}
