package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// listAudit shows the record: all of it to who may read it all, to others what
// is of the parts of the tree that they may read (L-06).
func (c *call) listAudit() error {
	q, err := c.auditQuery()
	if err != nil {
		return err
	}
	if c.door.Ledger != nil {
		// What happened before the question is in the answer.
		if err := c.door.Ledger.Flush(c.r.Context()); err != nil {
			return fmt.Errorf("write what waits: %w", err)
		}
	}
	all := c.authority.MayManage(access.ReadAudit, "")
	anchor, head, err := c.door.Book.Ends(c.r.Context())
	if err != nil {
		return err
	}
	var found ledger.Page
	if all {
		found, err = c.door.Book.Read(c.r.Context(), q)
	} else {
		found, err = c.readPart(q, anchor.Seq, head.Seq)
	}
	if err != nil {
		return err
	}
	page := client.AuditPage{Items: []client.AuditEvent{}}
	for _, s := range found.Events {
		page.Items = append(page.Items, client.AuditEvent{Event: s.Event, Prev: s.Prev.String(), Hash: s.Hash.String()})
	}
	if all {
		page.Anchor = &client.AuditLink{Seq: anchor.Seq, Hash: anchor.Hash.String()}
		page.Head = &client.AuditLink{Seq: head.Seq, Hash: head.Hash.String()}
	}
	switch {
	case found.Next.Given:
		page.Next = strconv.FormatInt(found.Next.N, 10)
	case q.Forward():
		page.Through = max(q.After.N, head.Seq)
	}
	return c.json(http.StatusOK, page)
}

// stretch is how many numbers of events are looked through at a time for who
// may read a part of the record. Tests make it shorter.
var stretch int64 = 10_000

// readPart is Read for who may read the events of a part of the tree alone. How
// far it comes depends on nothing but the numbers of events, and on those that
// it returns: where an answer ends would else tell that there are others.
func (c *call) readPart(q ledger.Query, anchor, head int64) (ledger.Page, error) {
	want := q.Limit
	q.Limit = maxPage
	end := max(q.After.N, anchor) + stretch // the last number to look at
	last := end >= head
	if !q.Forward() {
		from := head + 1
		if q.Before.Given {
			from = min(from, q.Before.N)
		}
		end = from - stretch
		last = end <= anchor+1
	}
	passed := func(n int64) bool { return n != end && (n > end) == q.Forward() }
	var out ledger.Page
	for {
		found, err := c.door.Book.Read(c.r.Context(), q)
		if err != nil {
			return ledger.Page{}, err
		}
		for _, s := range found.Events {
			if passed(s.Seq) {
				break
			}
			if !c.mayRead(&s.Event) {
				continue
			}
			if out.Events = append(out.Events, s); len(out.Events) == want {
				out.Next = ledger.Seq{N: s.Seq, Given: true}
				return out, nil
			}
		}
		next := found.Next
		if !next.Given || next.N == end || passed(next.N) {
			out.Next = ledger.Seq{N: end, Given: !last}
			return out, nil
		}
		if q.Forward() {
			q.After = next
		} else {
			q.Before = next
		}
	}
}

// auditQuery reads what the query asks for.
func (c *call) auditQuery() (ledger.Query, error) {
	get := c.query.Get
	n, _, err := c.page()
	if err != nil {
		return ledger.Query{}, err
	}
	q := ledger.Query{Principal: get("who"), Repository: get("where"), Kind: ledger.Kind(get("what")), RequestID: get("request"), Limit: n}
	for name, value := range map[string]string{"who": q.Principal, "where": q.Repository, "what": get("what"), "request": q.RequestID} {
		if len(value) > maxFilter {
			return ledger.Query{}, badRequest("query parameter %s: longer than %d bytes", name, maxFilter)
		}
	}
	if err := canMatch(q); err != nil {
		return ledger.Query{}, err
	}
	for name, to := range map[string]*ledger.Seq{"after": &q.After, "before": &q.Before} {
		if !c.query.Has(name) {
			continue
		}
		if to.N, err = strconv.ParseInt(get(name), 10, 64); err != nil || to.N < 0 {
			return ledger.Query{}, badRequest("query parameter %s: want the number of an event", name)
		}
		to.Given = true
	}
	if q.After.Given && q.Before.Given {
		return ledger.Query{}, badRequest("query parameters after and before: give one")
	}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if !c.query.Has(name) {
			continue
		}
		if *to, err = time.Parse(time.RFC3339, get(name)); err != nil {
			return ledger.Query{}, badRequest("query parameter %s: want a time such as 2026-11-25T08:00:00Z", name)
		}
	}
	switch get("denied") {
	case "", "false":
	case "true":
		q.Denied = true
	default:
		return ledger.Query{}, badRequest("query parameter denied: want true or false")
	}
	return q, nil
}

// canMatch refuses filters that no event matches: an empty answer would be taken
// for one about what happened.
func canMatch(q ledger.Query) error {
	if q.Kind != "" && !slices.Contains(ledger.Kinds, q.Kind) {
		return badRequest("query parameter what: %.40q is no kind of event: use one of %s", q.Kind, words(ledger.Kinds))
	}
	if kind, _, named := strings.Cut(q.Principal, ":"); q.Principal != "" && q.Principal != (access.Principal{}).String() && q.Principal != ledger.System &&
		!(named && slices.Contains([]string{"user", "robot", "external"}, kind)) {
		return badRequest("query parameter who: %.80q is no principal: use user:NAME, robot:NAME, external:NAME (ISSUER), anonymous or system", q.Principal)
	}
	if strings.Contains(strings.TrimSuffix(q.Repository, "/**"), "*") {
		return badRequest("query parameter where: %.80q is no repository: use a name, or one with /** at its end", q.Repository)
	}
	return nil
}

func words[T ~string](all []T) string {
	var out []string
	for _, one := range all {
		out = append(out, string(one))
	}
	return strings.Join(out, ", ")
}

// maxFilter bounds a filter, in bytes, as names in events are.
const maxFilter = 256
