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
}

// issue signs an access token for id that holds given, and makes an identity
// token when the request wants one. Errors: access.ErrBadCredential.
func (s *Service) issue(ctx context.Context, req request, id access.Identity, given access.Grants) (answer, error) {
	var refresh access.Secret
	var session Session
	// Nobody from outside gets an identity token: it would outlive what proves
	// them, and they have that at hand for the next request.
	if req.offline && !id.Principal.IsAnonymous() && id.Principal.Kind != access.External {
		if presented, ok := req.credential.(access.RefreshToken); ok {
			refresh = presented.Secret // docker cannot rotate it
		} else {
			var err error
			if refresh, session, err = s.newSession(id, req); err != nil {
				return answer{}, err
			}
			// What a login got ends with the session of that login.
			id.Proof.SessionID = session.ID
		}
	}
	now := s.now()
	token, jti, err := s.accessToken(ctx, req.service, id, given)
	if err != nil {
		return answer{}, err
	}
	req.issued(id, session, jti, given)
	if session.ID != "" {
		switch err := s.deps.Store.SaveSession(ctx, session, id.Proof, room); {
		case errors.Is(err, ErrUnknown): // ended since it was proven
			return answer{}, access.ErrBadCredential
		case err != nil:
			return answer{}, fmt.Errorf("save session: %w", err)
		}
	}
	return answer{
		Token: token, AccessToken: token,
		ExpiresIn:    int64(s.options.Lifetime / time.Second),
		IssuedAt:     now.UTC().Format(time.RFC3339),
		RefreshToken: refresh.Reveal(), Scope: given.String(), TokenType: "Bearer",
	}, nil
}

// accessToken signs a token for a service that ends with its lifetime or with the
// credential it came of, whichever is sooner. It returns the token's id too.
func (s *Service) accessToken(ctx context.Context, service string, id access.Identity, given access.Grants) (token, jti string, err error) {
	now := s.now()
	life := s.options.Lifetime
	if s.options.TestExpiry > 0 {
		life = s.options.TestExpiry
	}
	end := earlier(now.Add(life), id.Expires)
	if jti, err = s.newID(); err != nil {
		return "", "", err
	}
	c := claims{
		Issuer: s.options.Issuer, Audience: service,
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
		return "", "", refuse(invalidGrant, "the credential is about to end")
	}
	ring, err := s.keys.present(ctx)
	if err != nil {
		return "", "", err
	}
	token, err = ring.signer(now).sign(c)
	if err == nil && len(token) > maxIssued {
		err = refuse(invalidRequest, "too many scopes for one token; ask for fewer")
	}
	return token, jti, err
}
