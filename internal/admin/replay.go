package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

const (
	// replayPart is how many events are read at a time.
	replayPart = 1000
	// maxReplayed bounds the lines of an answer.
	maxReplayed = 10_000
)

// replayPolicy asks a candidate policy about the decisions on record, and
// answers with those that it would change.
func (c *call) replayPolicy() error {
	since, err := time.Parse(time.RFC3339, c.query.Get("since"))
	if err != nil {
		return badRequest("query parameter since: want a time such as 2026-11-25T08:00:00Z")
	}
	document, err := c.readBody("application/yaml", "text/plain")
	if err != nil {
		return err
	}
	candidate, err := c.authority.Policy.Next(document)
	if err != nil {
		return err
	}
	if c.door.Ledger != nil {
		if err := c.door.Ledger.Flush(c.r.Context()); err != nil {
			return fmt.Errorf("write what waits: %w", err)
		}
	}
	r := replay{candidate: candidate, changed: make(map[client.ReplayKey]*client.Replayed)}
	q := ledger.Query{Since: since, After: ledger.Seq{Given: true}, Limit: replayPart}
	for q.After.Given {
		// SQLite reads on for who has gone.
		if err := c.r.Context().Err(); err != nil {
			return err
		}
		page, err := c.door.Book.Read(c.r.Context(), q)
		if err != nil {
			return err
		}
		for i := range page.Events {
			r.ask(&page.Events[i].Event)
		}
		q.After = page.Next
	}
	return c.json(http.StatusOK, r.answer())
}

// A replay gathers what a candidate policy would have changed.
type replay struct {
	candidate *access.Policy
	asked     int64
	more      int64
	changed   map[client.ReplayKey]*client.Replayed
}

// ask puts a recorded decision to the candidate, tag by tag: what was done to
// several tags was allowed for each of them.
func (r *replay) ask(e *ledger.Event) {
	for _, was := range decided(e) {
		query, err := access.Facts{
			Principal: e.Principal, Groups: e.Groups, Claims: e.Claims, Method: e.Method, Action: was.action,
			Repository: e.Repository, Tag: was.tag, Address: e.Address, TLS: e.TLS, Time: e.Time,
		}.Query()
		if err != nil {
			continue // of a version that knew other actions, or a tag cut by the record
		}
		query.AnyTag = query.AnyTag && !was.untagged
		r.compare(e, r.candidate.Decide(query), was.action)
	}
}

// compare counts what the candidate decides about an action on record.
func (r *replay) compare(e *ledger.Event, d access.Decision, action access.Action) {
	r.asked++
	if was := e.Decision == ledger.Allowed; d.Allowed == was {
		return
	}
	key := client.ReplayKey{Principal: e.Principal, Action: string(action), Repository: e.Repository, Allowed: d.Allowed}
	line := r.changed[key]
	switch {
	case line != nil:
	case len(r.changed) == maxReplayed:
		r.more++
		return
	default:
		line = &client.Replayed{ReplayKey: key}
		r.changed[key] = line
	}
	line.Count++
	line.Last = e.Time.UTC()
	line.Rule = cmp.Or(d.Protection.Name, d.Rule.Name)
}

// A decision is what the policy was asked about.
type decision struct {
	action   access.Action
	tag      string // "" when it was not known
	untagged bool   // there was none
}

// decided returns the decisions in an event of a pull, a push or a deletion. Only
// those of the policy count: what a credential was too narrow for stays denied.
func decided(e *ledger.Event) []decision {
	switch {
	case e.Decision == ledger.Denied && e.Reason == ledger.ByPolicy && e.Repository != "":
		if action := access.Action(e.Detail["needs"]); action != "" {
			return []decision{{action: action, tag: e.Tag}}
		}
		return nil
	case e.Decision != ledger.Allowed:
		return nil
	}
	switch e.Kind {
	case ledger.Pull:
		return []decision{{action: access.Pull, tag: e.Tag}}
	case ledger.Delete:
		return deleted(e)
	case ledger.Push:
		return pushed(e)
	}
	return nil
}

// deleted: a tag, a manifest with all of its tags, or something without any.
func deleted(e *ledger.Event) []decision {
	var out []decision
	for _, tag := range strings.Fields(cmp.Or(e.Tag, e.Detail["tags"])) {
		out = append(out, decision{action: access.Delete, tag: tag})
	}
	if len(out) == 0 {
		out = append(out, decision{action: access.Delete, untagged: true})
	}
	return out
}

// pushed: one tag that was made or moved, several, or none. A tag that stayed
// where it was took no more than to push at all.
func pushed(e *ledger.Event) []decision {
	if a := access.Action(e.Action); a == access.CreateTag || a == access.MoveTag {
		return []decision{{action: a, tag: e.Tag}}
	}
	var out []decision
	for _, tag := range strings.Fields(e.Detail["created"]) {
		out = append(out, decision{action: access.CreateTag, tag: tag})
	}
	for _, moved := range strings.Fields(e.Detail["moved"]) { // "TAG=DIGEST", the digest that it had
		tag, _, _ := strings.Cut(moved, "=")
		out = append(out, decision{action: access.MoveTag, tag: tag})
	}
	if len(out) == 0 {
		out = append(out, decision{action: access.Push})
	}
	return out
}

func (r *replay) answer() client.Replay {
	out := client.Replay{Decisions: r.asked, More: r.more, Changes: []client.Replayed{}}
	for _, line := range r.changed {
		out.Changes = append(out.Changes, *line)
	}
	slices.SortFunc(out.Changes, func(a, b client.Replayed) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Principal, b.Principal),
			cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Action, b.Action))
	})
	return out
}
