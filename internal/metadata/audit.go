package metadata

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// book implements ledger.Book.
type book struct{ db *DB }

// Ledger returns the record of what happened.
func (db *DB) Ledger() ledger.Book { return book{db} }

// change runs fn as a hard transaction that also writes the event that is
// pending in ctx. It is for all that a person or program decides to change; if
// the event cannot be written, the change is not made.
func (db *DB) change(ctx context.Context, fn func(context.Context, *tx) error) error {
	return db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		if err := fn(ctx, t); err != nil {
			return err
		}
		e := ledger.Pending(ctx)
		if e == nil || e.Recorded() {
			return nil
		}
		t.pending = e
		return t.record(ctx, *e)
	})
}

// note lets fill complete the event that is pending in ctx, if there is one,
// with what only the transaction knows. It may be called again.
func note(ctx context.Context, fill func(e *ledger.Event)) {
	if e := ledger.Pending(ctx); e != nil && !e.Recorded() {
		fill(e)
	}
}

// Append implements ledger.Store. Losing the last events in a crash of the
// machine is what their callers accept.
func (b book) Append(ctx context.Context, events []ledger.Event) error {
	if len(events) == 0 {
		return nil
	}
	err := b.db.write(ctx, soft, func(ctx context.Context, t *tx) error { return t.record(ctx, events...) })
	return wrap(err, "append to the audit record")
}

// record writes events at the end of the chain. On PostgreSQL the end is locked
// until the transaction ends, so this is the last that a transaction does: who
// has it waits for nobody.
func (t *tx) record(ctx context.Context, events ...ledger.Event) error {
	at, err := t.end(ctx, len(events))
	if err != nil {
		return wrap(err, "find the end of the audit record")
	}
	var single, batched []ledger.Event
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = t.db.opts.Now()
		}
		if e.Principal == "" {
			e.Principal = ledger.System
		}
		if e.Batched() {
			batched = append(batched, e)
		} else {
			single = append(single, e)
		}
	}
	if err := t.recordBatch(ctx, &at, batched); err != nil {
		return wrap(err, "write audit events")
	}
	if err := t.recordSingle(ctx, &at, single); err != nil {
		return wrap(err, "write audit events")
	}
	_, err = t.exec(ctx, `UPDATE audit_link SET hash = $1 WHERE id = 1`, args{at.Hash[:]})
	return wrap(err, "move the end of the audit record")
}

// end makes room for n events and returns the place that they follow.
func (t *tx) end(ctx context.Context, n int) (ledger.Link, error) {
	var seq int64
	var hash []byte
	if err := t.row(ctx, `UPDATE audit_link SET seq = seq + $1 WHERE id = 1 RETURNING seq, hash`, args{n}, &seq, &hash); err != nil {
		return ledger.Link{}, err
	}
	l := ledger.Link{Seq: seq - int64(n)}
	if copy(l.Hash[:], hash) != len(l.Hash) {
		return ledger.Link{}, errors.New("the hash at the end is damaged")
	}
	return l, nil
}

// recordBatch writes events as one row.
func (t *tx) recordBatch(ctx context.Context, at *ledger.Link, events []ledger.Event) error {
	if len(events) == 0 {
		return nil
	}
	before := *at
	sealed := make([]ledger.Sealed, len(events))
	since, until := events[0].Time, events[0].Time
	for i, e := range events {
		sealed[i] = ledger.Seal(*at, e)
		*at = sealed[i].Link()
		since, until = earliest(since, e.Time), latest(until, e.Time)
	}
	t.sealed = append(t.sealed, sealed...)
	_, err := t.exec(ctx, `INSERT INTO audit_batch (last, first, since, until, canonical, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		args{at.Seq, sealed[0].Seq, micros(since), micros(until), ledger.Pack(sealed), before.Hash[:], at.Hash[:]})
	return err
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// maxRows bounds the rows of one statement.
const maxRows = 256

// recordSingle writes events as a row each, many with one statement. The
// numbers of rows are powers of two, so that few different statements come about.
func (t *tx) recordSingle(ctx context.Context, at *ledger.Link, events []ledger.Event) error {
	for len(events) > 0 {
		n := maxRows
		for n > len(events) {
			n /= 2
		}
		var a args
		for _, e := range events[:n] {
			s := ledger.Seal(*at, e)
			*at, t.sealed = s.Link(), append(t.sealed, s)
			f := filedAs(s.Event)
			a = append(a, s.Seq, f.time, f.kind, f.principal, f.repository, f.request, f.denied, string(s.Canonical()), s.Prev[:], s.Hash[:])
		}
		if _, err := t.exec(ctx, `INSERT INTO audit_event (seq, time, kind, principal, repository, request, denied, canonical, prev, hash) VALUES `+
			placeholders(n, len(a)/n), a); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// settle makes known what a transaction has committed.
func (db *DB) settle(t *tx) {
	db.gen.publish(t.generation)
	if t.pending != nil {
		t.pending.MarkRecorded(t.sealed[len(t.sealed)-1].Seq)
	}
	if len(t.sealed) > 0 && db.opts.Recorded != nil {
		db.opts.Recorded(t.sealed)
	}
}

// noteTags says what a push did to tags: of one tag in the event's action, and
// of each that moved where it was before.
func noteTags(e *ledger.Event, changes []registry.TagChange) {
	e.Action = "push" // the transaction may run again
	delete(e.Detail, "previous")
	var made, moved []string
	for _, c := range changes {
		if c.Previous == "" {
			made = append(made, string(c.Tag))
		} else {
			moved = append(moved, string(c.Tag)+"="+string(c.Previous))
		}
	}
	if len(changes) == 1 {
		e.Action = string(access.CreateTag)
		if previous := changes[0].Previous; previous != "" {
			e.Action = string(access.MoveTag)
			e.Set("previous", string(previous))
		}
		return
	}
	e.Set("created", strings.Join(made, " "))
	e.Set("moved", strings.Join(moved, " "))
}

// noteDeleted says which tags went with a manifest.
func noteDeleted(e *ledger.Event, tags []oci.Tag) {
	delete(e.Detail, "tags") // the transaction may run again
	var names []string
	for _, t := range tags {
		names = append(names, string(t))
	}
	e.Set("tags", strings.Join(names, " "))
}
