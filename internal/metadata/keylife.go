package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

// RotateKey implements account.KeyLife. On PostgreSQL writers wait for each
// other at the generation, so that only one finds a line with one key alive.
func (d directory) RotateKey(ctx context.Context, id string, next account.Key, end time.Time) (access.Narrowing, error) {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) (err error) {
		now := micros(next.Created)
		if err := changed(t.exec(ctx, `UPDATE access_key SET successor = $3, expires = CASE WHEN expires > $4 THEN $4 ELSE expires END
			WHERE id = $2 AND revoked = 0 AND expires > $1`, args{now, id, next.ID, micros(end)})); err != nil {
			return err
		}
		// It may have been narrowed since the caller looked.
		if next.Narrowing, err = t.narrowing(ctx, id); err != nil {
			return err
		}
		var other string
		err = t.row(ctx, `SELECT k.id FROM access_key k WHERE k.family = $2 AND k.id <> $3 AND `+aliveKey+` LIMIT 1`, args{now, next.Family, id}, &other)
		if err == nil {
			return &account.RotatedError{Other: other}
		}
		if !errors.Is(err, errNone) {
			return err
		}
		note(ctx, func(e *ledger.Event) {
			e.Set("successor", next.ID)
			e.Set("until", end.UTC().Format(time.RFC3339))
		})
		return t.addKey(ctx, next)
	})
	return next.Narrowing, wrap(err, "rotate key %s", id)
}

// narrowing returns what a key is narrowed to. Errors: account.ErrUnknown.
func (t *tx) narrowing(ctx context.Context, id string) (n access.Narrowing, err error) {
	var text []byte
	if err := known(t.row(ctx, `SELECT narrowing FROM access_key WHERE id = $1`, args{id}, &text)); err != nil {
		return n, err
	}
	return n, json.Unmarshal(text, &n)
}

// NarrowKey implements account.KeyLife.
func (d directory) NarrowKey(ctx context.Context, id string, from, to access.Narrowing) error {
	narrow, err := json.Marshal(to)
	if err != nil {
		return wrap(err, "narrow key")
	}
	err = d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		now, err := t.narrowing(ctx, id)
		if err != nil {
			return err
		}
		if !now.Equal(from) {
			return account.ErrUnknown
		}
		_, err = t.exec(ctx, `UPDATE access_key SET narrowing = $2 WHERE id = $1`, args{id, string(narrow)})
		return err
	})
	return wrap(err, "narrow key %s", id)
}

// line is the key $1 and what was rotated from it with the key itself, and so
// on: whoever had the key could have made them.
const line = `WITH RECURSIVE line (id, successor) AS (
		SELECT k.id, k.successor FROM access_key k WHERE k.id = $1
		UNION SELECT k.id, k.successor FROM line l JOIN access_key k ON k.id = l.successor AND k.creator_key = l.id)
	`

// RevokeKey implements account.KeyLife. A second time changes nothing.
func (d directory) RevokeKey(ctx context.Context, id string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, line+`UPDATE access_key SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END
			WHERE id IN (SELECT id FROM line)`, args{id, micros(at)})); err != nil {
			return err
		}
		// The key that it followed has no successor any more: listings warn of it again.
		if _, err := t.exec(ctx, `UPDATE access_key SET successor = '' WHERE family = (SELECT family FROM access_key WHERE id = $1)
			AND successor = $1 AND revoked = 0`, args{id}); err != nil {
			return err
		}
		_, err := t.exec(ctx, line+`UPDATE session SET revoked = $2 WHERE key_id IN (SELECT id FROM line) AND revoked = 0`, args{id, micros(at)})
		return err
	})
	return wrap(err, "revoke key %s", id)
}

// TouchKeys implements account.KeyLife.
func (d directory) TouchKeys(ctx context.Context, used map[string]account.Use) error {
	return wrap(d.db.touchUsed(ctx, `UPDATE access_key SET last_used = $2, last_address = $3, last_agent = $4 WHERE id = $1 AND last_used < $2`, used),
		"record last use of keys")
}

// touchUsed moves last uses forward, in one order for all.
func (db *DB) touchUsed(ctx context.Context, query string, used map[string]account.Use) error {
	if len(used) == 0 {
		return nil
	}
	return db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		for _, id := range slices.Sorted(maps.Keys(used)) {
			u := used[id]
			if _, err := t.exec(ctx, query, args{id, micros(u.Time), u.Address, u.Agent}); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropKeys implements account.KeyLife.
func (d directory) DropKeys(ctx context.Context, before time.Time, limit int) (int, error) {
	return d.db.drop(ctx, `DELETE FROM access_key WHERE id IN (
		SELECT id FROM access_key WHERE revoked > 0 AND revoked < $1 OR revoked = 0 AND expires < $1 LIMIT $2)`, args{micros(before), limit})
}

// drop deletes rows that give no right to anybody any more, so the generation
// stays. It returns how many.
func (db *DB) drop(ctx context.Context, query string, a args) (int, error) {
	var dropped int64
	err := db.write(ctx, hard, func(ctx context.Context, t *tx) (err error) {
		dropped, err = t.exec(ctx, query, a)
		return err
	})
	return int(dropped), wrap(err, "drop what has ended")
}
