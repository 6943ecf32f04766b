package ui

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
)

// metadata says what we can (RFC 8414).
func (s *door) metadata(w http.ResponseWriter, r *http.Request) {
	base := s.Base(r)
	s.json(w, r, http.StatusOK, map[string]any{
		"issuer":                        s.Issuer,
		"authorization_endpoint":        base + "/oauth/authorize",
		"token_endpoint":                base + "/token",
		"jwks_uri":                      base + "/.well-known/jwks.json",
		"device_authorization_endpoint": base + "/oauth/device/code",
		"revocation_endpoint":           base + "/oauth/revoke",
		"response_types_supported":      []string{"code"},
		"response_modes_supported":      []string{"query"},
		"grant_types_supported": []string{
			"authorization_code", "refresh_token", "password", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange",
		},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"revocation_endpoint_auth_methods_supported":     []string{"none"},
		"authorization_response_iss_parameter_supported": true,
	})
}

// revoke ends what an identity token stands for (RFC 7009). Whoever has it may; a
// token that we do not know is no error.
func (s *door) revoke(w http.ResponseWriter, r *http.Request) {
	if !s.readForm(w, r) {
		return
	}
	secret := access.NewSecret(r.PostForm.Get("token"))
	switch {
	case secret.IsZero():
		s.json(w, r, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": "the field token is missing"})
		return
	case !access.RefreshSecret.Claims(secret.Reveal()):
		s.json(w, r, http.StatusBadRequest, map[string]any{"error": "unsupported_token_type", "error_description": "only identity tokens are revoked here"})
		return
	}
	e := ledger.Event{Kind: ledger.Session, Action: "remove", Decision: ledger.Allowed, Method: "session"}
	e.From(inbound.Origin(r, w.Header()))
	if err := s.Tokens.RevokeToken(ledger.With(r.Context(), &e), secret, &e); err != nil {
		s.Logger.ErrorContext(r.Context(), "token not revoked", "err", err)
		w.Header().Set("Retry-After", "5")
		s.json(w, r, http.StatusServiceUnavailable, map[string]any{"error": "temporarily_unavailable"})
		return
	}
	s.json(w, r, http.StatusOK, map[string]any{})
}

// eventOf attaches the event of a change to a request.
func (s *door) eventOf(w http.ResponseWriter, r *http.Request, e *ledger.Event, id access.Identity) context.Context {
	e.By(id)
	e.From(inbound.Origin(r, w.Header()))
	return ledger.With(r.Context(), e)
}

// Serves reports whether a path is one of these pages'.
func Serves(path string) bool {
	return path == MetadataPath || len(path) > len(Prefix) && path[:len(Prefix)] == Prefix
}
