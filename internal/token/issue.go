package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// An answer is the body of a token answer (docker's token.md and oauth.md,
// RFC 6749 §5.1). Token and AccessToken are equal: some clients read one, some
// the other. ExpiresIn is seconds.
type answer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
	// IssuedTokenType is set in the answer to an exchange (RFC 8693 §2.2.1).
	IssuedTokenType string `json:"issued_token_type,omitempty"`
}

// issue signs an access token for id that holds given, and makes an identity
// token when the request wants one. Errors: access.ErrBadCredential.
func (s *Service) issue(ctx context.Context, req request, id access.Identity, given access.Grants) (answer, error) {
	var refresh access.Secret
	var session Session
	if req.offline {
		presented, again := req.credential.(access.RefreshToken)
		switch {
		case again:
			refresh = presented.Secret // docker cannot rotate it
		case s.staysIn(id):
			var err error
			if refresh, session, err = s.newSession(id, req); err != nil {
				return answer{}, err
			}
			// What a login got ends with the session of that login.
			id.Proof.SessionID = session.ID
			session.Grant = grantOf(req.credential)
		}
	}
	signed, err := s.accessToken(ctx, req, id, given)
	if err != nil {
		return answer{}, err
	}
	req.issued(id, session, signed.claims.ID, given)
	if session.ID != "" {
		switch err := s.deps.Store.SaveSession(ctx, session, id.Proof, session.room()); {
		case errors.Is(err, ErrUnknown): // ended since it was proven
			return answer{}, s.lost(ctx, session)
		case err != nil:
			return answer{}, fmt.Errorf("save session: %w", err)
		}
	}
	a := answer{
		Token: signed.text, AccessToken: signed.text,
		ExpiresIn:    s.toldLife(signed.claims.Issued, id.Expires),
		IssuedAt:     time.Unix(signed.claims.Issued, 0).UTC().Format(time.RFC3339),
		RefreshToken: refresh.Reveal(), Scope: given.String(), TokenType: "Bearer",
	}
	if req.exchange {
		a.IssuedTokenType = typeAccessToken
	}
	return a, nil
}

// toldLife is expires_in: the lifetime, or the time to the end of the credential
// where that is sooner. In a credential's last minute that is less than the 60 s
// which docker's clients take for the least: such a client sends its token for up
// to a minute too long, is told that it is invalid, and asks for another, for which
// it has nothing to show any more. To tell it 60 s would change nothing for it and
// mislead the others; to refuse would end the credential a minute early.
func (s *Service) toldLife(issued int64, ends time.Time) int64 {
	life := int64(s.options.Lifetime / time.Second)
	if !ends.IsZero() {
		life = min(life, ends.Unix()-issued)
	}
	return life
}

// staysIn reports whether who is proven may have an identity token. Who came with
// a certificate has it at hand for the next request.
func (s *Service) staysIn(id access.Identity) bool {
	switch id.Principal.Kind {
	case access.Anonymous:
		return false
	case access.External:
		return s.jobLife(id) > 0
	}
	return true
}

// A signedToken is an access token and what it says.
type signedToken struct {
	text   string
	claims claims
}

// accessToken signs a token for the service of req that ends with its lifetime or
// with the credential it came of, whichever is sooner.
func (s *Service) accessToken(ctx context.Context, req request, id access.Identity, given access.Grants) (signedToken, error) {
	now := s.now()
	life := s.options.Lifetime
	if s.options.TestExpiry > 0 {
		life = s.options.TestExpiry
	}
	end := earlier(now.Add(life), id.Expires)
	jti, err := s.newID()
	if err != nil {
		return signedToken{}, err
	}
	c := claims{
		Issuer: s.options.Issuer, Audience: req.service,
		Issued: now.Unix(), From: now.Unix(), Expires: end.Unix(), ID: jti,
		Access: grantClaims(given),
	}
	if !id.Principal.IsAnonymous() {
		c.Subject, c.UID = id.Principal.String(), id.Principal.UID
		c.Method, c.KeyID, c.SessionID = id.Proof.Method, id.Proof.KeyID, id.Proof.SessionID
		if !id.Proof.PasswordSet.IsZero() {
			c.PasswordSet = id.Proof.PasswordSet.UnixMicro()
		}
		c.Outsider = outsiderOf(id)
	}
	if c.Expires <= c.Issued {
		return signedToken{}, refuse(req.badGrant(), "the credential is about to end")
	}
	ring, err := s.keys.present(ctx)
	if err != nil {
		return signedToken{}, err
	}
	text, err := ring.signer(now).sign(c)
	switch {
	case err != nil:
		return signedToken{}, err
	case len(text) > maxIssued && len(id.Principal.Claims) > 0:
		return signedToken{}, refuse(invalidRequest, "the scopes and what is kept of the issuer's claims are too much for one token; ask for fewer scopes, or keep fewer claims (claimMappings.extra)")
	case len(text) > maxIssued:
		return signedToken{}, refuse(invalidRequest, "too many scopes for one token; ask for fewer")
	}
	return signedToken{text, c}, nil
}
