package issuer

import "fmt"

// SetFixed takes over the definitions of the configured file after it has changed.
// What came of one that is not there any more, or has changed, ends. Nothing is
// taken over if one is wrong or clashes with another one. Errors carry a Hint.
func (s *Set) SetFixed(list []Definition) error {
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
		if err := t.validate(); err != nil {
			return within("issuer "+d.Name, err)
		}
		fixed = append(fixed, t)
	}
	for _, t := range fixed {
		for _, other := range before.byName {
			if !other.fixed && (other.definition.Name == t.definition.Name || other.url() == t.url()) {
				c := &clash{fmt.Sprintf("there is another issuer with the name %s or the URL %s", t.definition.Name, t.url())}
				return invalid("issuer "+t.definition.Name, c.Hint(), "%v", c)
			}
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
	return nil
}
