package metadata

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

// directory implements account.Directory.
type directory struct{ db *DB }

const (
	accountColumns = `SELECT a.uid, a.name, a.kind, a.password_hash, a.password_set, a.disabled, a.created`
	// listMembers reads every membership of the accounts of kind $1 whose names lie between $2 and $3.
	listMembers = `SELECT m.account_uid, m.group_name FROM member m JOIN account a ON a.uid = m.account_uid
		WHERE a.kind = $1 AND a.name >= $2 AND a.name <= $3`
)

// decide runs fn as a change that moves the generation.
func (db *DB) decide(ctx context.Context, fn func(context.Context, *tx) error) error {
	return db.change(ctx, func(ctx context.Context, t *tx) error {
		if err := t.advance(ctx); err != nil {
			return err
		}
		return fn(ctx, t)
	})
}

// known turns "no row" into account.ErrUnknown.
func known(err error) error {
	if errors.Is(err, errNone) {
		return account.ErrUnknown
	}
	return err
}

// changed is account.ErrUnknown when no row was.
func changed(n int64, err error) error {
	if err == nil && n == 0 {
		return account.ErrUnknown
	}
	return err
}

// accountExists errors: account.ErrUnknown.
func (t *tx) accountExists(ctx context.Context, uid string) error {
	var name string
	return known(t.row(ctx, `SELECT name FROM account WHERE uid = $1`, args{uid}, &name))
}

// AddAccounts implements account.Accounts.
func (d directory) AddAccounts(ctx context.Context, as ...account.Account) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		for _, a := range as {
			if err := t.addAccount(ctx, a); err != nil {
				return wrap(err, "%s:%s", a.Kind, a.Name)
			}
		}
		note(ctx, func(e *ledger.Event) {
			names := make([]string, len(as))
			for i, a := range as {
				names[i] = string(a.Kind) + ":" + a.Name
			}
			if len(as) == 1 {
				e.Object = names[0]
			} else {
				e.Set("accounts", strings.Join(names, " "))
			}
		})
		return nil
	})
	return wrap(err, "add accounts")
}

func (t *tx) addAccount(ctx context.Context, a account.Account) error {
	n, err := t.exec(ctx, `INSERT INTO account (uid, name, kind, password_hash, password_set, disabled, created) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`, args{a.UID, a.Name, string(a.Kind), a.PasswordHash, micros(a.PasswordSet), a.Disabled, micros(a.Created)})
	if err == nil && n == 0 {
		return account.ErrExists
	}
	for _, group := range a.Groups {
		if err == nil {
			err = t.addMember(ctx, group, a.UID)
		}
	}
	return err
}

// AccountByName implements account.Accounts.
func (d directory) AccountByName(ctx context.Context, name string) (account.Account, error) {
	a, err := d.account(ctx, `a.name = $1`, name)
	return a, wrap(err, "find account by name")
}

// AccountByUID implements account.Accounts.
func (d directory) AccountByUID(ctx context.Context, uid string) (account.Account, error) {
	a, err := d.account(ctx, `a.uid = $1`, uid)
	return a, wrap(err, "find account %s", uid)
}

// account asks once, whether there is such an account or not: a login must not
// tell by its cost.
func (d directory) account(ctx context.Context, where, by string) (account.Account, error) {
	if err := ctx.Err(); err != nil {
		return account.Account{}, err
	}
	var a account.Account
	query := accountColumns + `, m.group_name FROM account a LEFT JOIN member m ON m.account_uid = a.uid WHERE ` + where
	err := d.db.reads.rows(d.db.engine.detach(ctx), query, args{by}, func(rows *sql.Rows) error {
		var group sql.NullString // none: a member of no group
		err := scanAccount(rows, &a, &group)
		if group.Valid {
			a.Groups = append(a.Groups, group.String)
		}
		return err
	})
	if err == nil && a.UID == "" {
		err = account.ErrUnknown
	}
	if err != nil {
		return account.Account{}, err
	}
	slices.Sort(a.Groups)
	return a, nil
}

// scanAccount reads accountColumns, and what follows them into more.
func scanAccount(rows *sql.Rows, a *account.Account, more ...any) error {
	var set, created int64
	err := rows.Scan(append(args{&a.UID, &a.Name, &a.Kind, &a.PasswordHash, &set, &a.Disabled, &created}, more...)...)
	a.PasswordSet, a.Created = timeOf(set), timeOf(created)
	return err
}

// ListAccounts implements account.Accounts.
func (d directory) ListAccounts(ctx context.Context, kind access.Kind, after string, limit int) ([]account.Account, error) {
	ctx = d.db.engine.detach(ctx)
	var list []account.Account
	err := d.db.reads.rows(ctx, accountColumns+` FROM account a WHERE a.kind = $1 AND a.name > $2 ORDER BY a.name LIMIT $3`,
		args{string(kind), after, limit}, func(rows *sql.Rows) error {
			var a account.Account
			err := scanAccount(rows, &a)
			list = append(list, a)
			return err
		})
	if err != nil || len(list) == 0 {
		return list, wrap(err, "list accounts")
	}
	groups := make(map[string][]string)
	err = d.db.reads.rows(ctx, listMembers, args{string(kind), list[0].Name, list[len(list)-1].Name}, func(rows *sql.Rows) error {
		var uid, group string
		err := rows.Scan(&uid, &group)
		groups[uid] = append(groups[uid], group)
		return err
	})
	for i := range list {
		list[i].Groups = groups[list[i].UID]
		slices.Sort(list[i].Groups)
	}
	return list, wrap(err, "list accounts")
}

// endUploads forgets the open upload sessions of an account whose state changes. The
// sweep frees their bytes.
const endUploads = `DELETE FROM upload WHERE owner = $1 AND finished = 0 AND EXISTS (SELECT 1 FROM account WHERE uid = $1 AND disabled <> $2)`

// SetDisabled implements account.Accounts. Enabling ends uploads too: one may
// have begun elsewhere in the moment before the change was felt there.
func (d directory) SetDisabled(ctx context.Context, uid string, disabled bool) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, endUploads, args{uid, disabled}); err != nil {
			return err
		}
		if err := changed(t.exec(ctx, `UPDATE account SET disabled = $2 WHERE uid = $1`, args{uid, disabled})); err != nil || !disabled {
			return err
		}
		if err := t.endResets(ctx, uid); err != nil {
			return err
		}
		_, err := t.logOut(ctx, uid, d.db.now())
		return err
	})
	return wrap(err, "disable or enable account %s", uid)
}

// SetPassword implements account.Accounts.
func (d directory) SetPassword(ctx context.Context, uid, hash string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE account SET password_hash = $2 WHERE uid = $1`, args{uid, hash})); err != nil {
			return err
		}
		return t.newPassword(ctx, uid, at)
	})
	return wrap(err, "set the password of account %s", uid)
}

// logOut voids what the account's password has proved so far and ends its
// sessions, of which it returns how many. The account comes before its sessions;
// see SaveSession. Errors: account.ErrUnknown.
func (t *tx) logOut(ctx context.Context, uid string, at int64) (int64, error) {
	err := changed(t.exec(ctx, `UPDATE account SET password_set = CASE WHEN password_set < $2 THEN $2 ELSE password_set + 1 END WHERE uid = $1`, args{uid, at}))
	if err != nil {
		return 0, err
	}
	return t.exec(ctx, `UPDATE session SET revoked = $2 WHERE account_uid = $1 AND revoked = 0`, args{uid, at})
}

// Rehash implements account.Accounts.
func (d directory) Rehash(ctx context.Context, uid, from, to string) error {
	err := d.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `UPDATE account SET password_hash = $3 WHERE uid = $1 AND password_hash = $2`, args{uid, from, to})
		return err
	})
	return wrap(err, "hash the password of account %s anew", uid)
}

// RemoveAccount implements account.Accounts. Keys, sessions and memberships go
// by the schema; its open uploads end.
func (d directory) RemoveAccount(ctx context.Context, uid string) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		var name string
		if err := known(t.row(ctx, `DELETE FROM account WHERE uid = $1 RETURNING name`, args{uid}, &name)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO retired_name (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, args{name}); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM upload WHERE owner = $1 AND finished = 0`, args{uid})
		return err
	})
	return wrap(err, "remove account %s", uid)
}

func (t *tx) addMember(ctx context.Context, group, uid string) error {
	_, err := t.exec(ctx, `INSERT INTO member (group_name, account_uid) VALUES ($1, $2) ON CONFLICT DO NOTHING`, args{group, uid})
	return err
}

// AddMember implements account.Groups.
func (d directory) AddMember(ctx context.Context, group, uid string) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := t.accountExists(ctx, uid); err != nil {
			return err
		}
		var others int
		err := t.row(ctx, `SELECT count(*) FROM member WHERE account_uid = $1 AND group_name <> $2`, args{uid, group}, &others)
		switch {
		case err != nil:
			return err
		case others >= account.MaxGroups:
			return account.ErrGroups
		}
		return t.addMember(ctx, group, uid)
	})
	return wrap(err, "add a member to group %s", group)
}

// RemoveMember implements account.Groups.
func (d directory) RemoveMember(ctx context.Context, group, uid string) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		return changed(t.exec(ctx, `DELETE FROM member WHERE group_name = $1 AND account_uid = $2 AND issuer = ''`, args{group, uid}))
	})
	return wrap(err, "remove a member of group %s", group)
}

// ListGroups implements account.Groups.
func (d directory) ListGroups(ctx context.Context) (map[string][]string, error) {
	groups := make(map[string][]string)
	err := d.db.reads.rows(d.db.engine.detach(ctx), `SELECT m.group_name, a.kind || ':' || a.name AS owner
		FROM member m JOIN account a ON a.uid = m.account_uid ORDER BY m.group_name, owner`, nil, func(rows *sql.Rows) error {
		var group, member string
		err := rows.Scan(&group, &member)
		groups[group] = append(groups[group], member)
		return err
	})
	return groups, wrap(err, "list groups")
}

// IsRetired implements account.Groups.
func (d directory) IsRetired(ctx context.Context, name string) (bool, error) {
	var found string
	err := d.db.reads.row(d.db.engine.detach(ctx), `SELECT name FROM retired_name WHERE name = $1`, args{name}, &found)
	if errors.Is(err, errNone) {
		return false, nil
	}
	return err == nil, wrap(err, "ask whether a name is retired")
}
