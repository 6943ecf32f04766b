package metadata

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

const linkColumns = `SELECT o.account_uid, o.provider, o.issuer, o.subject, o.checked, o.renewal, o.kek FROM outside_identity o `

// scanLink reads linkColumns.
func scanLink(rows *sql.Rows, l *account.Link) error {
	var checked int64
	err := rows.Scan(&l.AccountID, &l.Provider, &l.Issuer, &l.Subject, &checked, &l.Renewal, &l.KEK)
	if l.Checked = timeOf(checked); len(l.Renewal) == 0 {
		l.Renewal = nil
	}
	return err
}

// AddPerson implements account.People.
func (d directory) AddPerson(ctx context.Context, a account.Account, l account.Link) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := t.addAccount(ctx, a); err != nil {
			return err
		}
		if err := t.addLink(ctx, l); err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) {
			e.Set("created", string(a.Kind)+":"+a.Name)
			e.Principal, e.UID, e.Groups = string(a.Kind)+":"+a.Name, a.UID, l.Groups
		})
		return t.replaceGroups(ctx, l)
	})
	return wrap(err, "add person %s", a.Name)
}

// addLink errors: account.ErrLinked.
func (t *tx) addLink(ctx context.Context, l account.Link) error {
	if l.Renewal == nil {
		l.Renewal = []byte{}
	}
	n, err := t.exec(ctx, `INSERT INTO outside_identity (issuer, subject, account_uid, provider, checked, asked, renewal, kek) VALUES ($1, $2, $3, $4, $5, 0, $6, $7)
		ON CONFLICT DO NOTHING`, args{l.Issuer, l.Subject, l.AccountID, l.Provider, micros(l.Checked), l.Renewal, l.KEK})
	if err == nil && n == 0 {
		return account.ErrLinked
	}
	return err
}

// replaceGroups makes the account's memberships by the issuer's word those of l.
// Errors: account.ErrGroups.
func (t *tx) replaceGroups(ctx context.Context, l account.Link) error {
	if _, err := t.exec(ctx, `DELETE FROM member WHERE account_uid = $1 AND issuer = $2`, args{l.AccountID, l.Issuer}); err != nil {
		return err
	}
	var others int
	if err := t.row(ctx, `SELECT count(*) FROM member WHERE account_uid = $1`, args{l.AccountID}, &others); err != nil {
		return err
	}
	if others+len(l.Groups) > account.MaxGroups {
		return account.ErrGroups
	}
	for _, g := range l.Groups {
		if _, err := t.exec(ctx, `INSERT INTO member (group_name, account_uid, issuer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, args{g, l.AccountID, l.Issuer}); err != nil {
			return err
		}
	}
	return nil
}

// Person implements account.People.
func (d directory) Person(ctx context.Context, issuer, subject string) (account.Account, account.Link, error) {
	ctx = d.db.engine.detach(ctx)
	var l account.Link
	err := d.db.reads.rows(ctx, linkColumns+`WHERE o.issuer = $1 AND o.subject = $2`, args{issuer, subject}, func(rows *sql.Rows) error { return scanLink(rows, &l) })
	if err == nil && l.AccountID == "" {
		err = account.ErrUnknown
	}
	var a account.Account
	if err == nil {
		a, err = d.account(ctx, `a.uid = $1`, l.AccountID)
	}
	if err == nil {
		l.Groups, err = d.db.reads.groupsOf(ctx, l)
	}
	return a, l, wrap(err, "find person")
}

// groupsOf returns what groups the issuer says that the account is in, sorted.
func (t *tx) groupsOf(ctx context.Context, l account.Link) ([]string, error) {
	return collect[string](ctx, t, `SELECT group_name FROM member WHERE account_uid = $1 AND issuer = $2 ORDER BY group_name`, args{l.AccountID, l.Issuer})
}

// Links implements account.People.
func (d directory) Links(ctx context.Context, first, last string) (map[string][]account.Link, error) {
	ctx = d.db.engine.detach(ctx)
	links := make(map[string][]account.Link)
	err := d.db.reads.rows(ctx, linkColumns+`JOIN account a ON a.uid = o.account_uid WHERE a.name >= $1 AND a.name <= $2`,
		args{first, last}, func(rows *sql.Rows) error {
			var l account.Link
			err := scanLink(rows, &l)
			links[l.AccountID] = append(links[l.AccountID], l)
			return err
		})
	for _, of := range links {
		slices.SortFunc(of, func(a, b account.Link) int {
			return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject))
		})
	}
	return links, wrap(err, "find links")
}

// AddLink implements account.People.
func (d directory) AddLink(ctx context.Context, l account.Link) error {
	err := d.db.change(ctx, func(ctx context.Context, t *tx) error {
		if err := t.accountExists(ctx, l.AccountID); err != nil {
			return err
		}
		err := t.addLink(ctx, l)
		if !errors.Is(err, account.ErrLinked) {
			return err
		}
		var uid string
		if err := known(t.row(ctx, `SELECT account_uid FROM outside_identity WHERE issuer = $1 AND subject = $2`, args{l.Issuer, l.Subject}, &uid)); err != nil {
			return err
		}
		if uid == l.AccountID {
			return nil
		}
		return account.ErrLinked
	})
	return wrap(err, "link account %s", l.AccountID)
}

// RemoveLink implements account.People.
func (d directory) RemoveLink(ctx context.Context, uid, issuer, subject string, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		if err := changed(t.exec(ctx, `DELETE FROM outside_identity WHERE issuer = $1 AND subject = $2 AND account_uid = $3`, args{issuer, subject, uid})); err != nil {
			return err
		}
		var ways int
		err := t.row(ctx, `SELECT (SELECT count(*) FROM outside_identity WHERE account_uid = $1) + (SELECT count(*) FROM account WHERE uid = $1 AND password_hash <> '')`, args{uid}, &ways)
		if err == nil && ways == 0 {
			err = account.ErrLastLink
		}
		if err != nil {
			return err
		}
		if err := t.replaceGroups(ctx, account.Link{AccountID: uid, Issuer: issuer}); err != nil {
			return err
		}
		_, err = t.logOut(ctx, uid, micros(at))
		return err
	})
	return wrap(err, "unlink account %s", uid)
}

// Vouch implements account.Vouching.
func (d directory) Vouch(ctx context.Context, l account.Link, old time.Time) error {
	renewal := l.Renewal
	if renewal == nil {
		renewal = []byte{}
	}
	err := d.db.change(ctx, func(ctx context.Context, t *tx) error {
		// First, so that of two who sign in at once the second sees what the first left.
		if err := changed(t.exec(ctx, `UPDATE outside_identity SET provider = $4, checked = $5, renewal = $6, kek = $7
			WHERE issuer = $1 AND subject = $2 AND account_uid = $3 AND (checked = $8 OR $8 = 0)`,
			args{l.Issuer, l.Subject, l.AccountID, l.Provider, micros(l.Checked), renewal, l.KEK, micros(old)})); err != nil {
			return err
		}
		if err := t.notePerson(ctx, l); err != nil {
			return err
		}
		had, err := t.groupsOf(ctx, l)
		if err != nil || slices.Equal(had, l.Groups) {
			return err
		}
		if err := t.advance(ctx); err != nil {
			return err
		}
		return t.replaceGroups(ctx, l)
	})
	return wrap(err, "store what a provider says of account %s", l.AccountID)
}

// notePerson says in the event that is pending who signs in.
func (t *tx) notePerson(ctx context.Context, l account.Link) error {
	if ledger.Pending(ctx) == nil {
		return nil
	}
	var who string
	if err := known(t.row(ctx, `SELECT kind || ':' || name FROM account WHERE uid = $1`, args{l.AccountID}, &who)); err != nil {
		return err
	}
	note(ctx, func(e *ledger.Event) { e.Principal, e.UID, e.Groups = who, l.AccountID, l.Groups })
	return nil
}

// BeginCheck implements account.Vouching.
func (d directory) BeginCheck(ctx context.Context, l account.Link, at time.Time, patience time.Duration) (bool, error) {
	var n int64
	err := d.db.write(ctx, soft, func(ctx context.Context, t *tx) (err error) {
		n, err = t.exec(ctx, `UPDATE outside_identity SET asked = $3 WHERE issuer = $1 AND subject = $2 AND checked = $4 AND asked <= $5`,
			args{l.Issuer, l.Subject, micros(at), micros(l.Checked), micros(at.Add(-patience))})
		return err
	})
	return n > 0, wrap(err, "begin to ask a provider")
}

// KeepRenewal implements account.Vouching.
func (d directory) KeepRenewal(ctx context.Context, l account.Link) error {
	err := d.db.change(ctx, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `UPDATE outside_identity SET renewal = $5, kek = $6 WHERE issuer = $1 AND subject = $2 AND account_uid = $3 AND checked = $4`,
			args{l.Issuer, l.Subject, l.AccountID, micros(l.Checked), l.Renewal, l.KEK})
		return err
	})
	return wrap(err, "keep what a provider is asked with")
}

// Withdraw implements account.Vouching.
func (d directory) Withdraw(ctx context.Context, l account.Link, at time.Time) error {
	err := d.db.decide(ctx, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE outside_identity SET checked = 0, renewal = $4, kek = '' WHERE issuer = $1 AND subject = $2 AND checked = $3`,
			args{l.Issuer, l.Subject, micros(l.Checked), []byte{}})
		if err != nil || n == 0 {
			return err
		}
		if err := t.replaceGroups(ctx, account.Link{AccountID: l.AccountID, Issuer: l.Issuer}); err != nil {
			return err
		}
		_, err = t.logOut(ctx, l.AccountID, micros(at))
		return err
	})
	return wrap(err, "withdraw what a provider gave account %s", l.AccountID)
}

// KeepGroups implements account.Vouching.
func (d directory) KeepGroups(ctx context.Context, issuers []string) error {
	ctx = d.db.engine.detach(ctx)
	had, err := collect[string](ctx, d.db.reads, `SELECT DISTINCT issuer FROM member WHERE issuer <> ''`, nil)
	gone := slices.DeleteFunc(had, func(issuer string) bool { return slices.Contains(issuers, issuer) })
	if err == nil && len(gone) > 0 {
		err = d.db.decide(ctx, func(ctx context.Context, t *tx) error {
			for _, issuer := range gone {
				if _, err := t.exec(ctx, `DELETE FROM member WHERE issuer = $1`, args{issuer}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return wrap(err, "take away groups")
}

// Trespassers implements account.Vouching.
func (d directory) Trespassers(ctx context.Context, provider, issuer string) (name, group string, err error) {
	ctx = d.db.engine.detach(ctx)
	// Below "corp" is what begins with "corp/"; "0" follows "/".
	a := args{provider, provider + "/", provider + "0", issuer}
	err = d.db.reads.row(ctx, `SELECT a.kind || ':' || a.name FROM account a WHERE a.name >= $1 AND a.name < $3 AND (a.name = $1 OR a.name > $2)
		AND NOT EXISTS (SELECT 1 FROM outside_identity o WHERE o.account_uid = a.uid AND o.issuer = $4) ORDER BY a.name LIMIT 1`, a, &name)
	if err == nil || errors.Is(err, errNone) {
		err = d.db.reads.row(ctx, `SELECT m.group_name FROM member m WHERE m.group_name >= $1 AND m.group_name < $3 AND (m.group_name = $1 OR m.group_name > $2)
			AND m.issuer <> $4 ORDER BY m.group_name LIMIT 1`, a, &group)
	}
	if errors.Is(err, errNone) {
		err = nil
	}
	return name, group, wrap(err, "find names below a provider's")
}
