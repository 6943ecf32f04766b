package metadata

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

// Remove implements ledger.Book. What goes is always the beginning, up to the
// first event that is not old enough.
func (b book) Remove(ctx context.Context, before time.Time, limit int64) (int64, error) {
	var removed int64
	err := b.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		removed = 0
		var from, to int64
		// On PostgreSQL the update, which changes nothing, makes those who remove wait
		// for each other: the place that another has moved is read when it has.
		if err := t.row(ctx, `UPDATE audit_link SET seq = seq WHERE id = 0 RETURNING seq`, nil, &from); err != nil {
			return err
		}
		hash, err := t.lastBefore(ctx, from, limit, micros(before), &to)
		if err != nil || to <= from {
			return err
		}
		for _, text := range []string{`DELETE FROM audit_event WHERE seq <= $1`, `DELETE FROM audit_batch WHERE last <= $1`} {
			if _, err := t.exec(ctx, text, args{to}); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, `UPDATE audit_link SET seq = $1, hash = $2 WHERE id = 0`, args{to, hash}); err != nil {
			return err
		}
		removed = to - from
		return t.record(ctx, ledger.Removal(from+1, to, before))
	})
	return removed, wrap(err, "remove old audit events")
}

// lastBefore finds the last event that may go, at least one and about limit
// after from, and its hash.
func (t *tx) lastBefore(ctx context.Context, from, limit, before int64, to *int64) ([]byte, error) {
	young := int64(math.MaxInt64) // the first that stays, as far as limit goes
	for _, text := range []string{
		`SELECT seq FROM audit_event WHERE seq > $1 AND seq <= $2 AND time >= $3 ORDER BY seq LIMIT 1`,
		`SELECT first FROM audit_batch WHERE last > $1 AND first <= $2 AND until >= $3 ORDER BY last LIMIT 1`,
	} {
		var seq int64
		err := t.row(ctx, text, args{from, from + limit, before}, &seq)
		if err == nil {
			young = min(young, seq)
		} else if !errors.Is(err, errNone) {
			return nil, err
		}
	}
	*to = from
	var last []byte
	for _, text := range []string{
		`SELECT seq, hash FROM audit_event WHERE seq > $1 AND seq < $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1`,
		`SELECT last, hash FROM audit_batch WHERE last > $1 AND last < $2 AND first <= $3 ORDER BY last DESC LIMIT 1`,
	} {
		err := t.rows(ctx, text, args{from, young, from + limit}, func(rows *sql.Rows) error {
			var seq int64
			var hash []byte
			if err := rows.Scan(&seq, &hash); err != nil {
				return err
			}
			if seq > *to {
				*to, last = seq, hash
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}
