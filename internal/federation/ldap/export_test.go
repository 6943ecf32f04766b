package ldap

import "time"

// LeftAlone returns for how long a server is asked by nobody, each time that so many
// ask it at the same moment and get no answer.
func LeftAlone(together, times int) []time.Duration {
	s, now := &server{}, time.Now()
	var out []time.Duration
	for range times {
		s.may(now)
		for range together {
			s.failed(now)
		}
		out = append(out, s.until.Sub(now))
		now = s.until
	}
	return out
}

// LoginFilter returns the filter for a name that somebody typed.
func (d *Directory) LoginFilter(name string) string { return d.loginFilter(name) }

// SubjectFilter returns the filter for a subject.
func (d *Directory) SubjectFilter(subject string) (string, bool) { return d.subjectFilter(subject) }

// MemberFilter returns the filter for the groups of a member.
func (d *Directory) MemberFilter(member string) string {
	return d.d.memberFilter([]string{member}, "")
}

// GUIDs are the two forms of one.
func GUIDs(s string) (raw []byte, again string, ok bool) {
	if raw, ok = parseGUID(s); ok {
		again = formatGUID(raw)
	}
	return raw, again, ok
}
