package distribution

import "strings"

// The reasons of a challenge (RFC 6750, 3.1). A request without a token gets none.
const (
	insufficientScope = "insufficient_scope"
	invalidToken      = "invalid_token"
)

// challenge writes the one challenge of an answer (RFC 9110, 11.6.1):
//
//	Bearer realm="https://r/token",service="r",scope="repository:a:pull,push",error="insufficient_scope"
//
// There is never another beside it: some clients mix up two.
func challenge(realm, service, scope, reason string) string {
	var b strings.Builder
	b.WriteString("Bearer realm=")
	quote(&b, realm)
	b.WriteString(",service=")
	quote(&b, service)
	if scope != "" {
		b.WriteString(",scope=")
		quote(&b, scope)
	}
	if reason != "" {
		b.WriteString(",error=")
		quote(&b, reason)
	}
	return b.String()
}

// quote writes s as a quoted-string (RFC 9110, 5.6.4). Control bytes, which
// cannot be in one, are left out.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}
