package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// ResetLife is how long a one-time code lives.
const ResetLife = 24 * time.Hour

// ErrBadCode is the whole answer to a one-time code that is unknown, used,
// replaced or expired, or whose account is disabled or gone.
var ErrBadCode = fmt.Errorf("%w: a one-time code", access.ErrBadCredential)

// Invite adds a person who has no password yet. Errors: ErrExists, ErrRetired,
// *Invalid.
func (s *Service) Invite(ctx context.Context, name string) (Account, error) {
	if err := s.free(ctx, Name{access.User, name}); err != nil {
		return Account{}, err
	}
	return s.add(ctx, Name{access.User, name}, "")
}

// Invited returns a person who has no password yet. Errors: ErrExists when the
// name is another's.
func (s *Service) Invited(ctx context.Context, name string) (Account, error) {
	a, err := s.find(ctx, Name{access.User, name})
	switch {
	case errors.Is(err, ErrUnknown), err == nil && a.PasswordHash != "":
		return Account{}, fmt.Errorf("%.80q: %w", name, ErrExists)
	}
	return a, err
}

// ResetPassword makes a one-time code with which a person sets a new password. It
// takes the place of the person's last one; the password goes on until it is
// redeemed. Errors: ErrUnknown, *Invalid when the account is disabled, or
// signs in with a provider.
func (s *Service) ResetPassword(ctx context.Context, name string) (Reset, access.Secret, error) {
	a, err := s.find(ctx, Name{access.User, name})
	if err != nil {
		return Reset{}, access.Secret{}, err
	}
	if a.Disabled {
		return Reset{}, access.Secret{}, invalid("user:%s is disabled: enable the account first", name)
	}
	if err := s.hasPassword(ctx, a); err != nil {
		return Reset{}, access.Secret{}, err
	}
	code, err := access.ResetSecret.New(s.rand)
	if err != nil {
		return Reset{}, access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	r := Reset{Sum: code.Sum(), AccountID: a.UID, Name: a.Name, Expires: s.now().UTC().Truncate(time.Second).Add(ResetLife)}
	if err := s.dir.SaveReset(ctx, r); err != nil {
		return Reset{}, access.Secret{}, fmt.Errorf("save one-time code: %w", err)
	}
	return r, code, nil
}

// Redeem sets the password of the person whose one-time code it is, and ends what
// SetPassword does; the code is then used. It returns the person's name. A code
// that proves nothing counts against the network it comes from, as a wrong password
// does; whatever is wrong with it, it costs one query and no hash. Errors:
// ErrBadCode, *access.Throttled, *Invalid, access.ErrBusy.
func (s *Service) Redeem(ctx context.Context, code access.ResetCode, next access.Secret) (string, error) {
	network := access.Network(code.From.Address)
	if err := s.throttle.beginNameless(network); err != nil {
		return "", s.hashing.refuse(ctx, err)
	}
	name, err := s.redeem(ctx, code.Secret, next)
	if errors.Is(err, ErrUnknown) {
		return "", s.hashing.refuse(ctx, ErrBadCode)
	}
	s.throttle.endNameless(network)
	return name, err
}

// redeem errors: ErrUnknown for a code that proves nothing.
func (s *Service) redeem(ctx context.Context, code, next access.Secret) (string, error) {
	r, err := s.dir.ResetBySum(ctx, code.Sum())
	if err != nil {
		return "", fmt.Errorf("find one-time code: %w", err)
	}
	if !s.now().Before(r.Expires) {
		return "", ErrUnknown
	}
	hash, err := s.hashNew(ctx, r.Name, next)
	if err != nil {
		return "", err
	}
	if err := s.dir.Redeem(ctx, r, hash, s.now()); err != nil {
		return "", fmt.Errorf("redeem one-time code: %w", err)
	}
	return r.Name, nil
}
