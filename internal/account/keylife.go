package account

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// What listings warn of.
const (
	WarnExpiry = 14 * 24 * time.Hour // a key that ends within
	WarnUnused = 90 * 24 * time.Hour // a key that was not used for as long
)

// keepKeys is how long a key is kept, and listed, after its end.
const keepKeys = 90 * 24 * time.Hour

// dropAtOnce bounds what one transaction deletes, in rows.
const dropAtOnce = 500

// RotateKey makes the successor of a live key: for the same owner, with the same
// name, narrowing and life, though no longer than keys may live now. The old key
// lives on for the overlap, at least a minute, and never longer than it would
// have. Errors: ErrUnknown, *RotatedError, *Invalid.
func (s *Service) RotateKey(ctx context.Context, id string, overlap time.Duration, by Creator) (Key, access.Secret, error) {
	if overlap < time.Minute {
		return Key{}, access.Secret{}, invalid("the overlap is at least a minute, not %s; to end the old key sooner, revoke it", overlap)
	}
	old, err := s.liveKey(ctx, id)
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	next, secret, err := s.makeKey(Key{
		AccountID: old.AccountID, Owner: old.Owner, Name: old.Name,
		Life: min(old.Life, s.maxLife), Family: old.Family,
		Creator: by.Principal, CreatorKey: by.KeyID,
	})
	if err != nil {
		return Key{}, access.Secret{}, err
	}
	next.Narrowing, err = s.dir.RotateKey(ctx, id, next, next.Created.Add(min(overlap, old.Life)))
	if err != nil {
		return Key{}, access.Secret{}, fmt.Errorf("rotate access key: %w", err)
	}
	return next, secret, nil
}

// liveKey errors: ErrUnknown, also for a key that has ended.
func (s *Service) liveKey(ctx context.Context, id string) (Key, error) {
	k, err := s.Key(ctx, id)
	if err == nil && !k.Alive(s.now()) {
		err = fmt.Errorf("access key %s has ended: %w", id, ErrUnknown)
	}
	return k, err
}

// NarrowKey takes from a live key what to does not leave, at once, for the tokens
// that came of it too. What to does not mention stays as it is. Errors:
// ErrUnknown; *Invalid when to would widen the key.
func (s *Service) NarrowKey(ctx context.Context, id string, to access.Narrowing) (Key, error) {
	k, err := s.liveKey(ctx, id)
	if err != nil {
		return Key{}, err
	}
	narrowing, err := k.Narrowing.Narrow(to)
	if err != nil {
		return Key{}, invalidBecause(err)
	}
	if err := s.dir.NarrowKey(ctx, id, k.Narrowing, narrowing); err != nil {
		return Key{}, fmt.Errorf("narrow access key: %w", err)
	}
	k.Narrowing = narrowing
	return k, nil
}

// RevokeKey ends a key, and with it the sessions and tokens that came of it. It
// also ends the successors that the key made of itself: whoever had it could
// have made them. Errors: ErrUnknown.
func (s *Service) RevokeKey(ctx context.Context, id string) error {
	if !isID(id) {
		return ErrUnknown
	}
	if err := s.dir.RevokeKey(ctx, id, s.now()); err != nil {
		return fmt.Errorf("revoke access key: %w", err)
	}
	return nil
}

// EndingKeys returns at most limit live keys without a successor, those that end
// first.
func (s *Service) EndingKeys(ctx context.Context, limit int) ([]Key, error) {
	keys, err := s.dir.EndingKeys(ctx, s.now(), limit)
	if err != nil {
		return nil, fmt.Errorf("list access keys: %w", err)
	}
	return keys, nil
}

// Warnings says what somebody should do about a key before it fails or is
// forgotten: it ends soon and has no successor, or nobody uses it.
func (s *Service) Warnings(k Key) []string {
	now := s.now()
	if !k.Alive(now) {
		return nil
	}
	var out []string
	if k.Expires.Sub(now) < WarnExpiry && k.Successor == "" {
		out = append(out, "expires within 14 days")
	}
	last := k.LastUsed.Time
	if last.IsZero() {
		last = k.Created
	}
	if now.Sub(last) > WarnUnused {
		out = append(out, "not used for 90 days")
	}
	return out
}

// Tidy deletes the keys that ended 90 days ago or longer, and returns how many.
func (s *Service) Tidy(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := s.dir.DropKeys(ctx, s.now().Add(-keepKeys), dropAtOnce)
		total += n
		if err != nil || n < dropAtOnce {
			return total, err
		}
	}
}
