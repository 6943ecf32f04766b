package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
)

// A signingKey is a key of ours, ready for use.
type signingKey struct {
	id      string
	private *ecdsa.PrivateKey
	public  jwk
	// header is the first part of every token signed with it; see jwt.go.
	header string
}

// A ring is our keys as they were under one generation, in the order in which
// they sign. It does not change.
type ring struct {
	generation int64
	rows       []SigningKey // without Private
	keys       []signingKey // of the same index
	schedule   schedule
}

// signer returns the key that signs.
func (r *ring) signer(now time.Time) signingKey { return r.keys[activeKey(now, r.rows)] }

// find returns the key for which is says so, unless it is gone.
func (r *ring) find(now time.Time, is func(signingKey) bool) (signingKey, bool) {
	for i, k := range r.keys {
		if is(k) {
			return k, !r.schedule.gone(now, r.rows[i])
		}
	}
	return signingKey{}, false
}

// serves reports whether tokens of the key id count.
func (r *ring) serves(now time.Time, id string) bool {
	_, ok := r.find(now, func(k signingKey) bool { return k.id == id })
	return ok
}

// A keyring holds our signing keys as the database has them.
type keyring struct {
	schedule
	store   SigningKeys
	changes access.Changes
	now     func() time.Time

	current atomic.Pointer[ring]

	mu       sync.Mutex // of reading the keys again
	reloaded time.Time  // for a key that we did not know
}

// open loads the keys, after it has done what is due: the first start makes the
// first key. Errors: *SealedError; nothing has changed then.
func (r *keyring) open(ctx context.Context) error {
	if err := r.keep(ctx); err != nil {
		return err
	}
	_, err := r.present(ctx)
	return err
}

// list returns the keys as they are stored.
func (r *keyring) list(ctx context.Context) ([]SigningKey, error) {
	stored, err := r.store.ListSigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	return stored, nil
}

// change replaces the keys, and says in the event that is pending what became
// of them.
func (r *keyring) change(ctx context.Context, change func([]SigningKey) ([]SigningKey, error)) error {
	err := r.store.ChangeSigningKeys(ctx, func(keys []SigningKey) ([]SigningKey, error) {
		before := slices.Clone(keys)
		after, err := change(keys)
		if err == nil {
			describe(ledger.Pending(ctx), before, after)
		}
		return after, err
	})
	if err != nil {
		return fmt.Errorf("change signing keys: %w", err)
	}
	return nil
}

// present returns the keys as they are now.
func (r *keyring) present(ctx context.Context) (*ring, error) {
	generation, err := r.changes.Generation(ctx)
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	return r.under(ctx, generation)
}

// under returns the keys as they are under a generation that was just read.
func (r *keyring) under(ctx context.Context, generation int64) (*ring, error) {
	if known := r.current.Load(); known != nil && known.generation == generation {
		return known, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.current.Load(); known != nil && known.generation == generation {
		return known, nil // another request read them meanwhile
	}
	return r.load(ctx, generation)
}

// find returns the key whose tokens begin with header. One that is not in known
// may be new on another replica, and its generation not here yet: then it reads
// the keys again, at most once a second.
func (r *keyring) find(ctx context.Context, known *ring, header string) (signingKey, bool, error) {
	is := func(k signingKey) bool { return k.header == header }
	now := r.now()
	if k, ok := known.find(now, is); ok || !isHeader(header) {
		return k, ok, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.reloaded) >= time.Second {
		r.reloaded = now
		if _, err := r.load(ctx, known.generation); err != nil {
			return signingKey{}, false, err
		}
	}
	k, ok := r.current.Load().find(now, is)
	return k, ok, nil
}

// load reads the keys. The caller holds mu.
func (r *keyring) load(ctx context.Context, generation int64) (*ring, error) {
	stored, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, errors.New("there is no signing key: restart the server, which makes one")
	}
	next := &ring{generation: generation, schedule: r.schedule}
	for _, row := range stored {
		k, err := r.ready(row)
		if err != nil {
			return nil, err
		}
		row.Private = nil
		next.rows, next.keys = append(next.rows, row), append(next.keys, k)
	}
	r.current.Store(next)
	return next, nil
}

// ready makes a stored key usable. One that we know by its thumbprint is the
// same, whatever it is sealed under now.
func (r *keyring) ready(row SigningKey) (signingKey, error) {
	if known := r.current.Load(); known != nil {
		for _, k := range known.keys {
			if k.id == row.ID {
				return k, nil
			}
		}
	}
	der, err := r.schedule.open(row)
	if err != nil {
		return signingKey{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return signingKey{}, fmt.Errorf("parse signing key %s: %w", row.ID, err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return signingKey{}, fmt.Errorf("signing key %s is not an ES256 key", row.ID)
	}
	public, err := publicJWK(&private.PublicKey)
	if err != nil {
		return signingKey{}, err
	}
	if public.KeyID != row.ID {
		return signingKey{}, fmt.Errorf("signing key %s has the thumbprint %s", row.ID, public.KeyID)
	}
	return signingKey{id: row.ID, private: private, public: public, header: headerOf(row.ID)}, nil
}

// A KeyState is where a signing key is on its way.
type KeyState string

// The states of a signing key, in their order.
const (
	Published KeyState = "published" // others can learn it, it does not sign yet
	Active    KeyState = "active"    // it signs
	Retiring  KeyState = "retiring"  // what it signed still counts
)

// A KeyStatus is what may be told about a signing key.
type KeyStatus struct {
	ID        string
	State     KeyState
	Created   time.Time
	Activates time.Time
	// Retires is when the next key signs, and Ends when nothing that this one
	// signed counts any more; zero while no other is to follow.
	Retires, Ends time.Time
}

// SigningKeys returns our keys in the order in which they sign, without those
// that are gone.
func (s *Service) SigningKeys(ctx context.Context) ([]KeyStatus, error) {
	ring, err := s.keys.present(ctx)
	if err != nil {
		return nil, err
	}
	return ring.statuses(s.now()), nil
}

func (r *ring) statuses(now time.Time) []KeyStatus {
	var all []KeyStatus
	active := activeKey(now, r.rows)
	for i, row := range r.rows {
		if r.schedule.gone(now, row) {
			continue
		}
		k := KeyStatus{ID: row.ID, State: Retiring, Created: row.Created, Activates: row.Activates, Retires: row.Retires}
		switch {
		case i == active:
			k.State = Active
		case row.Activates.After(now):
			k.State = Published
		}
		if !row.Retires.IsZero() {
			k.Ends = row.Retires.Add(r.schedule.overlap)
		}
		all = append(all, k)
	}
	return all
}

// RotateSigningKey makes the next signing key, which signs after the time for
// which keys are published ahead, and returns it. If it is there already it
// stays as it is.
func (s *Service) RotateSigningKey(ctx context.Context) (KeyStatus, error) {
	return s.rotate(ctx, s.keys.ahead)
}

// RotateSigningKeyNow is RotateSigningKey for a key that signs as soon as every
// process can have learned of it, also if it is there already. Others that read
// our key set from a file may not know it then.
func (s *Service) RotateSigningKeyNow(ctx context.Context) (KeyStatus, error) {
	return s.rotate(ctx, min(switchDelay, s.keys.ahead))
}

func (s *Service) rotate(ctx context.Context, wait time.Duration) (KeyStatus, error) {
	err := s.keys.change(ctx, func(keys []SigningKey) ([]SigningKey, error) { return s.keys.rotate(s.now(), keys, wait) })
	if err != nil {
		return KeyStatus{}, err
	}
	all, err := s.SigningKeys(ctx)
	if err != nil {
		return KeyStatus{}, err
	}
	return all[len(all)-1], nil
}

// RevokeSigningKey takes a signing key away at once, on every process: what it
// signed proves nothing any more. If it was the one that signs, the next one
// does. Errors: ErrUnknownKey.
func (s *Service) RevokeSigningKey(ctx context.Context, id string) error {
	return s.keys.change(ctx, func(keys []SigningKey) ([]SigningKey, error) { return s.keys.revoke(s.now(), keys, id) })
}

// KeepSigningKeys does what is due: it makes the next key in time, and forgets
// those that are gone. Call it about once a minute; several processes may.
func (s *Service) KeepSigningKeys(ctx context.Context) error { return s.keys.keep(ctx) }
