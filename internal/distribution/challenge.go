package distribution

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// The reasons of a challenge (RFC 6750, 3.1). A request without a token gets none.
const (
	insufficientScope = "insufficient_scope"
	invalidToken      = "invalid_token"
)

// errNoBearer is a request with credentials of another scheme. It is not
// treated as anonymous: whoever sends credentials wants them to count.
var errNoBearer = errors.New("credentials are no bearer token")

// bearer returns the token in the one Authorization header, or "" without such
// a header (RFC 6750, 2.1; the other places of section 2 do not exist here).
// Errors: errNoBearer, access.ErrInvalidToken.
func bearer(h http.Header) (string, error) {
	lines := h["Authorization"]
	switch len(lines) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", access.ErrInvalidToken // which of them is it?
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", errNoBearer
	case token == "", strings.ContainsAny(token, " ,\t"):
		return "", access.ErrInvalidToken
	}
	return token, nil
}

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
