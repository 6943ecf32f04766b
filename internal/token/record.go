package token

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
)

// recorded is answer, and leaves one event about what came of it: of a login,
// which begins a session, with the session; of any other token, and of a
// refusal, before the client gets it.
func (s *Service) recorded(ctx context.Context, req request, from access.Origin) (answer, error) {
	req.event = &ledger.Event{Kind: ledger.Token, Action: "issue", Decision: ledger.Allowed, Principal: access.Principal{}.String()}
	req.event.From(from)
	req.event.Set("client", req.client)
	if req.exchange {
		req.event.Action = "exchange"
	}
	a, err := s.answer(ledger.With(ctx, req.event), req)
	if s.options.Ledger == nil || req.event.Recorded() || isWaiting(err) {
		return a, err
	}
	e := *req.event
	refused, isRefusal := errors.AsType[*refusal](err)
	_, throttled := errors.AsType[*access.Throttled](err)
	outside, isOutside := errors.AsType[*access.NotAdmitted](err)
	switch {
	case err == nil:
	case errors.Is(err, access.ErrBadCredential):
		refuseLogin(&e, req.credential, reasonOf(err))
		if known, ok := errors.AsType[*access.Refused](err); ok {
			e.By(access.Identity{Proof: known.Proof})
			e.Principal, e.UID, e.Claims = cmp.Or(known.Owner, e.Principal), known.UID, known.Claims
			e.Set("trust", known.Proof.Trust)
		}
		e.Set("why", whyOutside(req, err))
	case errors.Is(err, errLoginOnly):
		refuseLogin(&e, req.credential, ledger.LoginOnly)
	case throttled, errors.Is(err, access.ErrBusy):
		refuseLogin(&e, req.credential, ledger.TooManyTries)
	case errors.Is(err, access.ErrUnavailable):
		refuseLogin(&e, req.credential, ledger.NotAsked)
	case isOutside:
		refuseLogin(&e, req.credential, outside.Text)
	case isRefusal:
		e.Decision, e.Reason = ledger.Failed, refused.text
	default:
		return answer{}, err // a fault of ours, in the log
	}
	// A client that leaves is recorded all the same.
	if lost := s.options.Ledger.Record(context.WithoutCancel(ctx), e); lost != nil {
		s.log.ErrorContext(ctx, "token request not recorded", "err", lost)
		return answer{}, &refusal{status: http.StatusServiceUnavailable, code: unavailable, text: "the request cannot be recorded now; try again later"}
	}
	return a, err
}

// signIn is the event of a directory that vouches for somebody.
func signIn(from access.Origin) *ledger.Event {
	e := &ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Allowed, Method: "sso"}
	e.From(from)
	return e
}

// refuseLogin makes e one about a credential that got nothing. The name is as
// it was typed, and proven by nobody.
func refuseLogin(e *ledger.Event, c access.Credential, reason string) {
	e.Kind, e.Decision, e.Reason = ledger.Login, ledger.Denied, reason
	if e.Action == "issue" {
		e.Action = "login"
	}
	switch c := c.(type) {
	case access.Password:
		e.Method, e.Principal = "password", string(access.User)+":"+c.Name
	case access.AccessKey:
		e.Method = "key"
	case access.RefreshToken:
		e.Method = "session"
	case access.IDToken:
		e.Method = access.MethodIDToken
	case access.ResetCode, access.Code, access.DeviceCode:
		e.Method = "code"
	case access.Certificate:
		e.Method = "certificate"
	}
}

// whyOutside returns why a token from outside, or what came of one, is refused, in
// words for the record and the log; "" of other credentials.
func whyOutside(req request, err error) string {
	known, ok := errors.AsType[*access.Refused](err)
	if _, outside := req.credential.(access.IDToken); !outside && !req.exchange && (!ok || known.Proof.Trust == "") {
		return ""
	}
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxWhy)], "")
}

// maxWhy bounds what is said about a token from outside, in bytes.
const maxWhy = 1000

// reasonOf returns why a credential proves nothing, which the record alone says.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, access.ErrWrongNetwork):
		return ledger.WrongNetwork
	case errors.Is(err, access.ErrRevoked):
		return ledger.Revoked
	case errors.Is(err, access.ErrExpired):
		return ledger.Expired
	case errors.Is(err, access.ErrDisabled):
		return ledger.Disabled
	}
	return ledger.BadProof
}

// issued fills in what was issued.
func (r request) issued(id access.Identity, session Session, jti string, given access.Grants) {
	r.event.By(id)
	r.event.Token = jti
	r.event.Set("scope", given.String())
	if session.ID != "" {
		r.event.Kind = ledger.Login
		if !r.exchange {
			r.event.Action = "login"
		}
	}
}
