package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

// An AuditEvent is an event of the record, with the hash that it follows and
// its own. Written as JSON it is a line that ledger.ParseLine reads.
type AuditEvent struct {
	ledger.Event
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// An AuditLink is a place in the record: after the event Seq.
type AuditLink struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// An AuditPage is a part of the record. It may have few events, or none, and
// still not be the last.
type AuditPage struct {
	Items []AuditEvent `json:"items"`
	// Next is "" at the end, else the value of the query parameter "after", or
	// "before" when the newest come first, that gives the following part.
	Next string `json:"next,omitempty"`
	// Through is for who asks for the oldest first and has come to the end: what
	// happens later has greater numbers than that. It may be beyond the last item.
	Through int64 `json:"through,omitempty"`
	// Anchor stands for events that were removed from the beginning, Head is the
	// last event. Only who reads the whole record gets them.
	Anchor *AuditLink `json:"anchor,omitempty"`
	Head   *AuditLink `json:"head,omitempty"`
}

// An AuditQuery selects events. The zero value is all of them, the newest first.
type AuditQuery struct {
	Who     string // a principal, "user:alice"
	What    string // a kind, "push"
	Where   string // a repository, or "team/**"
	Request string // the id of a request
	Since   time.Time
	Until   time.Time
	Denied  bool // or failed
	// Oldest asks for the oldest first, After for those after an event.
	Oldest bool
	After  int64
	Before string // what Next said
	Limit  int    // of one part; 0 is the server's
}

// Audit returns one part of the record.
func (c *Client) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	v := url.Values{}
	for name, value := range map[string]string{"who": q.Who, "what": q.What, "where": q.Where, "request": q.Request, "before": q.Before} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Denied {
		v.Set("denied", "true")
	}
	if q.Oldest {
		v.Set("after", strconv.FormatInt(q.After, 10))
	}
	if q.Limit > 0 {
		v.Set("n", strconv.Itoa(q.Limit))
	}
	var out AuditPage
	err := c.do(ctx, ask{method: http.MethodGet, path: []string{"audit"}, query: v}, &out)
	return out, err
}

// Link reads the hash.
func (l AuditLink) Link() (ledger.Link, error) {
	out := ledger.Link{Seq: l.Seq}
	if err := out.Hash.UnmarshalText([]byte(l.Hash)); err != nil {
		return out, fmt.Errorf("the server's answer: hash: %w", err)
	}
	return out, nil
}
