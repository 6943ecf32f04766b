package metadata

import (
	"bytes"
	"context"
	"database/sql"
	"slices"

	"github.com/sallyport/sallyport/internal/token"
)

// ListSigningKeys implements token.SigningKeys.
func (s tokens) ListSigningKeys(ctx context.Context) ([]token.SigningKey, error) {
	keys, err := s.db.reads.signingKeys(s.db.engine.detach(ctx))
	return keys, wrap(err, "list signing keys")
}

func (t *tx) signingKeys(ctx context.Context) ([]token.SigningKey, error) {
	var out []token.SigningKey
	err := t.rows(ctx, `SELECT id, private, kek, created, activates, retires FROM signing_key ORDER BY activates, created, id`, nil, func(rows *sql.Rows) error {
		var k token.SigningKey
		var created, activates, retires int64
		err := rows.Scan(&k.ID, &k.Private, &k.KEK, &created, &activates, &retires)
		k.Created, k.Activates, k.Retires = timeOf(created), timeOf(activates), timeOf(retires)
		out = append(out, k)
		return err
	})
	return out, err
}

// ChangeSigningKeys implements token.SigningKeys. Those who come together wait
// for each other at the generation.
func (s tokens) ChangeSigningKeys(ctx context.Context, change func([]token.SigningKey) ([]token.SigningKey, error)) error {
	err := s.db.decide(ctx, func(ctx context.Context, t *tx) error {
		before, err := t.signingKeys(ctx)
		if err != nil {
			return err
		}
		after, err := change(slices.Clone(before))
		if err != nil {
			return err
		}
		return t.replaceSigningKeys(ctx, before, after)
	})
	return wrap(err, "change signing keys")
}

// replaceSigningKeys writes what differs.
func (t *tx) replaceSigningKeys(ctx context.Context, before, after []token.SigningKey) error {
	find := func(keys []token.SigningKey, id string) int {
		return slices.IndexFunc(keys, func(k token.SigningKey) bool { return k.ID == id })
	}
	for _, k := range before {
		if find(after, k.ID) < 0 {
			if _, err := t.exec(ctx, `DELETE FROM signing_key WHERE id = $1`, args{k.ID}); err != nil {
				return err
			}
		}
	}
	for _, k := range after {
		query := `INSERT INTO signing_key (id, private, kek, created, activates, retires) VALUES ($1, $2, $3, $4, $5, $6)`
		if i := find(before, k.ID); i >= 0 {
			if sameSigningKey(before[i], k) {
				continue
			}
			query = `UPDATE signing_key SET private = $2, kek = $3, created = $4, activates = $5, retires = $6 WHERE id = $1`
		}
		if _, err := t.exec(ctx, query, args{k.ID, k.Private, k.KEK, micros(k.Created), micros(k.Activates), micros(k.Retires)}); err != nil {
			return err
		}
	}
	return nil
}

func sameSigningKey(a, b token.SigningKey) bool {
	return a.KEK == b.KEK && bytes.Equal(a.Private, b.Private) &&
		a.Created.Equal(b.Created) && a.Activates.Equal(b.Activates) && a.Retires.Equal(b.Retires)
}
