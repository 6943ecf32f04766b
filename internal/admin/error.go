package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	// problemPrefix begins the types of problems (RFC 9457, 3.1.1).
	problemPrefix = "urn:sallyport:problem:"
	// statusGone is logged for a client that did not wait for the answer.
	statusGone = 499
	// retryAfter is what a client is asked to wait, in seconds, where the error
	// does not say.
	retryAfter = "5"
)

// A refusal is an error that says itself what the client is told: the part
// that is wrong, and the rule or the cure.
type refusal struct {
	status int
	kind   string
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, kind, format string, args ...any) error {
	return &refusal{status, kind, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "invalid", format, args...)
}

// errNarrowed is what a narrowed credential meets wherever it could widen
// itself or change anything.
var errNarrowed = refuse(http.StatusForbidden, "denied", "this credential is narrowed to some actions or repositories and cannot do that; log in with one that is not")

// meanings says what other rooms' errors mean here.
var meanings = []struct {
	err    error
	status int
	kind   string
	text   string
}{
	{account.ErrUnknown, http.StatusNotFound, "not-found", "there is no such account, group, membership, key or policy"},
	{token.ErrUnknown, http.StatusNotFound, "not-found", "there is no such session"},
	{token.ErrUnknownKey, http.StatusNotFound, "not-found", "there is no such signing key"},
	{account.ErrExists, http.StatusConflict, "exists", "the name is taken; users and robots share their names"},
	{account.ErrLinked, http.StatusConflict, "linked", "the identity is linked to another account; unlink it there, or remove that account, first"},
	{account.ErrGroups, http.StatusConflict, "too-many-groups", "the account is in 1,000 groups, which is the limit; take it out of one first"},
	{account.ErrRetired, http.StatusConflict, "retired", "the name belonged to an account that was removed and that the policy still names; take it out of the policy first, or choose another"},
	{account.ErrKeyName, http.StatusConflict, "exists", "the owner has another live key of that name; choose another name, or rotate that key"},
	{account.ErrConflict, http.StatusPreconditionFailed, "conflict", "the policy was changed since the version this one is based on; look at the present one and apply again"},
	{issuer.ErrUnknown, http.StatusNotFound, "not-found", "there is no such trusted issuer"},
	{issuer.ErrExists, http.StatusConflict, "exists", "another trusted issuer has this name or URL"},
	{issuer.ErrChanged, http.StatusPreconditionFailed, "conflict", "the definition was changed since the revision that this one is based on; look at the present one and replace that"},
	{issuer.ErrFixed, http.StatusConflict, "fixed", "this issuer stands in the file that the server's federation.issuers_file names: change it there"},
	{access.ErrBusy, http.StatusTooManyRequests, "busy", "too many passwords are being checked; come again later"},
	{account.ErrBadCode, http.StatusForbidden, "wrong-code", "the one-time code is not valid: it was mistyped, used or replaced, or its time is over; ask for another one (sallyport user reset NAME)"},
	{access.ErrBadCredential, http.StatusForbidden, "wrong-password", "the current password is not right"},
	{oci.StorageFull, http.StatusInsufficientStorage, "storage-full", "no space is left for the server's data: free some or give it more, then try again"},
	{oci.Unavailable, http.StatusServiceUnavailable, "unavailable", "the server cannot do that now: try again in a few seconds; its log says what it waits for"},
	{gc.ErrRunning, http.StatusConflict, "running", "a sweep is running already; its status says when it is over"},
}

// fail answers c with err. It is the only place where errors become answers:
// what is not meant for the client is told to nobody but the log.
func (c *call) fail(err error) {
	p := c.describe(err)
	p.Type, p.Title, p.RequestID = problemPrefix+p.Type, http.StatusText(p.Status), c.requestID()
	if c.w.Header().Get("Retry-After") == "" && (p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable) {
		c.w.Header().Set("Retry-After", retryAfter)
	}
	switch {
	case p.Status == statusGone:
		p.Title = "Client Closed Request"
	case p.Status >= http.StatusInternalServerError:
		c.door.Logger.ErrorContext(c.r.Context(), "request failed", "request", p.RequestID,
			"method", c.r.Method, "path", c.r.URL.Path, "err", err)
	}
	// Marshalling strings cannot fail.
	body, _ := json.Marshal(p)
	c.write(p.Status, client.ProblemType, append(body, '\n'))
}

// describe finds out what err says to the client, and sets the challenge.
func (c *call) describe(err error) client.Problem {
	problem := func(status int, kind, text string) client.Problem {
		return client.Problem{Status: status, Type: kind, Detail: text}
	}
	if lacks, ok := errors.AsType[*access.InsufficientScope](err); ok {
		if lacks.Present {
			return c.challenge("the token does not hold "+apiScope, "insufficient_scope")
		}
		return c.challenge("authentication required", "")
	}
	if denied, ok := errors.AsType[*access.Denied](err); ok {
		if denied.Beyond.Who != "" {
			return problem(http.StatusForbidden, "denied", denied.Error()+"; somebody who has all of that must do it")
		}
		return problem(http.StatusForbidden, "denied", fmt.Sprintf("%s may not do that here: it takes the right %s, by the policy and with a credential that is not narrowed to less", denied.Principal, denied.Action))
	}
	if e, ok := errors.AsType[*refusal](err); ok {
		return problem(e.status, e.kind, e.text)
	}
	if e, ok := errors.AsType[*access.PolicyError](err); ok {
		p := problem(http.StatusBadRequest, "invalid", "the policy is not valid and was not applied")
		for _, at := range e.Problems {
			p.Errors = append(p.Errors, client.FieldError{Line: at.Line, Field: at.Field, Detail: at.Text})
		}
		return p
	}
	if e, ok := errors.AsType[*account.ImportError](err); ok {
		p := problem(http.StatusBadRequest, "invalid", "the file is not valid and nobody was imported")
		for _, at := range e.Lines {
			p.Errors = append(p.Errors, client.FieldError{Line: at.Line, Detail: at.Reason})
		}
		return p
	}
	if e, ok := errors.AsType[*issuer.Invalid](err); ok {
		p := problem(http.StatusBadRequest, "invalid", "the definition is not valid: "+e.Error())
		if e.Cure != "" {
			p.Detail += "; " + e.Cure
		}
		return p
	}
	if e, ok := errors.AsType[*access.ChangeError](err); ok {
		return problem(http.StatusForbidden, "denied", e.Error())
	}
	if e, ok := errors.AsType[*account.Invalid](err); ok {
		return problem(http.StatusBadRequest, "invalid", e.Error())
	}
	if e, ok := errors.AsType[*access.Throttled](err); ok {
		c.w.Header().Set("Retry-After", strconv.FormatInt(e.Seconds(), 10))
		return problem(http.StatusTooManyRequests, "throttled", fmt.Sprintf("too many wrong attempts; wait %d seconds", e.Seconds()))
	}
	if e, ok := errors.AsType[*account.RotatedError](err); ok {
		return problem(http.StatusConflict, "rotated", e.Error())
	}
	if errors.Is(err, access.ErrInvalidToken) {
		return c.challenge("the token is not valid", "invalid_token")
	}
	if errors.Is(err, gc.ErrSuspicious) {
		return problem(http.StatusConflict, "suspicious", err.Error()) // figures and cure, for administrators
	}
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return problem(m.status, m.kind, m.text)
		}
	}
	if c.r.Context().Err() != nil {
		return problem(statusGone, "gone", "the client did not wait")
	}
	return problem(http.StatusInternalServerError, "internal", "the server could not do that; its log says why")
}

const apiScope = "registry:api:*"

// challenge answers 401 and says how to do better (RFC 6750, 3).
func (c *call) challenge(text, reason string) client.Problem {
	value := "Bearer realm=" + quote(c.door.Realm(c.r)) + ",service=" + quote(c.door.Service) + ",scope=" + quote(apiScope)
	if reason != "" {
		value += ",error=" + quote(reason)
	}
	c.w.Header().Set("WWW-Authenticate", value)
	return client.Problem{Status: http.StatusUnauthorized, Type: "unauthorized", Detail: text}
}

// quote writes s as a quoted-string (RFC 9110, 5.6.4). Control bytes, which
// cannot be in one, are left out.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
