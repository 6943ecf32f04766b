package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// The Proof.Method of a client certificate, and of an identity token.
const (
	methodCertificate = "certificate"
	methodSession     = "session"
)

// verifiedBytes bounds the cache of verified tokens.
const verifiedBytes = 16 << 20

// A verified token is one whose signature and claims were checked; that stays
// true for its exact text. What it may do is found again whenever the
// generation moves.
type verified struct {
	key    string // id of the signing key
	claims claims
	held   access.Grants
	weight uint32 // bytes, about
	now    atomic.Pointer[under[standing]]
}

// A standing is what holds for a token under one generation: void, or an
// identity and the policy.
type standing struct {
	void     bool // its account, key or session has ended
	identity access.Identity
	policy   *access.Policy
}

// Authorize returns what the bearer of an access token may rely on, and for ""
// what anybody may. A token past its end, but good otherwise, gives an
// authority whose Token.Expired is set, for an hour at most: it says who comes,
// and serves only a push that it began.
//
// Errors: access.ErrInvalidToken for a token that proves nothing: not ours, or
// its account, key or session has ended. Any other error means that we could
// not decide. A token seen before costs no signature check, and no query while
// the generation stays.
func (s *Service) Authorize(ctx context.Context, bearer string) (access.Authority, error) {
	if bearer == "" {
		policy, err := s.deps.Policies.Current(ctx)
		if err != nil {
			return access.Authority{}, fmt.Errorf("read policy: %w", err)
		}
		return access.Authority{Policy: policy, Now: s.now()}, nil
	}
	if len(bearer) > maxToken {
		return access.Authority{}, access.ErrInvalidToken
	}
	generation, err := s.deps.Changes.Generation(ctx)
	if err != nil {
		return access.Authority{}, fmt.Errorf("read generation: %w", err)
	}
	keys, err := s.keys.under(ctx, generation)
	if err != nil {
		return access.Authority{}, err
	}
	sum, now := sha256.Sum256([]byte(bearer)), s.now()
	v, ok := s.verified.GetIfPresent(sum)
	switch {
	case !ok:
		if v, err = s.verify(ctx, keys, bearer); err != nil {
			return access.Authority{}, err
		}
		s.verified.Set(sum, v)
	case !keys.serves(now, v.key):
		return access.Authority{}, access.ErrInvalidToken
	}
	expired, err := s.checkTimes(v.claims, now)
	if err != nil {
		return access.Authority{}, err
	}
	known := v.now.Load()
	if known == nil || known.generation != generation {
		st, err := s.stand(ctx, v.claims)
		if err != nil {
			return access.Authority{}, err
		}
		known = &under[standing]{generation, st}
		v.now.Store(known)
	}
	id := known.value.identity
	if o := v.claims.Outsider; o != nil && !known.value.void {
		ends := id.Expires // of its session
		id, err = s.resolveOutsider(ctx, *o, v.claims.UID, v.claims.proof())
		switch {
		case errors.Is(err, access.ErrBadCredential):
			return access.Authority{}, access.ErrInvalidToken
		case err != nil:
			return access.Authority{}, err
		}
		id.Expires = earlier(id.Expires, ends)
	}
	if known.value.void || !id.Expires.IsZero() && !now.Before(id.Expires) {
		return access.Authority{}, access.ErrInvalidToken
	}
	return access.Authority{
		Identity: id, Policy: known.value.policy, Held: v.held, Now: now,
		Token: access.TokenFacts{
			ID: v.claims.ID, Issued: time.Unix(v.claims.Issued, 0), Expires: time.Unix(v.claims.Expires, 0).Add(s.leeway),
			Expired: expired,
		},
	}, nil
}

// verify checks everything about a token that stays as it is.
func (s *Service) verify(ctx context.Context, keys *ring, bearer string) (*verified, error) {
	header, rest, ok1 := strings.Cut(bearer, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return nil, access.ErrInvalidToken
	}
	key, ok, err := s.keys.find(ctx, keys, header)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, access.ErrInvalidToken
	}
	if err := key.verifySignature(bearer[:len(header)+1+len(payload)], signature); err != nil {
		return nil, access.ErrInvalidToken
	}
	c, err := parseClaims(payload)
	if err != nil || !s.sound(c) {
		return nil, access.ErrInvalidToken
	}
	return &verified{key: key.id, claims: c, held: c.grants(), weight: 1024 + 3*uint32(len(payload))}, nil
}

// sound reports whether the claims could be ours and agree with each other.
func (s *Service) sound(c claims) bool {
	switch {
	case c.Issuer != s.options.Issuer, c.Audience != s.options.Service, c.ID == "", c.Access == nil:
		return false
	case c.Issued <= 0, c.From != c.Issued, c.Expires <= c.Issued, c.Expires-c.Issued > int64(maxLifetime/time.Second):
		return false
	case (c.UID == "") != (c.Subject == ""), (c.UID == "") != (c.Method == ""):
		return false
	case c.PasswordSet < 0, c.PasswordSet != 0 && c.Method != "password" && c.Method != "sso":
		return false
	case c.UID == "" && (c.KeyID != "" || c.SessionID != ""):
		return false
	case c.Outsider == nil:
		return c.Method != methodCertificate && c.Method != access.MethodIDToken
	}
	return s.soundOutside(c, *c.Outsider)
}

// soundOutside is sound for who has no account of ours. An identity token of a
// certificate there is none, and one of an issuer's token has no key.
func (s *Service) soundOutside(c claims, o Outsider) bool {
	p := o.Principal()
	switch {
	case c.UID != p.UID, c.Subject != p.String(), c.KeyID != "", c.PasswordSet != 0, !o.fits(c.Method):
		return false
	case c.Method == methodCertificate && c.SessionID != "", c.Method == methodSession && c.SessionID == "":
		return false
	case o.Expires != 0 && c.Expires > o.Expires:
		return false
	}
	return true
}

// checkTimes reports whether the token is past its end. Errors:
// access.ErrInvalidToken before its beginning and after the grace of a push.
func (s *Service) checkTimes(c claims, now time.Time) (expired bool, err error) {
	end := time.Unix(c.Expires, 0)
	switch {
	case now.Add(s.leeway).Before(time.Unix(c.From, 0)):
		return false, access.ErrInvalidToken
	case now.Before(end.Add(s.leeway)):
		return false, nil
	case now.Before(end.Add(pushGrace)):
		return true, nil
	}
	return true, access.ErrInvalidToken
}

// stand finds what holds now for the one a token names.
func (s *Service) stand(ctx context.Context, c claims) (standing, error) {
	policy, err := s.deps.Policies.Current(ctx)
	if err != nil {
		return standing{}, fmt.Errorf("read policy: %w", err)
	}
	var id access.Identity
	switch {
	case c.UID == "":
	case c.Outsider != nil: // who it is, is found for each request
		id.Expires, err = s.sessionEnd(ctx, c.UID, c.proof())
	default:
		if id, err = s.resolve(ctx, c.UID, c.proof()); err == nil && id.Principal.String() != c.Subject {
			err = access.ErrBadCredential
		}
	}
	if errors.Is(err, access.ErrBadCredential) {
		return standing{void: true}, nil
	}
	return standing{identity: id, policy: policy}, err
}

// resolve returns the identity that uid and proof name as it is now, no longer
// than the proof's session lives. Errors: access.ErrBadCredential.
func (s *Service) resolve(ctx context.Context, uid string, proof access.Proof) (access.Identity, error) {
	id, err := s.deps.Accounts.Resolve(ctx, uid, proof)
	if err != nil {
		return access.Identity{}, err
	}
	if id.Principal.UID != uid {
		return access.Identity{}, access.ErrBadCredential
	}
	end, err := s.sessionEnd(ctx, uid, proof)
	if err != nil {
		return access.Identity{}, err
	}
	id.Expires = earlier(id.Expires, end)
	return id, nil
}

// sessionEnd returns when the session of a proof ends; the zero time if it has
// none. Errors: access.ErrBadCredential when it has ended, or is not uid's.
func (s *Service) sessionEnd(ctx context.Context, uid string, proof access.Proof) (time.Time, error) {
	if proof.SessionID == "" {
		return time.Time{}, nil
	}
	session, err := s.deps.Store.SessionByID(ctx, proof.SessionID)
	switch {
	case errors.Is(err, ErrUnknown):
		return time.Time{}, access.ErrBadCredential
	case err != nil:
		return time.Time{}, fmt.Errorf("find session: %w", err)
	case session.AccountID != uid, session.proof().KeyID != proof.KeyID, session.proof().Trust != proof.Trust,
		session.Service != s.options.Service, !session.Revoked.IsZero():
		return time.Time{}, access.ErrBadCredential
	}
	return session.Expires, nil
}

// earlier returns the earlier of two ends, where zero is no end.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
