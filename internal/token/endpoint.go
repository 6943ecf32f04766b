package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
)

// Endpoint serves GET and POST of the token URL. There is one way to a token,
// for every grant: parse, authenticate, grant, issue, write.
func (s *Service) Endpoint() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := s.serve(r, inbound.Origin(r, w.Header()))
		if err == nil {
			var body []byte
			if body, err = json.Marshal(a); err == nil {
				s.write(w, r, http.StatusOK, body)
				return
			}
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			s.log.ErrorContext(r.Context(), "token not issued", "err", err)
			refused = &refusal{status: http.StatusInternalServerError, code: serverError, text: "the token service could not decide; try again later"}
		}
		s.writeRefusal(w, r, refused)
	})
}

func (s *Service) serve(r *http.Request, from access.Origin) (answer, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return answer{}, &refusal{status: http.StatusMethodNotAllowed, code: invalidRequest, text: "use GET or POST"}
	}
	req, err := s.parse(r, from)
	if err != nil {
		return answer{}, err
	}
	a, err := s.recorded(r.Context(), req, from)
	switch {
	case errors.Is(err, access.ErrBadCredential):
		if errors.Is(err, access.ErrWrongNetwork) {
			s.log.WarnContext(r.Context(), "credential came from a network it is not for", "request", from.RequestID, "address", from.Address)
		}
		if why := whyOutside(req, err); why != "" {
			s.log.WarnContext(r.Context(), "outside token refused", "why", why, "request", from.RequestID, "address", from.Address)
		}
		return answer{}, refuseCredential(req)
	case errors.Is(err, access.ErrBusy):
		return answer{}, &refusal{status: http.StatusTooManyRequests, code: unavailable, text: "too many logins are being checked; try again", after: busyFor}
	}
	if errors.Is(err, access.ErrUnavailable) {
		return answer{}, errUnavailable
	}
	if who, ok := errors.AsType[*access.NotAdmitted](err); ok {
		return answer{}, &refusal{status: http.StatusForbidden, code: accessDenied, text: who.Text}
	}
	if throttled, ok := errors.AsType[*access.Throttled](err); ok {
		return answer{}, refuseThrottled(throttled)
	}
	return a, err
}

func (s *Service) answer(ctx context.Context, req request) (answer, error) {
	id, err := s.authenticate(ctx, req)
	if err != nil {
		return answer{}, err
	}
	policy, err := s.deps.Policies.Current(ctx)
	if err != nil {
		return answer{}, err
	}
	req.event.PolicyVersion = policy.Version()
	return s.issue(ctx, req, id, s.grant(policy, id, req))
}

// authenticate asks the one authenticator for the kind of credential. Nothing
// else is tried when that refuses, and a refused credential is never anonymous.
func (s *Service) authenticate(ctx context.Context, req request) (access.Identity, error) {
	if _, outside := req.credential.(access.IDToken); req.exchange && !outside {
		return access.Identity{}, errNotExchanged
	}
	switch c := req.credential.(type) {
	case nil:
		return access.Identity{}, nil
	case access.Password:
		if !req.offline && s.options.PasswordUse == PasswordsLogIn {
			return access.Identity{}, errLoginOnly // without a look at it
		}
		// A directory may vouch for who comes: that is an event of its own.
		return s.deps.Passwords.Authenticate(ledger.With(ctx, signIn(c.From)), c)
	case access.AccessKey:
		return s.deps.Keys.Authenticate(ctx, c)
	case access.RefreshToken:
		return s.authenticateSession(ctx, c, req.service)
	case access.IDToken:
		return s.authenticateOutside(ctx, c)
	case access.Code:
		return s.authenticateCode(ctx, c)
	case access.DeviceCode:
		return s.authenticateDevice(ctx, c)
	case access.Certificate:
		if s.deps.Certificates != nil {
			return s.deps.Certificates.Authenticate(ctx, c)
		}
	}
	return access.Identity{}, access.ErrBadCredential
}

// write ends every answer of the token URL: none may be stored (RFC 6749 §5.1).
func (s *Service) write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.log.DebugContext(r.Context(), "answer not written", "err", err)
	}
}
