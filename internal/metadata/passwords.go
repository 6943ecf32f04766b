package metadata

import (
	"context"
	"database/sql"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

// endResets forgets the one-time code of an account. It comes after the change of
// the account: see SaveReset.
func (t *tx) endResets(ctx context.Context, uid string) error {
	_, err := t.exec(ctx, `DELETE FROM password_reset WHERE account_uid = $1`, args{uid})
	return err
}

// ChangePassword implements account.Passwords.
func (d directory) ChangePassword(ctx context.Context, uid string, proven time.Time, hash string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE account SET password_hash = $3 WHERE uid = $1 AND password_set = $2 AND NOT disabled`,
			args{uid, micros(proven), hash})); err != nil {
			return err
		}
		return t.newPassword(ctx, uid, at)
	})
	return wrap(err, "change the password of account %s", uid)
}

// newPassword ends what the password of before could do.
func (t *tx) newPassword(ctx context.Context, uid string, at time.Time) error {
	if err := t.endResets(ctx, uid); err != nil {
		return err
	}
	_, err := t.logOut(ctx, uid, micros(at))
	return err
}

// SaveReset implements account.Passwords. The update, which changes nothing, makes
// us and who disables the account wait for each other on PostgreSQL. All who
// change both take the account first.
func (d directory) SaveReset(ctx context.Context, r account.Reset) error {
	err := d.db.change(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE account SET disabled = disabled WHERE uid = $1 AND NOT disabled`, args{r.AccountID})); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO password_reset (account_uid, sum, expires) VALUES ($1, $2, $3)
			ON CONFLICT (account_uid) DO UPDATE SET sum = excluded.sum, expires = excluded.expires`, args{r.AccountID, r.Sum[:], micros(r.Expires)})
		return err
	})
	return wrap(err, "save the one-time code of account %s", r.AccountID)
}

// ResetBySum implements account.Passwords.
func (d directory) ResetBySum(ctx context.Context, sum [32]byte) (account.Reset, error) {
	if err := ctx.Err(); err != nil {
		return account.Reset{}, err
	}
	r := account.Reset{Sum: sum}
	var expires int64
	err := known(d.db.reads.row(d.db.engine.detach(ctx), `SELECT a.uid, a.name, r.expires FROM password_reset r JOIN account a ON a.uid = r.account_uid WHERE r.sum = $1`,
		args{sum[:]}, &r.AccountID, &r.Name, &expires))
	if err != nil {
		return account.Reset{}, wrap(err, "find a one-time code")
	}
	r.Expires = timeOf(expires)
	return r, nil
}

// Redeem implements account.Passwords. Who redeems the same code at the same
// moment waits at the generation, or at the only writer of SQLite, and finds it
// gone.
func (d directory) Redeem(ctx context.Context, r account.Reset, hash string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE account SET password_hash = $2 WHERE uid = $1 AND NOT disabled`, args{r.AccountID, hash})); err != nil {
			return err
		}
		if err := changed(t.exec(ctx, `DELETE FROM password_reset WHERE account_uid = $1 AND sum = $2 AND expires > $3`,
			args{r.AccountID, r.Sum[:], micros(at)})); err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) {
			e.Object = string(access.User) + ":" + r.Name
			e.Principal, e.UID = e.Object, r.AccountID
		})
		return t.newPassword(ctx, r.AccountID, at)
	})
	return wrap(err, "redeem the one-time code of account %s", r.AccountID)
}

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

// DecoyKey implements account.Decoys.
func (d directory) DecoyKey(ctx context.Context) ([]byte, error) {
	var key []byte
	err := d.db.reads.row(d.db.engine.detach(ctx), `SELECT key FROM decoy_key WHERE id = 1`, nil, &key)
	return key, wrap(err, "read the key of decoys")
}

// EachPasswordHash implements account.Decoys.
func (d directory) EachPasswordHash(ctx context.Context, fn func(hash string)) error {
	err := d.db.reads.rows(d.db.engine.detach(ctx), `SELECT password_hash FROM account WHERE password_hash <> ''`, nil, func(rows *sql.Rows) error {
		var hash string
		err := rows.Scan(&hash)
		fn(hash)
		return err
	})
	return wrap(err, "read all password hashes")
}
