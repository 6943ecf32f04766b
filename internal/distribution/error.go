package distribution

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/oci"
)

// answers has the status of each code and the text for those who got none
// (distribution-spec, "Error Codes").
var answers = map[oci.Code]struct {
	status int
	text   string
}{
	oci.BlobUnknown:         {http.StatusNotFound, "blob unknown to this repository"},
	oci.BlobUploadInvalid:   {http.StatusBadRequest, "the upload cannot go on"},
	oci.BlobUploadUnknown:   {http.StatusNotFound, "upload unknown: it was finished, cancelled or never begun"},
	oci.DigestInvalid:       {http.StatusBadRequest, "the content does not have this digest"},
	oci.ManifestBlobUnknown: {http.StatusBadRequest, "the manifest refers to content that is not in this repository"},
	oci.ManifestInvalid:     {http.StatusBadRequest, "the manifest is not valid"},
	oci.ManifestUnknown:     {http.StatusNotFound, "manifest unknown"},
	oci.NameInvalid:         {http.StatusBadRequest, "the repository name is not valid"},
	oci.NameUnknown:         {http.StatusNotFound, "repository unknown"},
	oci.SizeInvalid:         {http.StatusBadRequest, "the length is not the one announced"},
	oci.Unauthorized:        {http.StatusUnauthorized, "authentication required"},
	oci.Denied:              {http.StatusForbidden, "not allowed"},
	oci.Unsupported:         {http.StatusMethodNotAllowed, "not supported"},
	oci.TooManyRequests:     {http.StatusTooManyRequests, "too many requests: come again later"},
	oci.RangeInvalid:        {http.StatusRequestedRangeNotSatisfiable, "the range does not fit"},
	oci.TagInvalid:          {http.StatusBadRequest, "the tag is not valid"},
	oci.PageInvalid:         {http.StatusBadRequest, "the number of results is not valid"},
	oci.ManifestTooLarge:    {http.StatusRequestEntityTooLarge, fmt.Sprintf("the manifest is larger than %d bytes", oci.MaxManifestSize)},
	oci.StorageFull:         {http.StatusInsufficientStorage, "no space left for pushes"},
	oci.Unavailable:         {http.StatusServiceUnavailable, "not available now: come again later"},
}

const (
	// unknownCode is what clients know for an error that has no code.
	unknownCode oci.Code = "UNKNOWN"
	// statusGone is logged for a client that did not wait for the answer.
	statusGone = 499
	// retryAfter is what a client is asked to wait, in seconds.
	retryAfter = "5"
)

// A refusal is an error whose status is not the one its code usually has.
type refusal struct {
	status int
	error
}

func (e *refusal) Unwrap() error { return e.error }

// refuse is oci.Errorf with a status.
func refuse(status int, code oci.Code, format string, args ...any) error {
	return &refusal{status, oci.Errorf(code, format, args...)}
}

func noSuchEndpoint() error {
	return refuse(http.StatusNotFound, oci.Unsupported, "no such endpoint")
}

func methodNotAllowed(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	return oci.Errorf(oci.Unsupported, "method not allowed: use %s", allow)
}

// A problem is what an error looks like from outside.
type problem struct {
	status  int
	code    oci.Code
	message string
	scope   string // what a token would need, for the detail
}

// fail answers c with err. It is the only place where errors become answers:
// what has no code is told to nobody but the log.
func (d *door) fail(c *call, err error) {
	h := c.w.Header()
	id := h.Get("X-Request-Id")
	p := d.describe(c, err, id)
	if p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	if p.status >= http.StatusInternalServerError {
		d.log.ErrorContext(c.r.Context(), "request failed", "request", id, "method", c.r.Method,
			"repo", c.repo, "upload", c.upload, "err", err)
	}
	if c.r.ProtoMajor == 1 && (c.r.ContentLength < 0 || c.r.ContentLength > maxUnread) {
		// Do not wait for a body that nobody wants.
		h.Set("Connection", "close")
	}
	h["Cache-Control"] = noStore
	c.write(p.status, jsonContent, p.body(id))
}

// maxUnread is the body, in bytes, that we would rather read to the end than
// close the connection over.
const maxUnread = 64 << 10

// describe finds out what err says to the client, and sets the challenge.
func (d *door) describe(c *call, err error, requestID string) problem {
	if lacks, ok := errors.AsType[*access.InsufficientScope](err); ok {
		message, reason := "authentication required", ""
		if lacks.Present {
			message, reason = "the token does not allow this", insufficientScope
			if c.authority.Identity.Principal.IsAnonymous() {
				message = "this needs a login"
			}
		}
		return d.challenge(c, lacks.Need, message, reason)
	}
	if denied, ok := errors.AsType[*access.Denied](err); ok {
		return problem{status: http.StatusForbidden, code: oci.Denied, message: denied.Error() + inRequest(requestID)}
	}
	code, text := oci.CodeOf(err)
	answer, known := answers[code]
	switch {
	case errors.Is(err, access.ErrInvalidToken):
		return d.challenge(c, c.scope(), "the token is not valid", invalidToken)
	case errors.Is(err, inbound.ErrNoBearer), code == oci.Unauthorized:
		return d.challenge(c, c.scope(), "authentication required", "")
	case errors.Is(err, access.ErrBusy):
		code, answer = oci.TooManyRequests, answers[oci.TooManyRequests]
	case known:
	case c.r.Context().Err() != nil:
		return problem{status: statusGone, code: unknownCode, message: "the client did not wait"}
	default:
		return problem{status: http.StatusInternalServerError, code: unknownCode, message: "internal error" + inRequest(requestID)}
	}
	if text == "" {
		text = answer.text
	}
	if e, ok := errors.AsType[*refusal](err); ok {
		answer.status = e.status
	}
	return problem{status: answer.status, code: code, message: text}
}

func inRequest(id string) string {
	if id == "" {
		return ""
	}
	return " (request " + id + ")"
}

// challenge answers 401 and says how to do better.
func (d *door) challenge(c *call, need access.Grants, message, reason string) problem {
	scope := need.String()
	c.w.Header().Set("WWW-Authenticate", challenge(d.realm(c.r), d.service, scope, reason))
	return problem{status: http.StatusUnauthorized, code: oci.Unauthorized, message: message, scope: scope}
}

// body writes p in the form of the distribution-spec, "Error Codes".
func (p problem) body(requestID string) []byte {
	type detail struct {
		RequestID string `json:"requestId,omitempty"`
		Scope     string `json:"scope,omitempty"`
	}
	type element struct {
		Code    oci.Code `json:"code"`
		Message string   `json:"message"`
		Detail  *detail  `json:"detail"`
	}
	e := element{Code: p.code, Message: p.message}
	if more := (detail{requestID, p.scope}); more != (detail{}) {
		e.Detail = &more
	}
	// Marshalling strings cannot fail.
	body, _ := json.Marshal(struct {
		Errors []element `json:"errors"`
	}{[]element{e}})
	return body
}

// write answers with a body, or with its headers alone for HEAD.
func (c *call) write(status int, contentType []string, body []byte) {
	h := c.w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		c.w.Write(body) // a client that has gone away needs no answer
	}
}

// answer answers without a body.
func (c *call) answer(status int) {
	c.w.Header()["Content-Length"] = noBody
	c.w.WriteHeader(status)
}
