package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
)

// Limits on access keys.
const (
	// DefaultKeyLife is how long a key lives unless asked otherwise.
	DefaultKeyLife = 90 * 24 * time.Hour
	// defaultMaxKeyLife is what Options.MaxKeyLife means when it is zero.
	defaultMaxKeyLife = 366 * 24 * time.Hour
	// maxKeyName bounds the name of a key, in bytes.
	maxKeyName = 200
)

// defaultFailureFloor is longer than any hash we accept takes to check.
const defaultFailureFloor = time.Second

// cacheSize bounds each of the caches, in entries.
const cacheSize = 10_000

// Options of a Service; the zero value works.
type Options struct {
	Now    func() time.Time // nil: time.Now
	Rand   io.Reader        // nil: crypto/rand.Reader
	Logger *slog.Logger     // nil: discard

	// FailureFloor is how long every failed password check takes from the moment
	// its turn to hash came. 0: one second.
	FailureFloor time.Duration
	// MaxKeyLife bounds the life of an access key. 0: 366 days.
	MaxKeyLife time.Duration
	// MinPassword is the least length of a new password, in characters. 0: 12.
	MinPassword int
	// Hosts are names of the service, which no password may be made of.
	Hosts []string

	// Providers vouch for people from elsewhere. Sealer keeps what they are asked
	// with; it is needed where one has a Voucher.
	Providers []Provider
	Sealer    Sealer
}

// A Service knows who the local accounts are and proves them. It is safe for
// concurrent use; Close it to write down the last uses.
//
// What it reads from the directory it reuses while the generation stays, so a
// right that was taken away is gone with the next request.
type Service struct {
	dir     Directory
	changes access.Changes
	now     func() time.Time
	rand    io.Reader
	log     *slog.Logger
	maxLife time.Duration

	minPassword int
	hosts       []string
	providers   []Provider
	sealer      Sealer

	hashing      *hasher
	remembered   *remembered
	throttle     *throttle
	flights      flights[presentation, Account]
	changing     sync.Map               // names of people who change their passwords
	decoys       atomic.Pointer[decoys] // nil at first
	decoysFlight flights[struct{}, *decoys]
	networks     *otter.Cache[netip.Prefix, knownAt]
	used         *lastuse.Log
	rechecks     flights[outsideID, struct{}]
	proofs       flights[presentation, access.Identity]
	proven       *otter.Cache[[32]byte, under[provenElsewhere]]
	vouches      *otter.Cache[outsideID, time.Time] // when the provider vouched last
	identities   *otter.Cache[identityKey, under[resolved]]
	keys         *otter.Cache[[32]byte, under[Key]]

	policy       atomic.Pointer[knownPolicy] // nil at first
	applied      atomic.Pointer[knownPolicy] // the last that was applied here, nil at first; of no generation
	policyFlight singleflight.Group          // by generation
}

// under is a value that was read under a generation.
type under[T any] struct {
	generation int64
	value      T
}

type identityKey struct{ uid, keyID string }

// A resolved account is what Resolve knows without the proof.
type resolved struct {
	identity    access.Identity
	passwordSet time.Time
	// vouchers are those without whose word it is nobody's: of an account that has
	// no password.
	vouchers []outsideID
}

// New returns a service on dir.
func New(dir Directory, ch access.Changes, o Options) *Service {
	s := &Service{
		dir: dir, changes: ch,
		now: o.Now, rand: o.Rand, log: o.Logger,
		maxLife:     cmp.Or(o.MaxKeyLife, defaultMaxKeyLife),
		minPassword: cmp.Or(o.MinPassword, DefaultMinPassword), hosts: o.Hosts,
		providers: o.Providers, sealer: o.Sealer,
		proven:     otter.Must(&otter.Options[[32]byte, under[provenElsewhere]]{MaximumSize: cacheSize}),
		vouches:    otter.Must(&otter.Options[outsideID, time.Time]{MaximumSize: cacheSize}),
		hashing:    newHasher(cmp.Or(o.FailureFloor, defaultFailureFloor)),
		identities: otter.Must(&otter.Options[identityKey, under[resolved]]{MaximumSize: cacheSize}),
		keys:       otter.Must(&otter.Options[[32]byte, under[Key]]{MaximumSize: cacheSize}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.remembered = newRemembered(s.now)
	s.throttle = newThrottle(s.now)
	s.networks = newNetworks()
	s.used = lastuse.New(dir.TouchKeys, s.log)
	return s
}

// Close writes down the last uses that were not yet written.
func (s *Service) Close() error { return s.used.Close() }

// Passwords returns the authenticator for access.Password.
func (s *Service) Passwords() access.Authenticator { return passwords{s} }

// Keys returns the authenticator for access.AccessKey.
func (s *Service) Keys() access.Authenticator { return accessKeys{s} }

// Hashes returns how many password hashes were computed since the start.
func (s *Service) Hashes() int64 { return s.hashing.count.Load() }

// Resolve returns the identity that uid and proof name as it is now: current
// groups, and the narrowing and the end of the key that the proof names.
// Errors: access.ErrBadCredential, or one that wraps it, when the account is
// removed or disabled, the password that was proven replaced, or the key is
// removed, revoked or expired, or another's.
func (s *Service) Resolve(ctx context.Context, uid string, proof access.Proof) (access.Identity, error) {
	r, err := s.resolve(ctx, uid, proof.KeyID)
	if err != nil {
		return access.Identity{}, err
	}
	if (proof.Method == "password" || proof.Method == methodSSO) && !proof.PasswordSet.Equal(r.passwordSet) {
		return access.Identity{}, access.ErrBadCredential
	}
	id := r.identity
	if !id.Expires.IsZero() && !s.now().Before(id.Expires) {
		return access.Identity{}, access.ErrExpired
	}
	id.Proof = proof
	return id, nil
}

func (s *Service) resolve(ctx context.Context, uid, keyID string) (resolved, error) {
	generation, err := s.changes.Generation(ctx)
	if err != nil {
		return resolved{}, fmt.Errorf("read generation: %w", err)
	}
	at := identityKey{uid, keyID}
	if known, ok := s.identities.GetIfPresent(at); ok && known.generation == generation {
		return known.value, nil
	}
	r, err := s.readIdentity(ctx, uid, keyID)
	if err != nil {
		return resolved{}, err
	}
	s.identities.Set(at, under[resolved]{generation, r})
	return r, nil
}

func (s *Service) readIdentity(ctx context.Context, uid, keyID string) (resolved, error) {
	a, err := s.dir.AccountByUID(ctx, uid)
	if err != nil {
		return resolved{}, notFoundIsBad("find account", err)
	}
	if a.Disabled {
		return resolved{}, access.ErrDisabled
	}
	r := resolved{identity: access.Identity{Principal: a.Principal()}, passwordSet: a.PasswordSet}
	if r.vouchers, err = s.vouchersOf(ctx, a); err != nil {
		return resolved{}, err
	}
	if keyID == "" {
		return r, nil
	}
	k, err := s.dir.KeyByID(ctx, keyID)
	if err != nil {
		return resolved{}, notFoundIsBad("find access key", err)
	}
	switch {
	case k.AccountID != uid:
		return resolved{}, access.ErrBadCredential
	case !k.Revoked.IsZero():
		return resolved{}, access.ErrRevoked
	}
	r.identity.Narrowing, r.identity.Expires = k.Narrowing, k.Expires
	return r, nil
}

// Principal returns who the account acts as.
func (a Account) Principal() access.Principal {
	return access.Principal{ID: access.ID{Name: a.Name}, Kind: a.Kind, UID: a.UID, Groups: a.Groups}
}

// newID returns a public name for something that is made once.
func (s *Service) newID() (string, error) {
	var b [15]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])), nil
}
