package account

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
)

// accessKeys is the authenticator for access.AccessKey.
type accessKeys struct{ *Service }

func (s accessKeys) Authenticate(ctx context.Context, c access.Credential) (access.Identity, error) {
	presented, ok := c.(access.AccessKey)
	if !ok || !access.KeySecret.Valid(presented.Secret.Reveal()) {
		return access.Identity{}, access.ErrBadCredential // without a look-up
	}
	k, err := s.keyBySum(ctx, presented.Secret.Sum())
	if err != nil {
		return access.Identity{}, err
	}
	// Resolve judges the key: revoked, expired, its owner gone.
	proof := access.Proof{Method: "key", KeyID: k.ID}
	id, err := s.Resolve(ctx, k.AccountID, proof)
	if err == nil {
		err = s.Vouched(ctx, k.AccountID, k.ID)
	}
	if err == nil && !id.Narrowing.AllowsFrom(presented.From.Address) {
		err = access.ErrWrongNetwork
	}
	if errors.Is(err, access.ErrBadCredential) {
		err = &access.Refused{Why: err, Owner: k.Owner, UID: k.AccountID, Proof: proof}
	}
	if err != nil {
		return access.Identity{}, err
	}
	s.used.Touch(k.ID, lastuse.From(s.now(), presented.From.Address, presented.From.UserAgent))
	return id, nil
}

func (s *Service) keyBySum(ctx context.Context, sum [32]byte) (Key, error) {
	generation, err := s.changes.Generation(ctx)
	if err != nil {
		return Key{}, fmt.Errorf("read generation: %w", err)
	}
	known, ok := s.keys.GetIfPresent(sum)
	if !ok || known.generation != generation {
		k, err := s.dir.KeyBySum(ctx, sum)
		if err != nil {
			return Key{}, notFoundIsBad("find access key", err)
		}
		known = under[Key]{generation, k}
		s.keys.Set(sum, known)
	}
	if subtle.ConstantTimeCompare(known.value.Sum[:], sum[:]) != 1 {
		return Key{}, access.ErrBadCredential
	}
	return known.value, nil
}

// A NewKey says what an access key is to be.
type NewKey struct {
	// Name tells the owner's live keys apart; at most 200 bytes of printable text,
	// "" for none.
	Name      string
	Life      time.Duration    // 0: DefaultKeyLife
	Narrowing access.Narrowing // the zero value narrows nothing
	Creator   Creator
}

// A Creator is who makes a key, and the access key it came with, or "".
type Creator struct{ Principal, KeyID string }

// CreateKey makes an access key for an account and returns its secret, which is
// not kept. Errors: ErrUnknown, ErrKeyName, *Invalid.
func (s *Service) CreateKey(ctx context.Context, who Name, n NewKey) (Key, access.Secret, error) {
	if n.Life == 0 {
		n.Life = DefaultKeyLife
	}
	switch {
	case n.Life < time.Minute:
		return Key{}, access.Secret{}, invalid("an access key lives at least a minute, not %s", n.Life)
	case n.Life > s.maxLife:
		return Key{}, access.Secret{}, invalid("an access key lives at most %d days; ask for less", int(s.maxLife.Hours()/24))
	case len(n.Name) > maxKeyName || !printable(n.Name):
		return Key{}, access.Secret{}, invalid("the name of an access key is at most %d bytes of printable text", maxKeyName)
	}
	narrowing, err := checkNarrowing(n.Narrowing)
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	a, err := s.find(ctx, who)
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	k, secret, err := s.makeKey(Key{
		AccountID: a.UID, Owner: a.Principal().String(), Name: n.Name, Narrowing: narrowing, Life: n.Life,
		Creator: n.Creator.Principal, CreatorKey: n.Creator.KeyID,
	})
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	k.Family = k.ID
	if err := s.dir.AddKey(ctx, k); err != nil {
		return Key{}, access.Secret{}, fmt.Errorf("add access key: %w", err)
	}
	return k, secret, nil
}

// makeKey gives k an id, a secret and its times.
func (s *Service) makeKey(k Key) (Key, access.Secret, error) {
	var err error
	if k.ID, err = s.newID(); err != nil {
		return Key{}, access.Secret{}, err
	}
	secret, err := access.KeySecret.New(s.rand)
	if err != nil {
		return Key{}, access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	k.Sum = secret.Sum()
	k.Created = s.now().UTC().Truncate(time.Second)
	k.Expires = k.Created.Add(k.Life)
	return k, secret, nil
}

// checkNarrowing returns n ready for use. Errors: *Invalid.
func checkNarrowing(n access.Narrowing) (access.Narrowing, error) {
	ready, err := n.Checked()
	if err != nil {
		return access.Narrowing{}, invalidBecause(err)
	}
	return ready, nil
}

// Key returns one key. Errors: ErrUnknown.
func (s *Service) Key(ctx context.Context, id string) (Key, error) {
	if !isID(id) {
		return Key{}, ErrUnknown
	}
	k, err := s.dir.KeyByID(ctx, id)
	if err != nil {
		return Key{}, fmt.Errorf("find access key: %w", err)
	}
	return s.withLastUse(k), nil
}

// ListKeys returns the keys of one account, or everybody's for uid "", newest
// first, revoked and expired ones too.
func (s *Service) ListKeys(ctx context.Context, uid string) ([]Key, error) {
	keys, err := s.dir.ListKeys(ctx, uid)
	if err != nil {
		return nil, fmt.Errorf("list access keys: %w", err)
	}
	for i, k := range keys {
		keys[i] = s.withLastUse(k)
	}
	return keys, nil
}

// KeyOfSecret returns the key that has a secret of that SHA-256. Errors:
// ErrUnknown.
func (s *Service) KeyOfSecret(ctx context.Context, sum [32]byte) (Key, error) {
	k, err := s.dir.KeyBySum(ctx, sum)
	if err != nil {
		return Key{}, fmt.Errorf("find access key: %w", err)
	}
	return s.withLastUse(k), nil
}

func (s *Service) withLastUse(k Key) Key {
	k.LastUsed = s.used.Latest(k.ID, k.LastUsed)
	return k
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

func printable(s string) bool {
	for _, c := range s {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			return false
		}
	}
	return true
}
