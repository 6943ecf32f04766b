package issuer

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/access"
)

// Limits on a token.
const (
	maxHeader = 2 << 10      // bytes
	leeway    = time.Minute  // between the issuer's clock and ours (F-33)
	lastTime  = 253402300799 // the end of the year 9999
)

// A header is what the header of a token may say.
type header struct {
	alg jose.SignatureAlgorithm
	kid string
}

// registered are the claims that mean the same in every token (RFC 7519 §4.1). A
// key that is one of them but for case is an attempt.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// A parsed is a token whose form is right, before anything in it is believed.
type parsed struct {
	text   string
	header header
	issuer string
	claims map[string]any
}

// parse reads the form of a token: a JWS in its compact form (RFC 7515 §7.1) of
// an algorithm that we know, and claims.
func parse(text string) (*parsed, error) {
	parts := strings.Split(text, ".")
	strange := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if len(text) > access.MaxIDToken || len(parts) != 3 || len(parts[0]) > maxHeader || strings.ContainsFunc(text, strange) {
		return nil, refuse("present the token as the issuer gave it, without quotes or line ends", "it is not a signed token of at most %d bytes", access.MaxIDToken)
	}
	raw := base64.RawURLEncoding.Strict()
	head, err := raw.DecodeString(parts[0])
	if err != nil {
		return nil, refuse("", "its header is not base64url")
	}
	body, err := raw.DecodeString(parts[1])
	if err != nil {
		return nil, refuse("", "its claims are not base64url")
	}
	p := &parsed{text: text}
	if p.header, err = readHeader(head); err != nil {
		return nil, refuse("", "its header: %v", err)
	}
	if p.claims, err = readObject(body); err != nil {
		return nil, refuse("", "its claims: %v", err)
	}
	for key := range p.claims {
		if !slices.Contains(registered, key) && slices.Contains(registered, strings.ToLower(fold(key))) {
			return nil, refuse("", "its claims: a key is like that of another one")
		}
	}
	if p.issuer, _ = p.claims["iss"].(string); p.issuer == "" {
		return nil, refuse("", "it names no issuer")
	}
	return p, nil
}

// readHeader takes what verification needs and refuses what would change it: an
// extension that must be understood (T-19), a key that comes with the token.
func readHeader(data []byte) (header, error) {
	h, err := readObject(data)
	if err != nil {
		return header{}, err
	}
	for key := range h {
		switch lower := strings.ToLower(fold(key)); {
		case slices.Contains([]string{"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"}, lower):
			return header{}, errors.New(lower + " is not for tokens here")
		case key != lower && slices.Contains([]string{"alg", "kid", "typ", "cty"}, lower):
			return header{}, errors.New("a key is like that of another one")
		}
	}
	out := header{}
	alg, _ := h["alg"].(string)
	if out.alg = jose.SignatureAlgorithm(alg); !slices.Contains(algorithms, out.alg) {
		return header{}, errors.New("alg is none of RS, PS and ES with 256, 384 and 512")
	}
	kid, given := h["kid"]
	if out.kid, _ = kid.(string); given && (out.kid == "" || len(out.kid) > maxKeyID) {
		return header{}, errors.New("kid is no text of a key id's length")
	}
	typ, given := h["typ"]
	if text, _ := typ.(string); given && !strings.EqualFold(text, "JWT") && !strings.EqualFold(text, "JOSE") {
		return header{}, errors.New("typ is not JWT")
	}
	if _, given := h["cty"]; given {
		return header{}, errors.New("it holds another token")
	}
	return out, nil
}

// verifySignature checks p with a key of the issuer.
func (p *parsed) verifySignature(keys *keySet) error {
	key, ok := keys.find(p.header)
	if !ok {
		return errUnknownKey
	}
	jws, err := jose.ParseSignedCompact(p.text, []jose.SignatureAlgorithm{p.header.alg})
	if err != nil {
		return refuse("", "it is not well formed")
	}
	if _, err := jws.Verify(key.Key); err != nil {
		return refuse("", "the signature is wrong")
	}
	return nil
}

// checkAudience: one of the audiences has to be in the token.
func (p *parsed) checkAudience(accepted []string) error {
	var list []any
	switch aud := p.claims["aud"].(type) {
	case string:
		list = []any{aud}
	case []any:
		list = aud
	}
	for _, a := range list {
		text, ok := a.(string)
		if !ok {
			return refuse("", "aud is not made of texts")
		}
		if slices.Contains(accepted, text) {
			return nil
		}
	}
	return refuse("let the job ask for a token with the audience "+strings.Join(accepted, " or "), "it is made for %.200q", list)
}

// times returns when the token ends. It must say so, and must not be made for
// longer than most.
func (p *parsed) times(now time.Time, most time.Duration) (time.Time, error) {
	exp, err := p.time("exp", true)
	if err != nil {
		return time.Time{}, err
	}
	begin := now
	for _, name := range []string{"nbf", "iat"} {
		at, err := p.time(name, false)
		switch {
		case err != nil:
			return time.Time{}, err
		case at.IsZero():
			continue
		case at.After(now.Add(leeway)):
			return time.Time{}, refuse("set the clocks", "%s is in the future: %s", name, at.UTC().Format(time.RFC3339))
		}
		begin = at
	}
	switch {
	case !now.Before(exp.Add(leeway)):
		return time.Time{}, &refusal{reason: "it ended at " + exp.UTC().Format(time.RFC3339), cure: "get a new token shortly before it is used", expired: true}
	case exp.Sub(begin) > most:
		return time.Time{}, refuse("let the job ask for a shorter one, or write access.MaxIDTokenLife", "it is made for %s; the limit is %s", exp.Sub(begin), most)
	}
	return exp, nil
}

// time reads a NumericDate (RFC 7519 §2); zero if there is none.
func (p *parsed) time(name string, required bool) (time.Time, error) {
	v, given := p.claims[name]
	if !given && !required {
		return time.Time{}, nil
	}
	seconds := math.NaN()
	switch n := v.(type) {
	case int64:
		seconds = float64(n)
	case float64:
		seconds = n
	}
	if !(seconds >= 1 && seconds <= lastTime) {
		return time.Time{}, refuse("", "%s is no time", name)
	}
	return time.Unix(int64(seconds), 0), nil
}
