package metadata

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// directory implements account.Directory.
type directory struct{ db *DB }

const (
	accountColumns = `SELECT uid, name, kind, password_hash, disabled, created FROM account `
	// listMembers reads every membership of the accounts of kind $1 whose names lie between $2 and $3.
	listMembers = `SELECT m.account_uid, m.group_name FROM member m JOIN account a ON a.uid = m.account_uid
		WHERE a.kind = $1 AND a.name >= $2 AND a.name <= $3`
	revokeSessions = `UPDATE session SET revoked = $2 WHERE account_uid = $1 AND revoked = 0`
)

// decide runs fn as a transaction that moves the generation.
func (db *DB) decide(ctx context.Context, fn func(context.Context, *tx) error) error {
	return db.write(ctx, hard, func(ctx context.Context, t *tx) error {
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

// AddAccount implements account.Accounts.
func (d directory) AddAccount(ctx context.Context, a account.Account) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `INSERT INTO account (uid, name, kind, password_hash, disabled, created) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT DO NOTHING`, args{a.UID, a.Name, string(a.Kind), a.PasswordHash, a.Disabled, micros(a.Created)})
		if err == nil && n == 0 {
			return account.ErrExists
		}
		for _, group := range a.Groups {
			if err == nil {
				err = t.addMember(ctx, group, a.UID)
			}
		}
		return err
	})
	return wrap(err, "add account")
}

// AccountByName implements account.Accounts.
func (d directory) AccountByName(ctx context.Context, name string) (account.Account, error) {
	a, err := d.account(ctx, accountColumns+`WHERE name = $1`, name)
	return a, wrap(err, "find account by name")
}

// AccountByUID implements account.Accounts.
func (d directory) AccountByUID(ctx context.Context, uid string) (account.Account, error) {
	a, err := d.account(ctx, accountColumns+`WHERE uid = $1`, uid)
	return a, wrap(err, "find account %s", uid)
}

func (d directory) account(ctx context.Context, query, by string) (account.Account, error) {
	if err := ctx.Err(); err != nil {
		return account.Account{}, err
	}
	ctx = d.db.engine.detach(ctx)
	found, err := d.accounts(ctx, query, args{by})
	if err != nil {
		return account.Account{}, err
	}
	if len(found) == 0 {
		return account.Account{}, account.ErrUnknown
	}
	a := found[0]
	a.Groups, err = collect[string](ctx, d.db.reads, `SELECT group_name FROM member WHERE account_uid = $1 ORDER BY group_name`, args{a.UID})
	return a, err
}

func (d directory) accounts(ctx context.Context, query string, a args) ([]account.Account, error) {
	var out []account.Account
	err := d.db.reads.rows(ctx, query, a, func(rows *sql.Rows) error {
		var a account.Account
		var created int64
		err := rows.Scan(&a.UID, &a.Name, &a.Kind, &a.PasswordHash, &a.Disabled, &created)
		a.Created = timeOf(created)
		out = append(out, a)
		return err
	})
	return out, err
}

// ListAccounts implements account.Accounts.
func (d directory) ListAccounts(ctx context.Context, kind access.Kind, after string, limit int) ([]account.Account, error) {
	ctx = d.db.engine.detach(ctx)
	list, err := d.accounts(ctx, accountColumns+`WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3`, args{string(kind), after, limit})
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

// SetDisabled implements account.Accounts.
func (d directory) SetDisabled(ctx context.Context, uid string, disabled bool) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		return changed(t.exec(ctx, `UPDATE account SET disabled = $2 WHERE uid = $1`, args{uid, disabled}))
	})
	return wrap(err, "disable or enable account %s", uid)
}

// SetPassword implements account.Accounts.
func (d directory) SetPassword(ctx context.Context, uid, from, to string) error {
	if from != "" {
		err := d.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
			_, err := t.exec(ctx, `UPDATE account SET password_hash = $3 WHERE uid = $1 AND password_hash = $2`, args{uid, from, to})
			return err
		})
		return wrap(err, "hash the password of account %s anew", uid)
	}
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `UPDATE account SET password_hash = $2 WHERE uid = $1`, args{uid, to})); err != nil {
			return err
		}
		_, err := t.exec(ctx, revokeSessions, args{uid, d.db.now()})
		return err
	})
	return wrap(err, "set the password of account %s", uid)
}

// RemoveAccount implements account.Accounts. Keys, sessions and memberships go
// by the schema.
func (d directory) RemoveAccount(ctx context.Context, uid string) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		var name string
		if err := known(t.row(ctx, `DELETE FROM account WHERE uid = $1 RETURNING name`, args{uid}, &name)); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO retired_name (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, args{name})
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
		return t.addMember(ctx, group, uid)
	})
	return wrap(err, "add a member to group %s", group)
}

// RemoveMember implements account.Groups.
func (d directory) RemoveMember(ctx context.Context, group, uid string) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		return changed(t.exec(ctx, `DELETE FROM member WHERE group_name = $1 AND account_uid = $2`, args{group, uid}))
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
