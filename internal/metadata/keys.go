package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

const keyColumns = `SELECT k.id, k.account_uid, a.kind || ':' || a.name, k.name, k.sum, k.narrowing, k.creator, k.creator_key,
	k.created, k.life, k.expires, k.family, k.successor, k.revoked, k.last_used, k.last_address, k.last_agent
	FROM access_key k JOIN account a ON a.uid = k.account_uid `

// aliveKey holds of keys that have not ended at $1, of the table k.
const aliveKey = `k.revoked = 0 AND k.expires > $1`

// AddKey implements account.Keys.
func (d directory) AddKey(ctx context.Context, k account.Key) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := t.accountExists(ctx, k.AccountID); err != nil {
			return err
		}
		if k.Name != "" {
			var taken string
			err := t.row(ctx, `SELECT k.id FROM access_key k WHERE k.account_uid = $2 AND k.name = $3 AND `+aliveKey+` LIMIT 1`,
				args{micros(k.Created), k.AccountID, k.Name}, &taken)
			if err == nil {
				return account.ErrKeyName
			}
			if !errors.Is(err, errNone) {
				return err
			}
		}
		note(ctx, func(e *ledger.Event) {
			if e.Object == "" {
				e.Object = "key:" + k.ID
			}
			e.Set("key", k.ID)
			e.Set("owner", k.Owner)
		})
		return t.addKey(ctx, k)
	})
	return wrap(err, "add key %s", k.ID)
}

func (t *tx) addKey(ctx context.Context, k account.Key) error {
	narrow, err := json.Marshal(k.Narrowing)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO access_key (id, account_uid, name, sum, narrowing, creator, creator_key, created, life, expires, family, successor, revoked, last_used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		args{k.ID, k.AccountID, k.Name, k.Sum[:], string(narrow), k.Creator, k.CreatorKey, micros(k.Created), k.Life.Microseconds(), micros(k.Expires),
			k.Family, k.Successor, micros(k.Revoked), micros(k.LastUsed.Time)})
	return err
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
	found, err := d.keys(ctx, keyColumns+where+`ORDER BY k.created DESC, k.expires DESC, k.id`, a)
	return found, wrap(err, "list keys")
}

// EndingKeys implements account.Keys.
func (d directory) EndingKeys(ctx context.Context, now time.Time, limit int) ([]account.Key, error) {
	found, err := d.keys(ctx, keyColumns+`WHERE `+aliveKey+` AND k.successor = '' ORDER BY k.expires, k.id LIMIT $2`, args{micros(now), limit})
	return found, wrap(err, "list keys that end first")
}

func (d directory) keys(ctx context.Context, query string, a args) ([]account.Key, error) {
	var out []account.Key
	err := d.db.reads.rows(d.db.engine.detach(ctx), query, a, func(rows *sql.Rows) error {
		var k account.Key
		var sum, narrow []byte
		var created, life, expires, revoked, used int64
		if err := rows.Scan(&k.ID, &k.AccountID, &k.Owner, &k.Name, &sum, &narrow, &k.Creator, &k.CreatorKey,
			&created, &life, &expires, &k.Family, &k.Successor, &revoked, &used, &k.LastUsed.Address, &k.LastUsed.Agent); err != nil {
			return err
		}
		if err := json.Unmarshal(narrow, &k.Narrowing); err != nil {
			return wrap(err, "read narrowing of key %s", k.ID)
		}
		copy(k.Sum[:], sum)
		k.Life = time.Duration(life) * time.Microsecond
		k.Created, k.Expires, k.Revoked, k.LastUsed.Time = timeOf(created), timeOf(expires), timeOf(revoked), timeOf(used)
		out = append(out, k)
		return nil
	})
	return out, err
}
