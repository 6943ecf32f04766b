package metadata

import (
	"context"
	"database/sql"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

// SaveGrant implements token.Grants. Those who come at the same moment may go a
// little beyond the bounds.
func (s tokens) SaveGrant(ctx context.Context, g token.Grant, inAll, ofNetwork int) error {
	user := g.UserSum[:]
	if g.UserSum == [32]byte{} {
		user = []byte{}
	}
	err := s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		if inAll > 0 {
			var all, there int
			err := t.row(ctx, `SELECT count(*), coalesce(sum(CASE WHEN network = $2 THEN 1 ELSE 0 END), 0) FROM login_grant WHERE account_uid = '' AND expires > $1`,
				args{micros(g.Created), g.Network}, &all, &there)
			if err != nil {
				return err
			}
			if all >= inAll || there >= ofNetwork {
				return token.ErrManyGrants
			}
		}
		_, err := t.exec(ctx, `INSERT INTO login_grant (sum, user_sum, agent, address, network, redirect, challenge, created, expires,
			account_uid, method, password_set, issuer, subject, ends, denied, session_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, '')`,
			args{g.Sum[:], user, g.Agent, g.Address, g.Network, g.Redirect, g.Challenge, micros(g.Created), micros(g.Expires),
				g.AccountID, g.Proof.Method, micros(g.Proof.PasswordSet), g.Proof.Issuer, g.Proof.Subject, micros(g.Ends), g.Denied})
		return err
	})
	return wrap(err, "save a code")
}

const grantColumns = `SELECT sum, user_sum, agent, address, network, redirect, challenge, created, expires,
	account_uid, method, password_set, issuer, subject, ends, denied, session_id FROM login_grant WHERE `

// GrantBySum implements token.Grants.
func (s tokens) GrantBySum(ctx context.Context, sum [32]byte) (token.Grant, error) {
	return s.grant(ctx, grantColumns+`sum = $1`, sum)
}

// GrantByUserSum implements token.Grants.
func (s tokens) GrantByUserSum(ctx context.Context, sum [32]byte) (token.Grant, error) {
	return s.grant(ctx, grantColumns+`user_sum = $1 AND length(user_sum) > 0`, sum)
}

func (s tokens) grant(ctx context.Context, query string, by [32]byte) (token.Grant, error) {
	if err := ctx.Err(); err != nil {
		return token.Grant{}, err
	}
	var g token.Grant
	found := false
	err := s.db.reads.rows(s.db.engine.detach(ctx), query, args{by[:]}, func(rows *sql.Rows) error {
		var sum, user []byte
		var created, expires, set, ends int64
		p := &g.Proof
		err := rows.Scan(&sum, &user, &g.Agent, &g.Address, &g.Network, &g.Redirect, &g.Challenge, &created, &expires,
			&g.AccountID, &p.Method, &set, &p.Issuer, &p.Subject, &ends, &g.Denied, &g.SessionID)
		copy(g.Sum[:], sum)
		copy(g.UserSum[:], user)
		g.Created, g.Expires, g.Ends, p.PasswordSet = timeOf(created), timeOf(expires), timeOf(ends), timeOf(set)
		found = true
		return err
	})
	if err == nil && !found {
		err = token.ErrUnknownGrant
	}
	return g, wrap(err, "find a code")
}

// DecideGrant implements token.Grants. Of those who decide at the same moment one
// does.
func (s tokens) DecideGrant(ctx context.Context, g token.Grant, at time.Time) error {
	err := s.db.change(ctx, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE login_grant SET account_uid = $2, method = $3, password_set = $4, issuer = $5, subject = $6, ends = $7, denied = $8
			WHERE sum = $1 AND account_uid = '' AND NOT denied AND expires > $9`,
			args{g.Sum[:], g.AccountID, g.Proof.Method, micros(g.Proof.PasswordSet), g.Proof.Issuer, g.Proof.Subject, micros(g.Ends), g.Denied, micros(at)})
		if err == nil && n == 0 {
			return token.ErrUnknownGrant
		}
		return err
	})
	return wrap(err, "decide about a code")
}

// takeGrant gives the code of a session, if it has one, for it alone. Errors:
// token.ErrUnknown when it was given before.
func (t *tx) takeGrant(ctx context.Context, v token.Session) error {
	if v.Grant == [32]byte{} {
		return nil
	}
	n, err := t.exec(ctx, `UPDATE login_grant SET session_id = $2 WHERE sum = $1 AND account_uid = $3 AND session_id = '' AND NOT denied`,
		args{v.Grant[:], v.ID, v.AccountID})
	if err == nil && n == 0 {
		return token.ErrUnknown
	}
	return err
}

// DropGrants implements token.Grants.
func (s tokens) DropGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.drop(ctx, `DELETE FROM login_grant WHERE sum IN (SELECT sum FROM login_grant WHERE expires < $1 LIMIT $2)`, args{micros(before), limit})
}
