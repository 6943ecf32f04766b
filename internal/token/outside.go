package token

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// What a trusted issuer may say about somebody, since each of our tokens, each
	// session and each event carries it: bytes, and a number.
	maxClaims     = 40
	maxClaimName  = 128
	maxClaimValue = 1024
	maxClaimsAll  = 2560

	defaultJobSession = time.Hour
)

// An Outsider is an external principal and what proved it. A token and a session
// carry that, as no account of ours knows it.
type Outsider struct {
	Issuer      string `json:"iss"`
	Name        string `json:"name"`
	Certificate string `json:"x5t,omitempty"` // SHA-256, hexadecimal
	Trust       string `json:"trust,omitempty"`
	// Claims are what the issuer said.
	Claims map[string]string `json:"claims,omitempty"`
	// Expires is when the issuer's token ends, in seconds since 1970. Nothing that
	// came of it alone outlives it, the rest of a push neither: a session is for
	// that. 0: something else says when.
	Expires int64 `json:"exp,omitempty"`
}

// outsiderOf returns nil for an account of ours.
func outsiderOf(id access.Identity) *Outsider {
	if id.Principal.Kind != access.External {
		return nil
	}
	o := &Outsider{
		Issuer: id.Principal.Issuer, Name: id.Principal.Name, Certificate: id.Proof.Certificate, Trust: id.Proof.Trust,
		Claims: id.Principal.Claims,
	}
	if id.Proof.Method == access.MethodIDToken {
		o.Expires = id.Expires.Unix()
	}
	return o
}

// Principal returns whom o names.
func (o Outsider) Principal() access.Principal {
	return access.ExternalPrincipal(o.Issuer, o.Name, o.Claims)
}

// fits reports whether what o says can be what proves somebody by the method.
func (o Outsider) fits(method string) bool {
	switch {
	case o.Issuer == "", o.Name == "":
		return false
	case method == methodCertificate:
		return len(o.Claims) == 0 && o.Expires == 0
	case method == access.MethodIDToken:
		return o.Certificate == "" && o.Trust != "" && o.Expires > 0
	case method == methodSession:
		return o.Certificate == "" && o.Trust != "" && o.Expires == 0
	}
	return false
}

// resolveOutsider returns whom o and proof name as it is now: what the proof rests
// on is asked of who vouched, what was said is in o. Errors:
// access.ErrBadCredential.
func (s *Service) resolveOutsider(ctx context.Context, o Outsider, uid string, proof access.Proof) (access.Identity, error) {
	vouching, first := s.deps.Certificates, proof
	if proof.Method != methodCertificate {
		// A session rests on the issuer's token that it was begun with.
		vouching, first.Method = s.deps.IDTokens, access.MethodIDToken
	}
	if vouching == nil {
		return access.Identity{}, access.ErrBadCredential
	}
	id, err := vouching.Resolve(ctx, access.ID{Issuer: o.Issuer, Name: o.Name}, first)
	if err != nil {
		return access.Identity{}, err
	}
	if id.Principal.UID != uid { // which is of issuer and name
		return access.Identity{}, access.ErrBadCredential
	}
	id.Principal.Claims, id.Proof = o.Claims, proof
	if o.Expires != 0 {
		id.Expires = earlier(id.Expires, time.Unix(o.Expires, 0))
	}
	return id, nil
}

// authenticateOutside asks the trusted issuers about a token from elsewhere. Our
// own are none: who could have them looked at here would live for ever (F-29), even
// if somebody trusts us as an issuer.
func (s *Service) authenticateOutside(ctx context.Context, c access.IDToken) (access.Identity, error) {
	text := c.Secret.Reveal()
	switch {
	case s.deps.IDTokens == nil:
		return access.Identity{}, refusedOutside("no issuer is trusted")
	case len(text) > access.MaxIDToken:
		return access.Identity{}, refusedOutside(fmt.Sprintf("it is longer than %d bytes", access.MaxIDToken))
	case !looksLikeJWT(text):
		return access.Identity{}, refusedOutside("it is no JWT")
	case s.isOurs(text):
		return access.Identity{}, refusedOutside("it is a token of this registry")
	}
	id, err := s.deps.IDTokens.Authenticate(ctx, c)
	if err != nil {
		return access.Identity{}, err
	}
	return id, s.checkOutside(id)
}

// refusedOutside is a refusal whose reason is for the record.
func refusedOutside(why string) error {
	return &access.Refused{Why: fmt.Errorf("%w: %s", access.ErrBadCredential, why), Proof: access.Proof{Method: access.MethodIDToken}}
}

// isOurs reports whether a JWT says that we have issued it. Nobody can make one of
// ours say otherwise.
func (s *Service) isOurs(jwt string) bool {
	_, rest, _ := strings.Cut(jwt, ".")
	payload, _, _ := strings.Cut(rest, ".")
	var c struct {
		Issuer string `json:"iss"`
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	return err == nil && json.Unmarshal(text, &c) == nil && c.Issuer == s.options.Issuer
}

// checkOutside checks what an issuer's token was taken for, before it goes into
// tokens and rows of ours.
func (s *Service) checkOutside(id access.Identity) error {
	o := outsiderOf(id)
	switch {
	case o == nil, id.Principal.UID != o.Principal().UID, id.Proof.KeyID != "", id.Proof.SessionID != "",
		id.Proof.Method != access.MethodIDToken, !o.fits(id.Proof.Method):
		return fmt.Errorf("a trusted issuer's token proves no external principal, but %s by %q", id.Principal, id.Proof.Method)
	case !s.now().Before(id.Expires):
		return access.ErrExpired
	case !storable(o.Issuer), !storable(o.Name), !boundedClaims(o.Claims):
		return refuse(invalidRequest, "more claims are kept of this issuer's tokens than fit into one of ours: at most %d, each %d bytes or less, %d together; keep fewer (claimMappings.extra)",
			maxClaims, maxClaimValue, maxClaimsAll)
	}
	return nil
}

// boundedClaims reports whether a token and a database can hold the claims.
func boundedClaims(claims map[string]string) bool {
	total := 0
	for name, value := range maps.All(claims) {
		if name == "" || len(name) > maxClaimName || len(value) > maxClaimValue || !storable(name) || !storable(value) {
			return false
		}
		total += len(name) + len(value)
	}
	return len(claims) <= maxClaims && total <= maxClaimsAll
}

// storable reports whether JSON and both databases can hold s as it is.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// jobLife returns how long an identity token for somebody from outside may live; 0:
// there is none. It outlives the issuer's token, which is what it is for.
func (s *Service) jobLife(id access.Identity) time.Duration {
	if id.Principal.Kind != access.External || id.Proof.Method != access.MethodIDToken {
		return 0
	}
	return max(min(id.SessionLife, s.options.JobSession, s.options.SessionAbsolute), 0)
}
