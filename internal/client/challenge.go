package client

import (
	"errors"
	"strings"
)

// A Challenge is what a server wants to see before it answers: the parameters
// of a Bearer challenge (RFC 9110, 11.6.1; docker's token spec).
type Challenge struct{ Realm, Service, Scope, Error string }

var errNoChallenge = errors.New("the server does not ask for a bearer token: is it a Sallyport?")

// ParseChallenge reads the value of a WWW-Authenticate header that holds one
// Bearer challenge. Parameters it does not know are skipped; one that is given
// twice is an error.
func ParseChallenge(s string) (Challenge, error) {
	scheme, rest, _ := strings.Cut(strings.Trim(s, " \t"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Challenge{}, errNoChallenge
	}
	seen := map[string]string{}
	for rest = strings.TrimLeft(rest, " \t"); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if !ok || !isToken(name) {
			return Challenge{}, errNoChallenge
		}
		value, after, ok := cutValue(strings.TrimLeft(after, " \t"))
		if _, twice := seen[name]; !ok || twice {
			return Challenge{}, errNoChallenge
		}
		seen[name] = value
		if rest = strings.TrimLeft(after, " \t"); rest == "" {
			break
		}
		if rest, ok = strings.CutPrefix(rest, ","); !ok {
			return Challenge{}, errNoChallenge
		}
		rest = strings.TrimLeft(rest, " \t,")
	}
	c := Challenge{Realm: seen["realm"], Service: seen["service"], Scope: seen["scope"], Error: seen["error"]}
	if c.Realm == "" {
		return Challenge{}, errNoChallenge
	}
	return c, nil
}

// cutValue cuts a token or a quoted-string off s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], isToken(s[:end])
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
