package distribution

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
)

// record takes an event of a request that changes nothing. What cannot be
// recorded is not answered.
func (c *call) record(e ledger.Event) error {
	if c.door.ledger == nil {
		return nil
	}
	// A client that leaves is recorded all the same.
	if err := c.door.ledger.Record(context.WithoutCancel(c.r.Context()), e); err != nil {
		c.door.log.ErrorContext(c.r.Context(), "request not recorded", "request", e.RequestID, "err", err)
		return oci.Errorf(oci.Unavailable, "the request cannot be recorded now: come again later")
	}
	return nil
}

// event begins an event about what c asks for.
func (c *call) event(kind ledger.Kind, action string) ledger.Event {
	e := ledger.Event{
		Kind: kind, Action: action, Decision: ledger.Allowed,
		Repository: string(c.repo), Tag: string(c.ref.Tag()), Digest: string(c.ref.Digest()),
	}
	if c.digest != "" {
		e.Digest = string(c.digest)
	}
	e.Of(c.authority)
	e.From(inbound.Origin(c.r, c.w.Header()))
	return e
}

// pulled records that the content with digest d is about to be sent.
func (c *call) pulled(action string, d oci.Digest) error {
	if c.method != http.MethodGet || c.door.omitPulls {
		return nil
	}
	e := c.event(ledger.Pull, action)
	e.Digest = string(d)
	e.Allow(c.authority, access.Pull)
	return c.record(e)
}

// changing returns a context for a change, whose event is written with it.
func (c *call) changing(e ledger.Event) context.Context {
	switch e.Kind {
	case ledger.Push:
		e.Allow(c.authority, access.Push)
	case ledger.Delete:
		e.Allow(c.authority, access.Delete)
	}
	c.pending = &e
	return ledger.With(c.r.Context(), c.pending)
}

// about says what kind of event a refusal of q is.
func (q request) about() (kind ledger.Kind, action string) {
	switch e, found := find(q); {
	case q.resource == catalog, q.resource == tags, q.resource == referrers:
		return ledger.List, "list"
	case !found:
		return ledger.API, "ask"
	case e.action == access.Push:
		return ledger.Push, "push"
	case e.action == access.Delete:
		return ledger.Delete, "delete"
	default:
		return ledger.Pull, "pull"
	}
}

// refused records why a request gets no other answer than err, if that is a
// refusal or a change that failed, and returns what to answer. A challenge is
// neither: it asks for a token, or for another one, as part of every login.
func (c *call) refused(err error) error {
	var e ledger.Event
	denied, isDenied := errors.AsType[*access.Denied](err)
	switch {
	case c.pending != nil && c.pending.Recorded():
		return err // it was done; only the answer went wrong
	case isDenied:
		e = c.event(c.about())
		e.Deny(c.authority, denied)
	case errors.Is(err, access.ErrInvalidToken):
		e = c.event(ledger.Token, "present")
		e.Decision, e.Reason = ledger.Denied, ledger.BadToken
	case c.pending != nil && !isChallenge(err):
		e = *c.pending
		e.Decision, e.Reason = ledger.Failed, failure(err)
	default:
		return err
	}
	if lost := c.record(e); lost != nil {
		return lost
	}
	return err
}

func isChallenge(err error) bool {
	_, ok := errors.AsType[*access.InsufficientScope](err)
	return ok
}

// failure is the reason of a change that failed, as far as the client is told.
func failure(err error) string {
	code, _ := oci.CodeOf(err)
	if _, known := answers[code]; !known {
		return "internal error"
	}
	return strings.ToLower(strings.ReplaceAll(string(code), "_", " "))
}

// pushed begins the event of a push of a manifest.
func (c *call) pushed(d oci.Digest, tags []oci.Tag) ledger.Event {
	e := c.event(ledger.Push, "push")
	e.Digest = string(d)
	if len(tags) == 1 {
		e.Tag = string(tags[0])
	}
	return e
}
