package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
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

// ask puts a recorded decision to the candidate. Only decisions of the policy
// count: what a credential was too narrow for stays denied.
func (r *replay) ask(e *ledger.Event) {
	action, ok := decided(e)
	if !ok {
		return
	}
	query, err := access.Facts{
		Principal: e.Principal, Groups: e.Groups, Claims: e.Claims, Method: e.Method, Action: action,
		Repository: e.Repository, Tag: e.Tag, Address: e.Address, TLS: e.TLS, Time: e.Time,
	}.Query()
	if err != nil {
		return // of a version that knew other actions
	}
	r.asked++
	d := r.candidate.Decide(query)
	was := e.Decision == ledger.Allowed
	if d.Allowed == was {
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

// decided returns what the policy was asked about in an event of a pull, a push
// or a deletion, if it was asked.
func decided(e *ledger.Event) (access.Action, bool) {
	switch {
	case e.Decision == ledger.Denied && e.Reason == ledger.ByPolicy && e.Repository != "":
		action := access.Action(e.Detail["needs"])
		return action, action != ""
	case e.Decision != ledger.Allowed:
		return "", false
	}
	switch e.Kind {
	case ledger.Pull:
		return access.Pull, true
	case ledger.Delete:
		return access.Delete, true
	case ledger.Push:
		if a := access.Action(e.Action); a == access.CreateTag || a == access.MoveTag {
			return a, true
		}
		return access.Push, true
	}
	return "", false
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
