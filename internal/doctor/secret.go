package doctor

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
)

// Lives of tokens.
const (
	short     = 24 * time.Hour
	maxYear   = 9999
	maxShown  = 200 // bytes of a text of others
	maxClaims = 16 << 10
)

// jwtForm is what a JWT looks like (RFC 7519, 3): its header and its claims are
// objects.
var jwtForm = regexp.MustCompile(`eyJ[0-9A-Za-z_-]*\.[0-9A-Za-z_-]*(\.[0-9A-Za-z_-]*)?`)

// ours is what a secret of ours looks like, whole or not.
var ours = regexp.MustCompile(`sallyport_[a-z]+_[0-9A-Za-z]*`)

// redact takes out of a text what is a secret of ours or a token, which somebody
// wrote where names belong.
func redact(s string) string {
	return jwtForm.ReplaceAllString(ours.ReplaceAllString(s, "sallyport_…"), "eyJ…")
}

// show returns a name that stands in a file fit to be told: redacted, not endless,
// and if it may be a URL without what stands before the host. That is taken out
// even when it has no password: tokens stand there as names.
func show(s string) string {
	s = redact(s)
	if at := strings.LastIndex(s, "@"); at >= 0 && strings.ContainsAny(s[:at], ":/") {
		s = "…" + s[at:]
	}
	if len(s) > maxShown {
		end := maxShown
		for end > maxShown-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return s
}

// quote makes s one word of a shell.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._:@%+=,-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// A held is a secret that stands somewhere.
type held struct {
	place string // file or variable
	entry string // whose it is: what is told
	// registry is the key or the URL with the host that the secret is for; "" where
	// the client has none, or calls it by a name that somebody chose. Only that host
	// is ever asked about it.
	registry string
	user     string
	slot     slot
	value    access.Secret
	mend     string // the command that takes it away
}

// A slot is where in an entry a secret stands.
type slot string

const (
	passwordSlot slot = "password"
	identitySlot slot = "identity token"
	bearerSlot   slot = "bearer token"
)

// secret tells of a secret: which kind it is, and until when it is good. The name
// beside it is not told: GitHub and others have the token stand there.
func (e *exam) secret(h held) {
	if h.value.IsZero() {
		return
	}
	text := h.value.Reveal()
	p := problem{place: h.place, entry: h.entry, mend: h.mend}
	switch claims, isJWT := parseJWT(text); {
	case access.KeySecret.Valid(text):
		p.id, p.reason = "key-stored", "an access key of Sallyport"
	case access.RefreshSecret.Valid(text):
		p.id, p.reason, p.mend = "identity-stored", "an identity token of Sallyport", ""
	case isJWT:
		p.id, p.reason = e.judge(claims)
		p.reason = "a token" + claims.from() + ", " + p.reason
	case h.slot == identitySlot:
		p.id, p.reason, p.mend = "identity-stored", "an identity token", ""
	case h.slot == bearerSlot:
		p.id, p.reason = "bearer-stored", "a bearer token"
	default:
		p.id, p.reason = "password-stored", "the password"
	}
	e.tell(p)
	e.stored = e.stored || p.id != "identity-stored"
	if access.KeySecret.Valid(text) || access.RefreshSecret.Valid(text) {
		e.ours = append(e.ours, h)
	}
}

// jwtClaims are what is read of a token. Nothing of it is verified.
type jwtClaims struct {
	Issuer  string
	Expires time.Time // zero for never
}

func (c jwtClaims) from() string {
	if c.Issuer == "" {
		return ""
	}
	return " from " + show(c.Issuer)
}

// judge says how long a token is good.
func (e *exam) judge(c jwtClaims) (ID, string) {
	at := c.Expires.UTC().Format("2006-01-02 15:04Z")
	switch {
	case c.Expires.IsZero():
		return "token-endless", "which never ends"
	case !c.Expires.After(e.now):
		return "token-expired", "which expired at " + at
	case c.Expires.After(e.now.Add(short)):
		return "token-lasting", "good until " + at
	}
	return "token-stored", "good until " + at
}

// parseJWT reads a token without verifying it.
func parseJWT(s string) (jwtClaims, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 && len(parts) != 5 || len(parts[1]) > maxClaims || len(parts[0]) > maxClaims {
		return jwtClaims{}, false
	}
	var header struct {
		Alg string `json:"alg"`
	}
	if b, err := base64.RawURLEncoding.DecodeString(parts[0]); err != nil || json.Unmarshal(b, &header) != nil || header.Alg == "" {
		return jwtClaims{}, false
	}
	var body struct {
		Issuer  any `json:"iss"`
		Expires any `json:"exp"`
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(parts) == 3 && json.Unmarshal(b, &body) != nil {
		return jwtClaims{}, false
	}
	c := jwtClaims{}
	c.Issuer, _ = body.Issuer.(string)
	if at, ok := body.Expires.(float64); ok && at > 0 {
		latest := time.Date(maxYear, 1, 1, 0, 0, 0, 0, time.UTC)
		c.Expires = latest
		if at < float64(latest.Unix()) {
			c.Expires = time.Unix(int64(at), 0)
		}
	}
	return c, true
}
