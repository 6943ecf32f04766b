package token

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// ClientID is the one program that logs in with a browser: our own. It is a
	// public client, which can keep no secret.
	ClientID = "sallyport"

	codeLife   = time.Minute
	DeviceLife = 10 * time.Minute // of a device code, and of the code that is typed
	// DeviceInterval is how long a program waits between two questions.
	DeviceInterval = 5 * time.Second

	// maxGrants bounds those that wait for an approval, in all and for one network.
	maxGrants, maxGrantsOfNetwork = 1000, 20
	// maxWaiting bounds what is remembered of programs that wait, in entries.
	maxWaiting = 10_000
)

var (
	// ErrUnknownGrant says that there is no such code, or no more.
	ErrUnknownGrant = errors.New("no such code")
	// ErrManyGrants says that too many wait for an approval.
	ErrManyGrants = errors.New("too many programs wait for an approval")
)

// A Grant is what a person gives a program on a page of ours: an authorization
// code, or the device code that the program shows. It serves once.
type Grant struct {
	Sum [32]byte // SHA-256 of the code
	// UserSum is the SHA-256 of what the person types who approves a device code,
	// in its plain form; zero for an authorization code.
	UserSum [32]byte
	// Agent and Address say who asks for a device code, and Network bounds how many
	// do so from there.
	Agent, Address, Network string
	// Redirect and Challenge (S256) are of an authorization code.
	Redirect, Challenge string
	Created, Expires    time.Time

	// AccountID, proof and end are those of who approved; "" while nobody has.
	AccountID string
	Proof     access.Proof
	Ends      time.Time // or zero
	Denied    bool
	SessionID string // what it was given for; "" before
}

// Grants are kept until a while after their end.
type Grants interface {
	// SaveGrant stores a grant. Of those that are not approved there are at most
	// inAll, and of its network at most ofNetwork. Errors: ErrManyGrants.
	SaveGrant(ctx context.Context, g Grant, inAll, ofNetwork int) error
	// GrantBySum and GrantByUserSum errors: ErrUnknownGrant. Ended ones are returned.
	GrantBySum(ctx context.Context, sum [32]byte) (Grant, error)
	GrantByUserSum(ctx context.Context, sum [32]byte) (Grant, error)
	// DecideGrant stores who approved, or that somebody denied. Errors:
	// ErrUnknownGrant when it was decided before, or has ended at at.
	DecideGrant(ctx context.Context, g Grant, at time.Time) error
	// DropGrants deletes at most limit grants that ended before then.
	DropGrants(ctx context.Context, before time.Time, limit int) (int, error)
}

// NewCode makes the authorization code with which a program that has the verifier
// of challenge logs in as id, and that a browser brings to redirect.
func (s *Service) NewCode(ctx context.Context, id access.Identity, redirect, challenge string) (access.Secret, error) {
	code, err := access.CodeSecret.New(s.options.Rand)
	if err != nil {
		return access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	now := s.now().UTC().Truncate(time.Second)
	g := Grant{Sum: code.Sum(), Redirect: redirect, Challenge: challenge, Created: now, Expires: now.Add(codeLife)}
	g.approve(id)
	if err := s.deps.Store.SaveGrant(ctx, g, 0, 0); err != nil {
		return access.Secret{}, fmt.Errorf("save authorization code: %w", err)
	}
	return code, nil
}

func (g *Grant) approve(id access.Identity) {
	g.AccountID, g.Proof, g.Ends = id.Principal.UID, id.Proof, id.Expires
}

// authenticateCode returns who has given an authorization code. One that was given
// before ends what it gave: somebody else has it (RFC 6749, 4.1.2).
func (s *Service) authenticateCode(ctx context.Context, c access.Code) (access.Identity, error) {
	g, err := s.findGrant(ctx, access.CodeSecret, c.Secret)
	if err != nil {
		return access.Identity{}, err
	}
	proven := sha256.Sum256([]byte(c.Verifier.Reveal()))
	challenge := base64.RawURLEncoding.EncodeToString(proven[:])
	if g.Redirect != c.Redirect || subtle.ConstantTimeCompare([]byte(challenge), []byte(g.Challenge)) != 1 {
		return access.Identity{}, access.ErrBadCredential
	}
	return s.given(ctx, g)
}

// authenticateDevice returns who has approved a device code. Errors: *refusal while
// nobody has.
func (s *Service) authenticateDevice(ctx context.Context, c access.DeviceCode) (access.Identity, error) {
	g, err := s.findGrant(ctx, access.DeviceSecret, c.Secret)
	if err != nil {
		return access.Identity{}, err
	}
	switch {
	case g.Denied:
		return access.Identity{}, refuse(accessDenied, "the request was refused on the page")
	case !s.now().Before(g.Expires):
		return access.Identity{}, refuse(expiredToken, "nobody approved within %s: begin again", DeviceLife)
	case s.tooSoon(g.Sum):
		return access.Identity{}, refuse(slowDown, "ask less often")
	case g.AccountID == "":
		return access.Identity{}, refuse(authorizationPending, "nobody has approved yet")
	}
	return s.given(ctx, g)
}

// findGrant finds a code of a form. Errors: access.ErrBadCredential.
func (s *Service) findGrant(ctx context.Context, f access.SecretForm, code access.Secret) (Grant, error) {
	if !f.Valid(code.Reveal()) {
		return Grant{}, access.ErrBadCredential
	}
	g, err := s.deps.Store.GrantBySum(ctx, code.Sum())
	if errors.Is(err, ErrUnknownGrant) {
		return Grant{}, access.ErrBadCredential
	}
	if err != nil {
		return Grant{}, fmt.Errorf("find code: %w", err)
	}
	return g, nil
}

// given returns the identity that an approved grant stands for, if it was not
// given yet.
func (s *Service) given(ctx context.Context, g Grant) (access.Identity, error) {
	switch {
	case g.SessionID != "":
		return access.Identity{}, s.givenTwice(ctx, g)
	case !s.now().Before(g.Expires), g.Denied, g.AccountID == "":
		return access.Identity{}, access.ErrBadCredential
	}
	if err := s.recheck(ctx, g.Proof.Issuer, g.Proof.Subject); err != nil {
		return access.Identity{}, err
	}
	id, err := s.deps.Accounts.Resolve(ctx, g.AccountID, g.Proof)
	if err != nil {
		return access.Identity{}, err
	}
	id.Expires = earlier(id.Expires, g.Ends)
	return id, nil
}

func (s *Service) givenTwice(ctx context.Context, g Grant) error {
	s.log.WarnContext(ctx, "code was shown twice: what it gave ends", "session", g.SessionID)
	if err := s.deps.Store.RevokeSession(ctx, g.SessionID, s.now()); err != nil && !errors.Is(err, ErrUnknown) {
		return fmt.Errorf("revoke session: %w", err)
	}
	return access.ErrBadCredential
}

// grantOf returns the sum of the code that a request shows, or zero.
func grantOf(c access.Credential) (sum [32]byte) {
	switch c := c.(type) {
	case access.Code:
		return c.Secret.Sum()
	case access.DeviceCode:
		return c.Secret.Sum()
	}
	return sum
}

// lost is what became of a session that could not be saved: what proved it has
// ended, or its code was given to somebody else at the same moment. Errors:
// access.ErrBadCredential.
func (s *Service) lost(ctx context.Context, session Session) error {
	if session.Grant == ([32]byte{}) {
		return access.ErrBadCredential
	}
	g, err := s.deps.Store.GrantBySum(ctx, session.Grant)
	if err == nil && g.SessionID != "" {
		return s.givenTwice(ctx, g)
	}
	return access.ErrBadCredential
}

// A waiting program asked last at, and is to wait for interval.
type waiting struct {
	at       time.Time
	interval time.Duration
}

// tooSoon reports whether a program asks again before its time, and lets it wait
// longer then (RFC 8628, 3.5).
func (s *Service) tooSoon(sum [32]byte) bool {
	now := s.now()
	w, known := s.waiting.GetIfPresent(sum)
	if !known {
		w.interval = DeviceInterval
	}
	soon := known && now.Sub(w.at) < w.interval-time.Second // clocks and networks are uneven
	if soon {
		w.interval = min(w.interval+DeviceInterval, time.Minute)
	}
	w.at = now
	s.waiting.Set(sum, w)
	return soon
}

// isWaiting reports whether a refusal is an answer that a program waits through:
// no event is worth leaving.
func isWaiting(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusBadRequest && (r.code == authorizationPending || r.code == slowDown)
}
