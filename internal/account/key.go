package account

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
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
	id, err := s.Resolve(ctx, k.AccountID, access.Proof{Method: "key", KeyID: k.ID})
	if err != nil {
		return access.Identity{}, err
	}
	s.used.Touch(k.ID, s.now())
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
	Label     string           // for people; at most 200 bytes of printable text
	Life      time.Duration    // 0: DefaultKeyLife
	Narrowing access.Narrowing // the zero value narrows nothing
}

// CreateKey makes an access key for an account and returns its secret, which is
// not kept. Errors: ErrUnknown, *Invalid.
func (s *Service) CreateKey(ctx context.Context, who Name, n NewKey) (Key, access.Secret, error) {
	if n.Life == 0 {
		n.Life = DefaultKeyLife
	}
	switch {
	case n.Life < time.Minute:
		return Key{}, access.Secret{}, invalid("an access key lives at least a minute, not %s", n.Life)
	case n.Life > s.maxLife:
		return Key{}, access.Secret{}, invalid("an access key lives at most %d days; ask for less", int(s.maxLife.Hours()/24))
	case len(n.Label) > maxLabel || !printable(n.Label):
		return Key{}, access.Secret{}, invalid("the label of an access key is at most %d bytes of printable text", maxLabel)
	}
	narrowing, err := checkNarrowing(n.Narrowing)
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	a, err := s.find(ctx, who)
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	id, err := s.newID()
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	secret, err := access.KeySecret.New(s.rand)
	if err != nil {
		return Key{}, access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	now := s.now().UTC().Truncate(time.Second)
	k := Key{
		ID: id, AccountID: a.UID, Owner: a.Principal().String(), Label: n.Label, Sum: secret.Sum(),
		Narrowing: narrowing, Created: now, Expires: now.Add(n.Life),
	}
	if err := s.dir.AddKey(ctx, k); err != nil {
		return Key{}, access.Secret{}, fmt.Errorf("add access key: %w", err)
	}
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

// RevokeKey ends a key, and with it the sessions and tokens that came of it.
// Errors: ErrUnknown.
func (s *Service) RevokeKey(ctx context.Context, id string) error {
	if !isID(id) {
		return ErrUnknown
	}
	if err := s.dir.RevokeKey(ctx, id, s.now()); err != nil {
		return fmt.Errorf("revoke access key: %w", err)
	}
	return nil
}

func (s *Service) withLastUse(k Key) Key {
	if t := s.used.At(k.ID); t.After(k.LastUsed) {
		k.LastUsed = t
	}
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
