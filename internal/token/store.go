// Package token owns access and refresh tokens, signing keys, JWKS and the
// /token endpoint.
package token

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
)

var (
	// ErrUnknown says that no such session exists.
	ErrUnknown = errors.New("no such session")
	// ErrUnknownKey says that no such signing key exists.
	ErrUnknownKey = errors.New("no such signing key")
)

// A Session is what an identity token of docker login stands for (a refresh
// token, in OAuth's words). The zero Revoked means alive.
type Session struct {
	ID        string   // public, safe to log
	Sum       [32]byte // SHA-256 of the token
	AccountID string   // UID of its account, or of the external principal
	Owner     string   // "user:alice", "external:NAME (ISSUER)"; filled in by look-ups
	KeyID     string   // the access key it was begun with, or ""
	Service   string   // the audience it is bound to
	Client    string   // user agent and address of the login, cleaned and cut
	Created   time.Time
	Expires   time.Time // absolute
	LastUsed  Use
	Revoked   time.Time
	// Outsider is set for who has no account of ours: the job that logged in.
	Outsider *Outsider

	// Issuer and Subject say who vouched for whom at its login, or "".
	Issuer, Subject string
	// Grant is the sum of the code that it is begun with, or zero; look-ups leave it
	// out.
	Grant [32]byte
}

// proof is what an identity token proves.
func (v Session) proof() access.Proof {
	p := access.Proof{Method: methodSession, KeyID: v.KeyID, SessionID: v.ID}
	if v.Outsider != nil {
		p.Trust = v.Outsider.Trust
	}
	return p
}

// A Place is where a session stands in a list, newest first. The zero Place is
// before all.
type Place struct {
	Created time.Time
	ID      string
}

// Place returns where v stands.
func (v Session) Place() Place { return Place{v.Created, v.ID} }

// String returns p as ParsePlace takes it.
func (p Place) String() string { return strconv.FormatInt(p.Created.UnixMicro(), 10) + "-" + p.ID }

// ParsePlace returns the place that a text of Place.String names.
func ParsePlace(text string) (Place, bool) {
	created, id, _ := strings.Cut(text, "-")
	n, err := strconv.ParseInt(created, 10, 64)
	return Place{time.UnixMicro(n), id}, err == nil && n > 0 && isID(id)
}

// A Room bounds the live sessions that an account, or somebody from outside, has
// begun with the same access key, or without one: when there are Limit of them, all but Keep are ended, those
// not used for longest. Keys do not compete with each other or with the password:
// who has one, however narrow, logs nobody out who came another way. The zero Room
// bounds nothing.
type Room struct{ Limit, Keep int }

// A Use is when and from where a session was last used.
type Use = lastuse.Use

// A SigningKey is a private key of ours as it is kept. See schedule for what the
// times mean.
type SigningKey struct {
	ID      string // RFC 7638 thumbprint, base64url
	Private []byte // PKCS #8, sealed
	// KEK names the key-encryption key that Private is sealed under. "": it is
	// plain, as versions before this one kept it.
	KEK       string
	Created   time.Time
	Activates time.Time
	Retires   time.Time // zero: no other is to follow yet
}

// A Store remembers what must survive a restart. It stores SHA-256 sums of
// refresh tokens, never the tokens. Every method is one durable transaction;
// those that take a right away advance the generation (access.Changes).
type Store interface {
	Sessions
	SessionLife
	SigningKeys
	Grants
}

// Sessions are begun and found.
type Sessions interface {
	// SaveSession stores a session that was begun with proof, and makes room for
	// it. Of who has no account, who vouched for them is asked instead, at each use.
	// Errors: ErrUnknown when that proves nothing any more: the account was
	// removed or disabled, its password replaced, or the key revoked, or its code was
	// given before, be it at the same moment.
	SaveSession(ctx context.Context, s Session, proof access.Proof, room Room) error
	// SessionBySum and SessionByID errors: ErrUnknown. Revoked and expired
	// sessions are returned: the caller judges.
	SessionBySum(ctx context.Context, sum [32]byte) (Session, error)
	SessionByID(ctx context.Context, id string) (Session, error)
	// ListSessions returns at most limit of one owner's, or of everybody's for uid
	// "", that follow after, newest first.
	ListSessions(ctx context.Context, uid string, after Place, limit int) ([]Session, error)
}

// SessionLife is what happens to sessions until their end.
type SessionLife interface {
	// RevokeSession ends one device. Errors: ErrUnknown.
	RevokeSession(ctx context.Context, id string, at time.Time) error
	// RevokeSessions ends every session of an account, voids what its password has
	// proved so far, and returns how many sessions ended; of an external principal
	// it ends the sessions. Errors: ErrUnknown.
	RevokeSessions(ctx context.Context, uid string, at time.Time) (int, error)
	// DropSessions deletes at most limit sessions of accounts that ended before
	// then, and of outsiders that were to end before jobs, and returns how many.
	DropSessions(ctx context.Context, before, jobs time.Time, limit int) (int, error)
	// TouchSessions records last uses in one transaction; older ones are ignored.
	TouchSessions(ctx context.Context, used map[string]Use) error
}

// SigningKeys are kept beside the sessions.
type SigningKeys interface {
	// ListSigningKeys returns the keys in the order in which they sign.
	ListSigningKeys(ctx context.Context) ([]SigningKey, error)
	// ChangeSigningKeys replaces the keys by what change makes of those that are
	// there, and advances the generation. Those who change them, on whatever
	// process, come one after the other. change may run more than once and owns
	// its argument; its error is returned, and nothing has changed then.
	ChangeSigningKeys(ctx context.Context, change func([]SigningKey) ([]SigningKey, error)) error
}

// Accounts says what is true now of an account that a token names.
type Accounts interface {
	// Resolve returns the identity as it is now: current groups, narrowing and
	// end of the key the proof names. Errors: access.ErrBadCredential when
	// account or key is removed, disabled, revoked or expired, or the password
	// replaced.
	Resolve(ctx context.Context, uid string, proof access.Proof) (access.Identity, error)
}

// Outsiders proves who has no account of ours.
type Outsiders interface {
	access.Authenticator
	// Resolve returns the identity that id and proof name as it is now. Nobody
	// advances the generation when outside trust ends, so it is asked for each
	// request and must be cheap. Errors: access.ErrBadCredential.
	Resolve(ctx context.Context, id access.ID, proof access.Proof) (access.Identity, error)
}

// People says whether those who vouched for people still do.
type People interface {
	// Recheck is asked before what came of such a word is used. Errors:
	// access.ErrBadCredential, or one that wraps it.
	Recheck(ctx context.Context, issuer, subject string) error
	// Vouched is that for what somebody got with an access key.
	Vouched(ctx context.Context, uid, keyID string) error
}

// Policies gives the policy as it is now.
type Policies interface {
	Current(ctx context.Context) (*access.Policy, error)
}
