package metadata

import (
	"context"
	"database/sql"
	"time"
)

// NamesAt implements account.Networks.
func (d directory) NamesAt(ctx context.Context, network string, since time.Time, limit int) (map[string]time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	names := make(map[string]time.Time)
	err := d.db.reads.rows(d.db.engine.detach(ctx), `SELECT a.name, n.noted FROM known_network n JOIN account a ON a.uid = n.account_uid
		WHERE n.network = $1 AND n.noted >= $2 ORDER BY n.noted DESC LIMIT $3`, args{network, micros(since), limit}, func(rows *sql.Rows) error {
		var name string
		var noted int64
		err := rows.Scan(&name, &noted)
		names[name] = timeOf(noted)
		return err
	})
	return names, wrap(err, "find the accounts known at a network")
}

// NoteNetwork implements account.Networks. Noting the same network at the same
// moment on two replicas is one note.
func (d directory) NoteNetwork(ctx context.Context, uid, network string, at time.Time, keep int) error {
	err := d.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, `INSERT INTO known_network (account_uid, network, noted) SELECT uid, $2, $3 FROM account WHERE uid = $1
			ON CONFLICT (account_uid, network) DO UPDATE SET noted = excluded.noted`, args{uid, network, micros(at)}); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM known_network WHERE account_uid = $1 AND network NOT IN (
			SELECT network FROM known_network WHERE account_uid = $1 ORDER BY noted DESC, network LIMIT $2)`, args{uid, keep})
		return err
	})
	return wrap(err, "note a network of account %s", uid)
}
