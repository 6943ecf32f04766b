package issuer

import "time"

// Stats says how an issuer's keys are kept.
type Stats struct {
	Name     string
	Fetched  time.Time // when the keys that are used came; zero: never
	Failures int       // to fetch them, in a row
}

// Stats returns those of the issuers that were trusted at the last look, by name,
// at most limit.
func (s *Set) Stats(limit int) []Stats {
	all := s.snapshot.Load()
	var out []Stats
	for _, name := range all.names() {
		if len(out) == limit {
			break
		}
		k := all.byName[name].keys
		k.mu.Lock()
		out = append(out, Stats{name, k.fetched, k.failures})
		k.mu.Unlock()
	}
	return out
}
