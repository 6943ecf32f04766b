package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/sallyport/sallyport/internal/account"
)

const keyColumns = `SELECT k.id, k.account_uid, a.kind || ':' || a.name, k.label, k.sum, k.narrowing, k.created, k.expires, k.revoked, k.last_used
	FROM access_key k JOIN account a ON a.uid = k.account_uid `

// AddKey implements account.Keys.
func (d directory) AddKey(ctx context.Context, k account.Key) error {
	narrow, err := json.Marshal(k.Narrowing)
	if err != nil {
		return wrap(err, "add key")
	}
	err = d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := t.accountExists(ctx, k.AccountID); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO access_key (id, account_uid, label, sum, narrowing, created, expires, revoked, last_used)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			args{k.ID, k.AccountID, k.Label, k.Sum[:], string(narrow), micros(k.Created), micros(k.Expires), micros(k.Revoked), micros(k.LastUsed)})
		return err
	})
	return wrap(err, "add key %s", k.ID)
}

// KeyBySum implements account.Keys.
func (d directory) KeyBySum(ctx context.Context, sum [32]byte) (account.Key, error) {
	return d.key(ctx, keyColumns+`WHERE k.sum = $1`, sum[:])
}

// KeyByID implements account.Keys.
func (d directory) KeyByID(ctx context.Context, id string) (account.Key, error) {
	return d.key(ctx, keyColumns+`WHERE k.id = $1`, id)
}

func (d directory) key(ctx context.Context, query string, by any) (account.Key, error) {
	if err := ctx.Err(); err != nil {
		return account.Key{}, err
	}
	found, err := d.keys(ctx, query, args{by})
	if err == nil && len(found) == 0 {
		err = account.ErrUnknown
	}
	if err != nil {
		return account.Key{}, wrap(err, "find key")
	}
	return found[0], nil
}

// ListKeys implements account.Keys.
func (d directory) ListKeys(ctx context.Context, uid string) ([]account.Key, error) {
	where, a := ``, args{}
	if uid != "" {
		where, a = `WHERE k.account_uid = $1 `, args{uid}
	}
	found, err := d.keys(ctx, keyColumns+where+`ORDER BY k.created DESC, k.id`, a)
	return found, wrap(err, "list keys")
}

func (d directory) keys(ctx context.Context, query string, a args) ([]account.Key, error) {
	var out []account.Key
	err := d.db.reads.rows(d.db.engine.detach(ctx), query, a, func(rows *sql.Rows) error {
		var k account.Key
		var sum, narrow []byte
		var created, expires, revoked, used int64
		if err := rows.Scan(&k.ID, &k.AccountID, &k.Owner, &k.Label, &sum, &narrow, &created, &expires, &revoked, &used); err != nil {
			return err
		}
		if err := json.Unmarshal(narrow, &k.Narrowing); err != nil {
			return wrap(err, "read narrowing of key %s", k.ID)
		}
		copy(k.Sum[:], sum)
		k.Created, k.Expires, k.Revoked, k.LastUsed = timeOf(created), timeOf(expires), timeOf(revoked), timeOf(used)
		out = append(out, k)
		return nil
	})
	return out, err
}

// RevokeKey implements account.Keys. A second time changes nothing.
func (d directory) RevokeKey(ctx context.Context, id string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE access_key SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE id = $1`, args{id, micros(at)})); err != nil {
			return err
		}
		_, err := t.exec(ctx, `UPDATE session SET revoked = $2 WHERE key_id = $1 AND revoked = 0`, args{id, micros(at)})
		return err
	})
	return wrap(err, "revoke key %s", id)
}

// TouchKeys implements account.Keys.
func (d directory) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	return wrap(d.db.touchUsed(ctx, `UPDATE access_key SET last_used = $2 WHERE id = $1 AND last_used < $2`, used), "record last use of keys")
}

// touchUsed moves last uses forward, in one order for all.
func (db *DB) touchUsed(ctx context.Context, query string, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		for _, id := range distinctKeys(used) {
			if _, err := t.exec(ctx, query, args{id, micros(used[id])}); err != nil {
				return err
			}
		}
		return nil
	})
}
