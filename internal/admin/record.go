package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
)

// quiet is the kind of a route that is a POST and changes nothing: it leaves an
// event only when it is refused.
const quiet = "-"

// kinds are those of the first part of a pattern.
var kinds = map[string]ledger.Kind{
	"users": ledger.Account, "robots": ledger.Account, "htpasswd": ledger.Account, "groups": ledger.Group,
	"keys": ledger.Key, "sessions": ledger.Session, "password": ledger.Password,
	"policy": ledger.Policy, "signing-keys": ledger.SigningKey, "issuers": ledger.Federation, "gc": ledger.Sweep, "audit": ledger.Audit,
}

// objects are the kinds of what a path names, by the first part of its pattern.
var objects = map[string]string{"users": "user:", "robots": "robot:", "groups": "group:", "keys": "key:", "sessions": "session:", "signing-keys": "signing-key:", "issuers": "issuer:"}

// methodActions are what a method does where the pattern does not end in a
// word for it.
var methodActions = map[string]string{
	http.MethodPost: "add", http.MethodPut: "set", http.MethodPatch: "change", http.MethodDelete: "remove", http.MethodGet: "read",
}

// changes reports whether the route leaves an event when it is done.
func (rt route) changes() bool { return rt.method != http.MethodGet && rt.kind != quiet }

// about returns the kind and the action of the route's events: what the row
// says ("key.rotate"), or what the pattern does. POST /keys/{id}/rotate is of
// the kind key, and its action is "rotate".
func (rt route) about() (kind ledger.Kind, action string) {
	parts := strings.Split(strings.Trim(rt.pattern, "/"), "/")
	kind, known := kinds[parts[0]]
	if !known {
		kind = ledger.API
	}
	action = methodActions[rt.method]
	last := parts[len(parts)-1]
	switch {
	case kinds[last] == ledger.Password:
		kind = ledger.Password
	case rt.kind == quiet, rt.method == http.MethodPost && len(parts) > 1 && !strings.HasPrefix(last, "{"):
		action = last
	}
	if named, more, _ := strings.Cut(rt.kind, "."); rt.kind != "" && rt.kind != quiet {
		kind = ledger.Kind(named)
		if more != "" {
			action = more
		}
	}
	return kind, action
}

// newEvent begins an event about what the route does, to what its path names.
func (c *call) newEvent() ledger.Event {
	e := ledger.Event{Decision: ledger.Allowed}
	e.Kind, e.Action = c.route.about()
	e.Of(c.authority)
	e.From(inbound.Origin(c.r, c.w.Header()))
	switch w := c.route.who; {
	case w.right == "", w.own == named && c.target() == c.own():
		// No rule is needed.
	case w.over == anywhere:
		// The handler finds out what the right must be over.
	case w.over == registry:
		e.AllowOver(c.authority, w.right, "")
	default:
		e.AllowOver(c.authority, w.right, c.name(w.over))
	}
	first, rest, _ := strings.Cut(strings.Trim(c.route.pattern, "/"), "/")
	for part := range strings.SplitSeq(rest, "/") {
		name, isName := strings.CutPrefix(part, "{")
		switch value := c.name(strings.TrimSuffix(name, "}")); {
		case !isName:
		case e.Object == "":
			e.Object = objects[first] + value
		default:
			e.Set(strings.TrimSuffix(name, "}"), value)
		}
	}
	return e
}

// begin attaches the event of a route that changes something to the request: it
// is written in the transaction of the change.
func (c *call) begin() {
	e := c.newEvent()
	c.event = &e
	if c.route.changes() {
		c.r = c.r.WithContext(ledger.With(c.r.Context(), c.event))
	}
}

// record leaves an event where no change has left one: of a refusal, of a
// change that failed, of one that turned out to change nothing. It returns what
// to answer. A challenge asks for a token and leaves none.
func (c *call) record(err error) error {
	if c.door.Ledger == nil || c.event != nil && c.event.Recorded() {
		return err
	}
	e := c.newEvent()
	if c.event != nil {
		e = *c.event
	}
	denied, isDenied := errors.AsType[*access.Denied](err)
	_, isChallenge := errors.AsType[*access.InsufficientScope](err)
	switch {
	case isDenied:
		e.Deny(c.authority, denied)
	case errors.Is(err, errNarrowed):
		e.Decision, e.Reason = ledger.Denied, ledger.ByNarrowing
	case errors.Is(err, access.ErrInvalidToken):
		e.Kind, e.Action, e.Decision, e.Reason = ledger.Token, "present", ledger.Denied, ledger.BadToken
	case isChallenge, !c.route.changes(), c.event == nil:
		return err
	case errors.Is(err, access.ErrBadCredential):
		e.Decision, e.Reason = ledger.Denied, ledger.BadProof
	case err != nil:
		e.Decision, e.Reason = ledger.Failed, c.describe(err).Type
	}
	// A client that leaves is recorded all the same.
	if lost := c.door.Ledger.Record(context.WithoutCancel(c.r.Context()), e); lost != nil {
		c.door.Logger.ErrorContext(c.r.Context(), "request not recorded", "request", e.RequestID, "err", lost)
		if err == nil {
			return nil // it is answered, and has changed nothing
		}
		return refuse(http.StatusServiceUnavailable, "unavailable", "the request cannot be recorded now: come again later")
	}
	return err
}

// mayRead reports whether an event is of a part of the tree that the caller
// reads the record of. What has no name in the tree is for those who read all.
func (c *call) mayRead(e *ledger.Event) bool {
	name := e.Repository
	if kind, rest, found := strings.Cut(e.Object, ":"); name == "" && found && (kind == "user" || kind == "robot" || kind == "group") {
		name = rest
	}
	return name != "" && c.authority.MayManage(access.ReadAudit, name)
}
