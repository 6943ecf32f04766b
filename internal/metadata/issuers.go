package metadata

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/ledger"
)

// issuers implements issuer.Store.
type issuers struct{ db *DB }

// Issuers returns the definitions of trusted issuers.
func (db *DB) Issuers() issuer.Store { return issuers{db} }

// Issuers implements issuer.Store.
func (s issuers) Issuers(ctx context.Context) ([]issuer.Stored, error) {
	var list []issuer.Stored
	err := s.db.reads.rows(s.db.engine.detach(ctx), `SELECT name, document, author, changed FROM trusted_issuer ORDER BY name`, nil, func(rows *sql.Rows) error {
		var v issuer.Stored
		var changed int64
		err := rows.Scan(&v.Name, &v.Document, &v.Author, &changed)
		v.Changed = timeOf(changed)
		list = append(list, v)
		return err
	})
	return list, wrap(err, "list trusted issuers")
}

// SaveIssuer implements issuer.Store. On PostgreSQL writers wait for each other at
// the generation, so that only one finds what it replaces.
func (s issuers) SaveIssuer(ctx context.Context, v issuer.Stored, replaces string) error {
	err := s.db.decide(ctx, func(ctx context.Context, t *tx) error {
		var old issuer.Stored
		switch err := t.row(ctx, `SELECT document FROM trusted_issuer WHERE name = $1`, args{v.Name}, &old.Document); {
		case errors.Is(err, errNone) && replaces != "":
			return issuer.ErrUnknown
		case errors.Is(err, errNone):
		case err != nil:
			return err
		case replaces == "":
			return issuer.ErrExists
		case old.Revision() != replaces:
			return issuer.ErrChanged
		}
		if _, err := t.exec(ctx, `INSERT INTO trusted_issuer (name, document, author, changed) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET document = $2, author = $3, changed = $4`, args{v.Name, v.Document, v.Author, micros(v.Changed)}); err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) {
			e.Set("revision", v.Revision())
			e.Set("replaced", replaces)
		})
		return t.endJobs(ctx, v.Name)
	})
	return wrap(err, "save trusted issuer %s", v.Name)
}

// RemoveIssuer implements issuer.Store.
func (s issuers) RemoveIssuer(ctx context.Context, name string) error {
	err := s.db.decide(ctx, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `DELETE FROM trusted_issuer WHERE name = $1`, args{name})
		switch {
		case err != nil:
			return err
		case n == 0:
			return issuer.ErrUnknown
		}
		return t.endJobs(ctx, name)
	})
	return wrap(err, "remove trusted issuer %s", name)
}

// endJobs ends the sessions that rest on an issuer's definition, "NAME@REVISION".
// They are refused as it is, while the definition is not there; this way they do
// not come back with it.
func (t *tx) endJobs(ctx context.Context, name string) error {
	n, err := t.exec(ctx, `UPDATE session SET revoked = $3 WHERE trust <> '' AND trust >= $1 AND trust < $2 AND revoked = 0`, args{name + "@", name + "A", t.db.now()})
	note(ctx, func(e *ledger.Event) { e.Set("ended", strconv.FormatInt(n, 10)) })
	return err
}
