package token

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
	"github.com/sallyport/sallyport/internal/ledger"
)

const (
	// minLifetime is the least that clients may be told: they ask again for each
	// request otherwise, and treat less than 60 s as 60 s.
	minLifetime = 300 * time.Second
	maxLifetime = 24 * time.Hour
	// leeway is how far the clocks of two replicas may differ.
	leeway = 30 * time.Second
	// pushGrace is how long an expired token still says who comes, so that a
	// push that it began can go on; it equals registry.PushGrace.
	pushGrace = time.Hour

	defaultSessionAbsolute = 30 * 24 * time.Hour
	defaultSessionIdle     = 7 * 24 * time.Hour
	defaultKeyAhead        = 24 * time.Hour
)

// cacheSize bounds the cache of sessions, in entries.
const cacheSize = 10_000

// Deps are the rooms a Service works with. All but Certificates, IDTokens and People
// are required.
type Deps struct {
	Store     Store
	Accounts  Accounts
	Policies  Policies
	Changes   access.Changes
	Passwords access.Authenticator // for access.Password
	Keys      access.Authenticator // for access.AccessKey
	Sealer    *Sealer              // of the signing keys
	// Certificates proves access.Certificate and says what still holds of it.
	// nil: no client certificate is accepted.
	Certificates Outsiders
	// IDTokens proves access.IDToken, and says of what came of one whether its
	// issuer is still trusted as it was. nil: no issuer is.
	IDTokens Outsiders
	// People is asked about sessions that came of a provider's word. nil: there are
	// none.
	People People
}

// A PasswordUse says which token requests take a password.
type PasswordUse int

const (
	PasswordsAnywhere PasswordUse = iota
	// PasswordsLogIn is for logins alone: requests that ask for an identity token.
	PasswordsLogIn
)

// Options of a Service. Issuer and Service are required.
type Options struct {
	Issuer  string // iss of our tokens
	Service string // aud of our tokens, and the service of our challenges
	// Services are other registries that let us decide: audiences of tokens that
	// we issue and never take.
	Services []string

	// Lifetime of an access token, at least 300 s. 0: 300 s.
	Lifetime time.Duration
	// TestExpiry, when set, ends tokens that much after they are issued, without
	// leeway, while clients are still told Lifetime. It is for tests of clients.
	TestExpiry time.Duration
	// SessionAbsolute and SessionIdle bound the life of an identity token: from
	// its login, and from its last use. 0: 30 days and 7 days.
	SessionAbsolute, SessionIdle time.Duration
	// JobSession is how long an identity token for somebody from outside lives at
	// most: as long as a job runs. 0: 1 hour. Negative: they get none.
	JobSession time.Duration
	// KeyRotation is the time from one signing key to the next. 0: only by hand.
	KeyRotation time.Duration
	// KeyAhead is how long a signing key is published before it signs, at most
	// half of KeyRotation. 0: 24 hours.
	KeyAhead time.Duration

	// PasswordUse says which token requests take a password.
	PasswordUse PasswordUse

	Now    func() time.Time // nil: time.Now
	Rand   io.Reader        // nil: crypto/rand.Reader
	Logger *slog.Logger     // nil: discard
	Ledger *ledger.Recorder // takes the events of tokens and refusals; nil: none
}

// A Service issues and verifies tokens. It is safe for concurrent use; Close it
// to write down the last uses.
type Service struct {
	deps    Deps
	options Options
	leeway  time.Duration
	now     func() time.Time
	log     *slog.Logger

	keys     *keyring
	verified *otter.Cache[[32]byte, *verified]
	sessions *otter.Cache[[32]byte, under[Session]]
	waiting  *otter.Cache[[32]byte, waiting] // by device code
	used     *lastuse.Log
}

// under is a value that was read under a generation.
type under[T any] struct {
	generation int64
	value      T
}

// New returns a service. It makes our first signing key if there is none.
// Errors: *SealedError.
func New(ctx context.Context, d Deps, o Options) (*Service, error) {
	o.Lifetime = cmp.Or(o.Lifetime, minLifetime)
	o.SessionAbsolute = cmp.Or(o.SessionAbsolute, defaultSessionAbsolute)
	o.SessionIdle = cmp.Or(o.SessionIdle, defaultSessionIdle)
	o.JobSession = cmp.Or(o.JobSession, defaultJobSession)
	o.KeyAhead = cmp.Or(o.KeyAhead, defaultKeyAhead)
	switch {
	case d.Sealer == nil:
		return nil, errors.New("token service needs a sealer")
	case o.KeyRotation != 0 && o.KeyAhead > o.KeyRotation/2 || o.KeyAhead < 0:
		return nil, errors.New("signing keys are published ahead for at most half of the time between them")
	case o.Issuer == "" || o.Service == "":
		return nil, errors.New("token service needs an issuer and a service name")
	case o.Lifetime < minLifetime || o.Lifetime > maxLifetime:
		return nil, fmt.Errorf("token lifetime %s: use %s to %s", o.Lifetime, minLifetime, maxLifetime)
	case o.SessionAbsolute < 0 || o.SessionIdle < 0 || o.TestExpiry < 0:
		return nil, errors.New("token lifetimes are not negative")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		deps: d, options: o, leeway: leeway, now: o.Now, log: o.Logger,
		verified: otter.Must(&otter.Options[[32]byte, *verified]{
			MaximumWeight: verifiedBytes,
			Weigher:       func(_ [32]byte, v *verified) uint32 { return v.weight },
		}),
		sessions: otter.Must(&otter.Options[[32]byte, under[Session]]{MaximumSize: cacheSize}),
		waiting:  otter.Must(&otter.Options[[32]byte, waiting]{MaximumSize: maxWaiting}),
	}
	if o.TestExpiry > 0 {
		s.leeway = 0
	}
	s.keys = &keyring{
		schedule: schedule{
			rotation: o.KeyRotation, ahead: o.KeyAhead, sealer: d.Sealer,
			// The last token ends after a lifetime, by the clock that is most
			// behind, and serves its push for some time more.
			overlap: o.Lifetime + pushGrace + leeway,
		},
		store: d.Store, changes: d.Changes, now: s.now,
	}
	if err := s.keys.open(ctx); err != nil {
		return nil, err
	}
	s.used = lastuse.New(d.Store.TouchSessions, s.log)
	return s, nil
}

// Close writes down the last uses that were not yet written.
func (s *Service) Close() error { return s.used.Close() }

// newID returns an unguessable public name for something that is made once.
func (s *Service) newID() (string, error) {
	var b [15]byte
	if _, err := io.ReadFull(s.options.Rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])), nil
}
