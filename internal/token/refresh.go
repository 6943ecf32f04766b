package token

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
	"github.com/sallyport/sallyport/internal/ledger"
)

// newSession makes an identity token for id and the session it stands for,
// which is not saved yet. A session that was begun with a key ends with it.
func (s *Service) newSession(id access.Identity, req request) (access.Secret, Session, error) {
	secret, err := access.RefreshSecret.New(s.options.Rand)
	if err != nil {
		return access.Secret{}, Session{}, fmt.Errorf("read randomness: %w", err)
	}
	public, err := s.newID()
	if err != nil {
		return access.Secret{}, Session{}, err
	}
	now := s.now().UTC().Truncate(time.Second)
	session := Session{
		ID: public, Sum: secret.Sum(),
		AccountID: id.Principal.UID, Owner: id.Principal.String(), KeyID: id.Proof.KeyID,
		Service: req.service, Client: req.client, Issuer: id.Proof.Issuer, Subject: id.Proof.Subject,
		Created: now, LastUsed: lastuse.From(now, req.from.Address, req.from.UserAgent), Expires: earlier(now.Add(s.options.SessionAbsolute), id.Expires),
	}
	if session.Outsider = outsiderOf(id); session.Outsider != nil {
		session.Outsider.Expires = 0
		session.Expires = now.Add(s.jobLife(id))
	}
	return secret, session, nil
}

// authenticateSession checks an identity token, which serves the service of its
// login alone. One that is not well made costs no look-up.
func (s *Service) authenticateSession(ctx context.Context, presented access.RefreshToken, service string) (access.Identity, error) {
	if !access.RefreshSecret.Valid(presented.Secret.Reveal()) {
		return access.Identity{}, access.ErrBadCredential
	}
	session, err := s.sessionBySum(ctx, presented.Secret.Sum())
	if err != nil {
		return access.Identity{}, err
	}
	proof := session.proof()
	id, err := s.resolveSession(ctx, session, proof, service)
	if err == nil && !id.Narrowing.AllowsFrom(presented.From.Address) {
		err = access.ErrWrongNetwork
	}
	if errors.Is(err, access.ErrBadCredential) {
		refused := &access.Refused{Why: err, Owner: session.Owner, UID: session.AccountID, Proof: proof}
		if session.Outsider != nil {
			refused.Claims = session.Outsider.Claims
		}
		err = refused
	}
	if err != nil {
		return access.Identity{}, err
	}
	id.Expires = earlier(id.Expires, session.Expires)
	s.used.Touch(session.ID, lastuse.From(s.now(), presented.From.Address, presented.From.UserAgent))
	return id, nil
}

// resolveSession returns whom a session stands for. Errors:
// access.ErrBadCredential, or one that wraps it.
func (s *Service) resolveSession(ctx context.Context, session Session, proof access.Proof, service string) (access.Identity, error) {
	switch {
	case session.Service != service:
		return access.Identity{}, access.ErrBadCredential
	case !session.Revoked.IsZero():
		return access.Identity{}, access.ErrRevoked
	case !s.alive(session):
		return access.Identity{}, access.ErrExpired
	}
	if session.Outsider != nil {
		return s.resolveOutsider(ctx, *session.Outsider, session.AccountID, proof)
	}
	if err := s.recheck(ctx, session.Issuer, session.Subject); err != nil {
		return access.Identity{}, err
	}
	if session.KeyID != "" && s.deps.People != nil {
		if err := s.deps.People.Vouched(ctx, session.AccountID, session.KeyID); err != nil {
			return access.Identity{}, err
		}
	}
	return s.deps.Accounts.Resolve(ctx, session.AccountID, proof)
}

// recheck asks whether the issuer still vouches for the one whom it calls subject,
// if something came of its word. Errors: access.ErrBadCredential, or one that wraps it.
func (s *Service) recheck(ctx context.Context, issuer, subject string) error {
	switch {
	case issuer == "":
		return nil
	case s.deps.People == nil:
		return access.ErrBadCredential
	}
	return s.deps.People.Recheck(ctx, issuer, subject)
}

// sessionBySum returns a session, which may have ended. Errors:
// access.ErrBadCredential.
func (s *Service) sessionBySum(ctx context.Context, sum [32]byte) (Session, error) {
	generation, err := s.deps.Changes.Generation(ctx)
	if err != nil {
		return Session{}, fmt.Errorf("read generation: %w", err)
	}
	known, ok := s.sessions.GetIfPresent(sum)
	// Another replica may have written a later use than the one we remember, so
	// a session is not found idle without looking again.
	if !ok || known.generation != generation || !s.alive(known.value) {
		session, err := s.deps.Store.SessionBySum(ctx, sum)
		switch {
		case errors.Is(err, ErrUnknown):
			return Session{}, access.ErrBadCredential
		case err != nil:
			return Session{}, fmt.Errorf("find session: %w", err)
		}
		known = under[Session]{generation, session}
		s.sessions.Set(sum, known)
	}
	session := known.value
	if subtle.ConstantTimeCompare(session.Sum[:], sum[:]) != 1 {
		return Session{}, access.ErrBadCredential
	}
	return session, nil
}

// alive reports whether a session has neither ended nor been revoked nor lain
// idle for too long.
func (s *Service) alive(session Session) bool {
	now := s.now()
	idleFrom := s.used.Latest(session.ID, session.LastUsed).Time
	return session.Revoked.IsZero() &&
		now.Before(session.Expires) && now.Before(idleFrom.Add(s.options.SessionIdle))
}

// Sessions returns at most limit of the sessions of one account, or of everybody's
// for uid "", that follow after: newest first, revoked and ended ones too.
func (s *Service) Sessions(ctx context.Context, uid string, after Place, limit int) ([]Session, error) {
	sessions, err := s.deps.Store.ListSessions(ctx, uid, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	for i := range sessions {
		sessions[i].LastUsed = s.used.Latest(sessions[i].ID, sessions[i].LastUsed)
	}
	return sessions, nil
}

// Session returns one session. Errors: ErrUnknown.
func (s *Service) Session(ctx context.Context, id string) (Session, error) {
	if !isID(id) {
		return Session{}, ErrUnknown
	}
	session, err := s.deps.Store.SessionByID(ctx, id)
	if err != nil {
		return Session{}, fmt.Errorf("find session: %w", err)
	}
	return session, nil
}

// RevokeSession ends a session and the access tokens that came of it. Errors:
// ErrUnknown.
func (s *Service) RevokeSession(ctx context.Context, id string) error {
	if !isID(id) {
		return ErrUnknown
	}
	if err := s.deps.Store.RevokeSession(ctx, id, s.now()); err != nil {
		return fmt.Errorf("revoke session: %w", err)
	}
	return nil
}

// RevokeToken ends the session of an identity token, if there is one, and says in e
// whose it is. Who has the token may.
func (s *Service) RevokeToken(ctx context.Context, secret access.Secret, e *ledger.Event) error {
	if !access.RefreshSecret.Valid(secret.Reveal()) {
		return nil
	}
	session, err := s.sessionBySum(ctx, secret.Sum())
	switch {
	case errors.Is(err, access.ErrBadCredential):
		return nil
	case err != nil:
		return err
	case !session.Revoked.IsZero():
		return nil
	}
	e.Principal, e.UID, e.Credential, e.Object = session.Owner, session.AccountID, session.ID, "session:"+session.ID
	return s.RevokeSession(ctx, session.ID)
}

// accountRoom bounds the live sessions of one account. It is made for several logins at
// once, because each time every replica reads again what it knows. A key may be
// on as many machines as a person's password: on every runner of a CI.
var accountRoom = Room{Limit: 100, Keep: 80}

// jobRoom bounds those of one external principal. All jobs of a repository's main
// branch can be the same one. Each logs in, hosted systems run a thousand at once,
// and what a job leaves behind counts until its end, an hour later. Those that are
// ended for room are the ones not used for longest, of jobs that are over; with
// room for fewer they would be of jobs that run. Whoever steals the token of one
// job logs out jobs of the same name alone, and fills no more than this: so one
// outside token that is shown again and again needs no bound of its own.
var jobRoom = Room{Limit: 5000, Keep: 4500}

// room is how many a session's owner may have.
func (v Session) room() Room {
	if v.Outsider != nil {
		return jobRoom
	}
	return accountRoom
}

const (
	// keepSessions is how long a session is kept, and listed, after its end; keepJobs
	// is that for those of jobs, of which there are thousands a day. The record
	// keeps what they did.
	keepSessions = 30 * 24 * time.Hour
	keepJobs     = 24 * time.Hour
	// keepGrants is how long it is remembered that a code was given.
	keepGrants = 24 * time.Hour
	dropAtOnce = 500 // rows of one transaction
)

// Tidy deletes the sessions that ended 30 days ago or longer, those of jobs after
// one day, and returns how many.
func (s *Service) Tidy(ctx context.Context) (int, error) {
	for {
		n, err := s.deps.Store.DropGrants(ctx, s.now().Add(-keepGrants), dropAtOnce)
		if err != nil {
			return 0, err
		}
		if n < dropAtOnce {
			break
		}
	}
	total := 0
	for {
		n, err := s.deps.Store.DropSessions(ctx, s.now().Add(-keepSessions), s.now().Add(-keepJobs), dropAtOnce)
		total += n
		if err != nil || n < dropAtOnce {
			return total, err
		}
	}
}

// RevokeSessions logs an account out everywhere: it ends every session and every
// access token that came of one or of the password. Access keys stay, and so does
// what an issuer's token proves, for minutes. It returns how many sessions ended.
// Errors: ErrUnknown.
func (s *Service) RevokeSessions(ctx context.Context, uid string) (int, error) {
	n, err := s.deps.Store.RevokeSessions(ctx, uid, s.now())
	if err != nil {
		return 0, fmt.Errorf("revoke sessions: %w", err)
	}
	return n, nil
}

// isID reports whether id could be one of ours; anything else is not asked of
// the database.
func isID(id string) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
