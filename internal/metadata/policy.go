package metadata

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

// LatestPolicy implements account.Policies.
func (d directory) LatestPolicy(ctx context.Context) (account.PolicyVersion, error) {
	v, err := d.policy(ctx, `SELECT version, author, reason, applied, document FROM policy ORDER BY version DESC LIMIT 1`)
	return v, wrap(err, "read the policy")
}

// PolicyByVersion implements account.Policies.
func (d directory) PolicyByVersion(ctx context.Context, version int64) (account.PolicyVersion, error) {
	v, err := d.policy(ctx, `SELECT version, author, reason, applied, document FROM policy WHERE version = $1`, version)
	return v, wrap(err, "read policy version %d", version)
}

func (d directory) policy(ctx context.Context, query string, a ...any) (account.PolicyVersion, error) {
	var v account.PolicyVersion
	var applied int64
	err := d.db.reads.row(d.db.engine.detach(ctx), query, a, &v.Version, &v.Author, &v.Reason, &applied, &v.Document)
	v.Applied = timeOf(applied)
	return v, known(err)
}

// ListPolicies implements account.Policies.
func (d directory) ListPolicies(ctx context.Context, before int64, limit int) ([]account.PolicyVersion, error) {
	var list []account.PolicyVersion
	err := d.db.reads.rows(d.db.engine.detach(ctx), `SELECT version, author, reason, applied FROM policy WHERE version < $1 ORDER BY version DESC LIMIT $2`,
		args{before, limit}, func(rows *sql.Rows) error {
			var v account.PolicyVersion
			var applied int64
			err := rows.Scan(&v.Version, &v.Author, &v.Reason, &applied)
			v.Applied = timeOf(applied)
			list = append(list, v)
			return err
		})
	return list, wrap(err, "list policy versions")
}

// SavePolicy implements account.Policies. On PostgreSQL writers wait for each
// other at the generation, so that only one finds base to be the latest.
func (d directory) SavePolicy(ctx context.Context, v account.PolicyVersion, base int64) (account.PolicyVersion, error) {
	v.Version = base + 1
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		var latest int64
		err := t.row(ctx, `SELECT version FROM policy ORDER BY version DESC LIMIT 1`, nil, &latest)
		if err != nil && !errors.Is(err, errNone) {
			return err
		}
		if latest != base {
			return account.ErrConflict
		}
		note(ctx, func(e *ledger.Event) {
			e.Set("version", strconv.FormatInt(v.Version, 10))
			e.Set("why", v.Reason)
		})
		_, err = t.exec(ctx, `INSERT INTO policy (version, document, author, reason, applied) VALUES ($1, $2, $3, $4, $5)`,
			args{v.Version, v.Document, v.Author, v.Reason, micros(v.Applied)})
		return err
	})
	if err != nil {
		return account.PolicyVersion{}, wrap(err, "save policy version %d", v.Version)
	}
	return v, nil
}
