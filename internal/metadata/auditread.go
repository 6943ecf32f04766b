package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

const (
	// maxBatches bounds how many batches one Read looks through, batchesAtOnce
	// how many it asks for at a time.
	maxBatches    = 64
	batchesAtOnce = 4
	// maxUnpacked is how many events of batches one Read takes the time to read,
	// those of the last batch aside.
	maxUnpacked = 4096
	// maxReads bounds the Reads at the same time: each may take a core.
	maxReads = 4
)

// Ends implements ledger.Book.
func (b book) Ends(ctx context.Context) (anchor, head ledger.Link, err error) {
	err = b.db.reads.rows(b.db.engine.detach(ctx), `SELECT id, seq, hash FROM audit_link ORDER BY id`, nil, func(rows *sql.Rows) error {
		var id int64
		var l ledger.Link
		var hash []byte
		err := rows.Scan(&id, &l.Seq, &hash)
		copy(l.Hash[:], hash)
		if id == 0 {
			anchor = l
		} else {
			head = l
		}
		return err
	})
	return anchor, head, wrap(err, "read the ends of the audit record")
}

// Read implements ledger.Book. Events come from two tables, each in order.
func (b book) Read(ctx context.Context, q ledger.Query) (ledger.Page, error) {
	select {
	case b.db.auditReads <- struct{}{}:
		defer func() { <-b.db.auditReads }()
	case <-ctx.Done():
		return ledger.Page{}, ctx.Err()
	}
	ctx = b.db.engine.detach(ctx)
	found, err := b.single(ctx, q)
	if err != nil {
		return ledger.Page{}, wrap(err, "read audit events")
	}
	// No event beyond the edge is known well enough to be shown.
	edge := edgeOf(q)
	if len(found) == q.Limit {
		edge = found[len(found)-1].Seq
	}
	if q.AllowsBatched() {
		batched, last, err := b.batched(ctx, q, edge)
		if err != nil {
			return ledger.Page{}, wrap(err, "read audit events")
		}
		found, edge = append(found, batched...), nearer(q, edge, last)
	}
	slices.SortFunc(found, func(x, y ledger.Sealed) int { return order(q, x.Seq, y.Seq) })
	if i := slices.IndexFunc(found, func(s ledger.Sealed) bool { return order(q, s.Seq, edge) > 0 }); i >= 0 {
		found = found[:i]
	}
	if len(found) > q.Limit {
		found = found[:q.Limit]
		edge = found[q.Limit-1].Seq
	}
	p := ledger.Page{Events: found}
	if edge != edgeOf(q) {
		p.Next = ledger.Seq{N: edge, Given: true}
	}
	return p, nil
}

// order compares two numbers in the order that q asks for.
func order(q ledger.Query, a, b int64) int {
	switch {
	case a == b:
		return 0
	case (a < b) == q.Forward():
		return -1
	}
	return 1
}

// edgeOf returns what no event of q comes after.
func edgeOf(q ledger.Query) int64 {
	if q.Forward() {
		return math.MaxInt64
	}
	return 0
}

func nearer(q ledger.Query, a, b int64) int64 {
	if order(q, a, b) < 0 {
		return a
	}
	return b
}

// conditions gathers what follows WHERE.
type conditions struct {
	text []string
	args args
}

// add takes a condition with one "?" for its value.
func (c *conditions) add(text string, value any) {
	c.args = append(c.args, value)
	c.text = append(c.text, strings.ReplaceAll(text, "?", "$"+strconv.Itoa(len(c.args))))
}

// bounds limits a column of numbers as q asks. It always adds something.
func (c *conditions) bounds(q ledger.Query, forward, backward string) (direction string) {
	switch {
	case q.Forward():
		c.add(forward+" > ?", q.After.N)
		return "ASC"
	case q.Before.Given:
		c.add(backward+" < ?", q.Before.N)
	default:
		c.add(backward+" > ?", 0)
	}
	return "DESC"
}

// slack is how much later than another that happened first an event may be
// recorded and still be found by its time.
const slack = 10 * time.Minute

// since adds that no event is wanted from before q.Since, and, from the events
// that came about then, where the search may end.
func (c *conditions) since(ctx context.Context, b book, q ledger.Query, text string, young, beyond string) error {
	if q.Since.IsZero() {
		return nil
	}
	var floor int64
	err := b.db.reads.row(ctx, text, args{micros(q.Since.Add(-slack))}, &floor)
	if err != nil && !errors.Is(err, errNone) {
		return err
	}
	c.add(young, micros(q.Since))
	c.add(beyond, floor)
	return nil
}

func (b book) single(ctx context.Context, q ledger.Query) ([]ledger.Sealed, error) {
	var c conditions
	direction := c.bounds(q, "seq", "seq")
	if err := c.since(ctx, b, q, `SELECT seq FROM audit_event WHERE time >= $1 ORDER BY time LIMIT 1`, "time >= ?", "seq >= ?"); err != nil {
		return nil, err
	}
	if !q.Until.IsZero() {
		c.add("time < ?", micros(q.Until))
	}
	if q.Principal != "" {
		c.add("principal = ?", q.Principal)
	}
	if q.RequestID != "" {
		c.add("request = ? AND request <> ''", q.RequestID)
	}
	if q.Kind != "" {
		c.add("kind = ?", string(q.Kind))
	}
	if q.Denied {
		c.text = append(c.text, "denied")
	}
	if base, below := strings.CutSuffix(q.Repository, "/**"); below {
		from, to := span(base + "/")
		c.args = append(c.args, base, from, to)
		n := len(c.args)
		c.text = append(c.text, fmt.Sprintf("(repository = $%d OR repository >= $%d AND repository < $%d) AND repository <> ''", n-2, n-1, n))
	} else if q.Repository != "" {
		c.add("repository = ? AND repository <> ''", q.Repository)
	}
	c.args = append(c.args, q.Limit)
	var out []ledger.Sealed
	err := b.db.reads.rows(ctx, `SELECT seq, time, kind, principal, repository, request, denied, canonical, prev, hash FROM audit_event WHERE `+strings.Join(c.text, " AND ")+
		` ORDER BY seq `+direction+` LIMIT $`+strconv.Itoa(len(c.args)), c.args, func(rows *sql.Rows) error {
		var f filed
		var seq int64
		var canonical, prev, hash []byte
		if err := rows.Scan(&seq, &f.time, &f.kind, &f.principal, &f.repository, &f.request, &f.denied, &canonical, &prev, &hash); err != nil {
			return err
		}
		s := ledger.Stored(seq, hashOf(prev), hashOf(hash), canonical)
		if f != filedAs(s.Event) {
			s.Hash = ledger.Hash{} // filters do not find it for what it is: Chain is to say so
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// filed is what an event is found by.
type filed struct {
	time                                 int64
	kind, principal, repository, request string
	denied                               bool
}

func filedAs(e ledger.Event) filed {
	return filed{micros(e.Time), string(e.Kind), e.Principal, e.Repository, e.RequestID, e.Decision != ledger.Allowed}
}

func hashOf(b []byte) (h ledger.Hash) {
	copy(h[:], b)
	return h
}

// batched looks through batches as far as edge. It returns how far it came.
func (b book) batched(ctx context.Context, q ledger.Query, edge int64) (out []ledger.Sealed, last int64, err error) {
	s := scan{q: q, last: edgeOf(q)}
	for range maxBatches / batchesAtOnce {
		before := s.batches
		if err := b.someBatches(ctx, &s, edge); err != nil && !errors.Is(err, errEnough) {
			return nil, 0, err
		} else if err != nil {
			return s.out, s.last, nil
		}
		if s.batches < before+batchesAtOnce {
			return s.out, edgeOf(q), nil
		}
	}
	return s.out, s.last, nil
}

// errEnough ends a scan.
var errEnough = errors.New("that is enough")

// A scan goes through batches in the order of q, whose bounds and limit are
// those of what is still wanted.
type scan struct {
	q       ledger.Query
	out     []ledger.Sealed
	last    int64 // up to there everything was looked at
	read    int
	batches int
}

// take looks through a batch, whose last event is end. Errors: errEnough.
func (s *scan) take(p ledger.Packed, end int64) error {
	found, read := p.Unpack(s.q)
	s.out, s.read, s.batches = append(s.out, found...), s.read+read, s.batches+1
	if s.q.Limit -= len(found); s.q.Limit == 0 {
		s.last = found[len(found)-1].Seq
		return errEnough
	}
	if s.last = p.First; s.q.Forward() {
		s.last = end
		s.q.After.N = end
	} else {
		s.q.Before = ledger.Seq{N: p.First, Given: true}
	}
	if s.read >= maxUnpacked {
		return errEnough
	}
	return nil
}

// someBatches takes the next batches.
func (b book) someBatches(ctx context.Context, s *scan, edge int64) error {
	var c conditions
	direction := c.bounds(s.q, "last", "first")
	if s.q.Forward() {
		c.add("first <= ?", edge)
	} else {
		c.add("last >= ?", edge)
	}
	if err := c.since(ctx, b, s.q, `SELECT last FROM audit_batch WHERE until >= $1 ORDER BY until LIMIT 1`, "until >= ?", "last >= ?"); err != nil {
		return err
	}
	if !s.q.Until.IsZero() {
		c.add("since < ?", micros(s.q.Until))
	}
	c.args = append(c.args, batchesAtOnce)
	return b.db.reads.rows(ctx, `SELECT first, last, canonical, prev, hash FROM audit_batch WHERE `+strings.Join(c.text, " AND ")+
		` ORDER BY last `+direction+` LIMIT $`+strconv.Itoa(len(c.args)), c.args, func(rows *sql.Rows) error {
		var p ledger.Packed
		var end int64
		var prev, hash []byte
		if err := rows.Scan(&p.First, &end, &p.Text, &prev, &hash); err != nil {
			return err
		}
		p.Prev, p.Hash = hashOf(prev), hashOf(hash)
		return s.take(p, end)
	})
}
