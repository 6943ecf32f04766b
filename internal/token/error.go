package token

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sallyport/sallyport/internal/access"
)

// A code is an error code of RFC 6749 §5.2, or of §4.1.2.1 where that has none.
type code string

const (
	invalidRequest       code = "invalid_request"
	invalidClient        code = "invalid_client"
	unauthorizedClient   code = "unauthorized_client"
	invalidGrant         code = "invalid_grant"
	unsupportedGrantType code = "unsupported_grant_type"
	invalidTarget        code = "invalid_target" // RFC 8693 §2.2.2
	// Of RFC 8628, 3.5.
	authorizationPending code = "authorization_pending"
	slowDown             code = "slow_down"
	accessDenied         code = "access_denied"
	expiredToken         code = "expired_token"
	serverError          code = "server_error"
	unavailable          code = "temporarily_unavailable"
)

// A refusal is the answer to a token request that gets no token. Its text is
// meant for the client; it depends on the form of what was sent alone, never on
// what we know about it.
type refusal struct {
	status int
	code   code
	text   string
	after  int64 // Retry-After, in seconds, of a 429 or 503; 0 is none
}

// busyFor is the Retry-After of access.ErrBusy, in seconds.
const busyFor = 2

func (e *refusal) Error() string { return string(e.code) + ": " + e.text }

func refuse(c code, format string, args ...any) error {
	return &refusal{status: http.StatusBadRequest, code: c, text: fmt.Sprintf(format, args...)}
}

// registryCode is the code of the distribution-spec for the same: docker prints
// the message that stands beside it.
func (e *refusal) registryCode() string {
	switch e.code {
	case invalidGrant, invalidClient:
		return "UNAUTHORIZED"
	case unauthorizedClient, accessDenied:
		return "DENIED"
	case unavailable:
		if e.status == http.StatusServiceUnavailable {
			return "UNAVAILABLE"
		}
		return "TOOMANYREQUESTS"
	case serverError:
		return "UNKNOWN"
	}
	return "UNSUPPORTED"
}

// badGrant is the code for a credential that proves nothing. Of a subject_token
// it is another one (RFC 8693 §2.2.2).
func (r request) badGrant() code {
	if r.exchange {
		return invalidRequest
	}
	return invalidGrant
}

// refuseCredential is the answer to a credential that proves nothing. It says
// what kind of credential it was taken for, and no more.
func refuseCredential(req request) *refusal {
	if _, outside := req.credential.(access.IDToken); req.exchange && !outside {
		return &refusal{status: http.StatusBadRequest, code: req.badGrant(), text: "the subject_token is a credential of this registry, which is not exchanged; show it as what it is"}
	}
	text := "user name or password is wrong"
	switch req.credential.(type) {
	case access.RefreshToken:
		text = "the identity token is no longer valid; run docker login " + req.service + " again"
	case access.AccessKey:
		text = "the access key is not valid"
	case access.ResetCode:
		text = "a one-time code is no password: set one with it first (sallyport redeem), and log in with that"
	case access.Code, access.DeviceCode:
		text = "the code is not valid, was used, or its time is over: log in again"
	case access.Certificate:
		text = "the client certificate is not accepted; the registry's log says why"
	case access.IDToken:
		text = "this issuer's token is not accepted here; the registry's audit record says why, under the request"
	}
	if req.exchange {
		return &refusal{status: http.StatusBadRequest, code: req.badGrant(), text: text}
	}
	return &refusal{status: http.StatusUnauthorized, code: invalidGrant, text: text}
}

// unavailableFor is the Retry-After of errUnavailable, in seconds.
const unavailableFor = 10

// errUnavailable is the answer to the password, right or wrong, of somebody whose
// directory cannot be asked. It is no 401, at which clients forget what was right.
var errUnavailable = &refusal{
	status: http.StatusServiceUnavailable, code: unavailable, after: unavailableFor,
	text: "the directory that knows this user does not answer; try again later: local users, access keys and identity tokens are not affected",
}

// errLoginOnly is the answer to a password, right or wrong, of a client that would
// keep it. It is no 401, at which clients say that the password is wrong.
var errLoginOnly = &refusal{
	status: http.StatusForbidden, code: unauthorizedClient,
	text: "passwords are for docker login and sallyport login here; this client needs an access key as its password: sallyport key create",
}

// refuseThrottled is the answer to a password that was not checked, be it right
// or wrong.
func refuseThrottled(e *access.Throttled) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, code: unavailable, after: e.Seconds(),
		text: fmt.Sprintf("too many wrong passwords for this user or from this network; wait %d seconds, or use an access key", e.Seconds()),
	}
}

// writeRefusal writes e in both styles that clients read: OAuth's, and the
// registry's, whose message docker prints.
func (s *Service) writeRefusal(w http.ResponseWriter, r *http.Request, e *refusal) {
	text := e.text
	if id := w.Header().Get("X-Request-Id"); id != "" {
		text += " (request " + id + ")"
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	body, err := json.Marshal(struct {
		Error       code    `json:"error"`
		Description string  `json:"error_description"`
		Errors      []entry `json:"errors"`
	}{e.code, text, []entry{{Code: e.registryCode(), Message: text}}})
	if err != nil {
		s.log.ErrorContext(r.Context(), "refusal not marshalled", "err", err)
	}
	h := w.Header()
	switch e.status {
	case http.StatusUnauthorized:
		// RFC 9110 §15.5.2 wants a challenge; this is the one place that takes Basic.
		h.Set("WWW-Authenticate", `Basic realm="sallyport"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, POST")
	}
	if e.after > 0 {
		h.Set("Retry-After", strconv.FormatInt(e.after, 10))
	}
	s.write(w, r, e.status, body)
}
