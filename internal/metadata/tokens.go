package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// tokens implements token.Store.
type tokens struct{ db *DB }

const sessionColumns = `SELECT s.id, s.sum, coalesce(s.account_uid, s.outsider_uid), coalesce(a.kind || ':' || a.name, ''), s.key_id, s.service, s.client, s.created, s.expires, s.last_used, s.last_address, s.last_agent, s.revoked,
	s.outsider_issuer, s.outsider_name, s.trust, s.claims, s.sso_issuer, s.sso_subject FROM session s LEFT JOIN account a ON a.uid = s.account_uid `

// ownerColumn returns the column of a session that holds its owner's UID.
func ownerColumn(uid string) string {
	if access.IsExternalUID(uid) {
		return "outsider_uid"
	}
	return "account_uid"
}

// maxEvicted bounds the sessions that an event names; of more it says how many.
const maxEvicted = 40

// SaveSession implements token.Store.
func (s tokens) SaveSession(ctx context.Context, v token.Session, proof access.Proof, room token.Room) error {
	err := s.db.change(ctx, func(ctx context.Context, t *tx) error {
		ended, err := t.makeRoom(ctx, v, room)
		if err != nil {
			return err
		}
		if v.Outsider == nil {
			if err := t.stands(ctx, v.AccountID, proof); err != nil {
				return err
			}
		}
		if err := t.takeGrant(ctx, v); err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) {
			delete(e.Detail, "evicted") // the transaction may run again
			if len(ended) <= maxEvicted {
				e.Set("evicted", strings.Join(ended, " "))
			} else {
				e.Set("evicted", strconv.Itoa(len(ended)))
			}
		})
		var o token.Outsider
		if v.Outsider != nil {
			o = *v.Outsider
		}
		claims, err := claimsText(o.Claims)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO session (id, `+ownerColumn(v.AccountID)+`, key_id, sum, service, client, created, expires, last_used, last_address, last_agent, revoked, outsider_issuer, outsider_name, trust, claims, sso_issuer, sso_subject)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
			args{v.ID, v.AccountID, v.KeyID, v.Sum[:], v.Service, v.Client, micros(v.Created), micros(v.Expires), micros(v.LastUsed.Time), v.LastUsed.Address, v.LastUsed.Agent, micros(v.Revoked), o.Issuer, o.Name, o.Trust, claims, v.Issuer, v.Subject})
		return err
	})
	return wrap(err, "save session %s", v.ID)
}

// claimsText is how claims are stored; "" is none.
func claimsText(claims map[string]string) (string, error) {
	if len(claims) == 0 {
		return "", nil
	}
	text, err := json.Marshal(claims)
	return string(text), err
}

// stands checks that proof, of a password or a key, still proves the account. Errors: token.ErrUnknown.
// On PostgreSQL the updates, which change nothing, make us and who takes the
// right away wait for each other: that one changes account or key first, and
// ends the sessions of before then.
func (t *tx) stands(ctx context.Context, uid string, proof access.Proof) error {
	query, a := `UPDATE account SET disabled = disabled WHERE uid = $1 AND NOT disabled`, args{uid}
	if proof.KeyID == "" {
		query, a = query+` AND password_set = $2`, append(a, micros(proof.PasswordSet))
	}
	n, err := t.exec(ctx, query, a)
	if err == nil && n > 0 && proof.KeyID != "" {
		n, err = t.exec(ctx, `UPDATE access_key SET revoked = revoked WHERE id = $1 AND account_uid = $2 AND revoked = 0`, args{proof.KeyID, uid})
	}
	if err == nil && n == 0 {
		return token.ErrUnknown
	}
	return err
}

// SessionBySum implements token.Store.
func (s tokens) SessionBySum(ctx context.Context, sum [32]byte) (token.Session, error) {
	return s.session(ctx, sessionColumns+`WHERE s.sum = $1`, sum[:])
}

// SessionByID implements token.Store.
func (s tokens) SessionByID(ctx context.Context, id string) (token.Session, error) {
	return s.session(ctx, sessionColumns+`WHERE s.id = $1`, id)
}

func (s tokens) session(ctx context.Context, query string, by any) (token.Session, error) {
	if err := ctx.Err(); err != nil {
		return token.Session{}, err
	}
	found, err := s.sessions(ctx, query, args{by})
	if err == nil && len(found) == 0 {
		err = token.ErrUnknown
	}
	if err != nil {
		return token.Session{}, wrap(err, "find session")
	}
	return found[0], nil
}

// ListSessions implements token.Store. Both databases begin at the place by the
// index, which ends in created and id.
func (s tokens) ListSessions(ctx context.Context, uid string, after token.Place, limit int) ([]token.Session, error) {
	from := int64(math.MaxInt64)
	if after != (token.Place{}) {
		from = micros(after.Created)
	}
	where, a := `WHERE s.created <= $1 AND (s.created < $1 OR s.id > $2) `, args{from, after.ID, limit}
	if uid != "" {
		where, a = where+`AND s.`+ownerColumn(uid)+` = $4 `, append(a, uid)
	}
	found, err := s.sessions(ctx, sessionColumns+where+`ORDER BY s.created DESC, s.id LIMIT $3`, a)
	return found, wrap(err, "list sessions")
}

func (s tokens) sessions(ctx context.Context, query string, a args) ([]token.Session, error) {
	var out []token.Session
	err := s.db.reads.rows(s.db.engine.detach(ctx), query, a, func(rows *sql.Rows) error {
		var v token.Session
		var sum []byte
		var created, expires, used, revoked int64
		var o token.Outsider
		var claims string
		err := rows.Scan(&v.ID, &sum, &v.AccountID, &v.Owner, &v.KeyID, &v.Service, &v.Client, &created, &expires, &used, &v.LastUsed.Address, &v.LastUsed.Agent, &revoked,
			&o.Issuer, &o.Name, &o.Trust, &claims, &v.Issuer, &v.Subject)
		if err == nil && claims != "" {
			err = json.Unmarshal([]byte(claims), &o.Claims)
		}
		if access.IsExternalUID(v.AccountID) {
			v.Outsider, v.Owner = &o, o.Principal().String()
		}
		copy(v.Sum[:], sum)
		v.Created, v.Expires, v.LastUsed.Time, v.Revoked = timeOf(created), timeOf(expires), timeOf(used), timeOf(revoked)
		out = append(out, v)
		return err
	})
	return out, err
}

// RevokeSession implements token.Store. A second time changes nothing.
func (s tokens) RevokeSession(ctx context.Context, id string, at time.Time) error {
	err := s.db.decide(ctx, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE session SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE id = $1`, args{id, micros(at)})
		if err == nil && n == 0 {
			return token.ErrUnknown
		}
		return err
	})
	return wrap(err, "revoke session %s", id)
}

// RevokeSessions implements token.SessionLife.
func (s tokens) RevokeSessions(ctx context.Context, uid string, at time.Time) (int, error) {
	var ended int64
	err := s.db.decide(ctx, func(ctx context.Context, t *tx) (err error) {
		if access.IsExternalUID(uid) {
			ended, err = t.exec(ctx, `UPDATE session SET revoked = $2 WHERE outsider_uid = $1 AND revoked = 0`, args{uid, micros(at)})
		} else {
			ended, err = t.logOut(ctx, uid, micros(at))
		}
		if errors.Is(err, account.ErrUnknown) {
			err = token.ErrUnknown
		}
		note(ctx, func(e *ledger.Event) { e.Set("ended", strconv.FormatInt(ended, 10)) })
		return err
	})
	return int(ended), wrap(err, "revoke the sessions of account %s", uid)
}

// makeRoom ends sessions so that v can be begun, and returns which. It comes
// before v locks anything, since it may move the generation: two logins at once
// may leave a session more. A login that needs no room does not move it.
func (t *tx) makeRoom(ctx context.Context, v token.Session, room token.Room) (ended []string, err error) {
	// By the index of keys, SQLite would find everybody's sessions that have none.
	live := `FROM session WHERE ` + ownerColumn(v.AccountID) + ` = $1 AND key_id || '' = $2 AND revoked = 0 AND expires > $3`
	if room.Limit == 0 {
		return nil, nil
	}
	a := args{v.AccountID, v.KeyID, micros(v.Created)}
	var count int
	if err := t.row(ctx, `SELECT count(*) `+live, a, &count); err != nil || count < room.Limit {
		return nil, wrap(err, "count sessions")
	}
	if err := t.advance(ctx); err != nil {
		return nil, err
	}
	end := `UPDATE session SET revoked = $3`
	if v.Outsider != nil { // nobody looks for a job's, and a stolen token could make a row a request
		end = `DELETE FROM session`
	}
	ended, err = collect[string](ctx, t, end+` WHERE `+ownerColumn(v.AccountID)+` = $1 AND key_id || '' = $2 AND revoked = 0 AND id NOT IN (
		SELECT id `+live+` ORDER BY last_used DESC, id LIMIT $4) RETURNING id`, append(a, room.Keep))
	return ended, wrap(err, "end the oldest sessions of account %s", v.AccountID)
}

// DropSessions implements token.SessionLife.
func (s tokens) DropSessions(ctx context.Context, before, jobs time.Time, limit int) (int, error) {
	return s.db.drop(ctx, `DELETE FROM session WHERE id IN (
		SELECT id FROM session WHERE revoked > 0 AND revoked < $1 OR revoked = 0 AND expires < $1 OR outsider_uid IS NOT NULL AND expires < $2 LIMIT $3)`,
		args{micros(before), micros(jobs), limit})
}

// TouchSessions implements token.Store.
func (s tokens) TouchSessions(ctx context.Context, used map[string]token.Use) error {
	return wrap(s.db.touchUsed(ctx, `UPDATE session SET last_used = $2, last_address = $3, last_agent = $4 WHERE id = $1 AND last_used < $2`, used), "record last use of sessions")
}
