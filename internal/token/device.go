package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// userLetters are what RFC 8628, 6.1 proposes: no vowels, so no words, and none
// that is taken for another.
const userLetters = "BCDFGHJKLMNPQRSTVWXZ"

// userLength gives 43 bits. With maxGrants waiting and the limit on guesses of the
// page that asks for it, a guess in ten minutes hits with 2^-23.
const userLength = 10

// A Device is what a program needs that waits for an approval.
type Device struct {
	Code     access.Secret // the program shows it
	UserCode string        // "BCDFG-HJKLM"; the person types it
}

// BeginDevice begins to wait for an approval. Errors: ErrManyGrants.
func (s *Service) BeginDevice(ctx context.Context, from access.Origin) (Device, error) {
	code, err := access.DeviceSecret.New(s.options.Rand)
	if err != nil {
		return Device{}, fmt.Errorf("read randomness: %w", err)
	}
	typed, err := s.newUserCode()
	if err != nil {
		return Device{}, err
	}
	now := s.now().UTC().Truncate(time.Second)
	g := Grant{
		Sum: code.Sum(), UserSum: userSum(typed), Agent: from.UserAgent,
		Network: access.Network(from.Address).String(), Created: now, Expires: now.Add(DeviceLife),
	}
	if from.Address.IsValid() {
		g.Address = from.Address.String()
	}
	if err := s.deps.Store.SaveGrant(ctx, g, maxGrants, maxGrantsOfNetwork); err != nil {
		return Device{}, fmt.Errorf("save device code: %w", err)
	}
	return Device{code, typed[:userLength/2] + "-" + typed[userLength/2:]}, nil
}

func (s *Service) newUserCode() (string, error) {
	var b [1]byte
	typed := make([]byte, 0, userLength)
	for len(typed) < userLength {
		if _, err := io.ReadFull(s.options.Rand, b[:]); err != nil {
			return "", fmt.Errorf("read randomness: %w", err)
		}
		if b[0] < 240 { // 12 × 20: every letter equally likely
			typed = append(typed, userLetters[b[0]%20])
		}
	}
	return string(typed), nil
}

// plainUserCode undoes what people do to a code that they type, or returns "".
func plainUserCode(typed string) string {
	if len(typed) > 4*userLength {
		return ""
	}
	plain := strings.ToUpper(strings.NewReplacer("-", "", " ", "", "\t", "").Replace(typed))
	if len(plain) != userLength || strings.Trim(plain, userLetters) != "" {
		return ""
	}
	return plain
}

func userSum(plain string) [32]byte { return sha256.Sum256([]byte("user code " + plain)) }

// WaitingDevice returns the grant that waits for the approval of what somebody
// typed. Errors: ErrUnknownGrant.
func (s *Service) WaitingDevice(ctx context.Context, typed string) (Grant, error) {
	plain := plainUserCode(typed)
	if plain == "" {
		return Grant{}, ErrUnknownGrant
	}
	g, err := s.deps.Store.GrantByUserSum(ctx, userSum(plain))
	if err != nil {
		return Grant{}, fmt.Errorf("find device code: %w", err)
	}
	return g, s.stillWaits(g)
}

func (s *Service) stillWaits(g Grant) error {
	if !s.now().Before(g.Expires) || g.Denied || g.AccountID != "" {
		return ErrUnknownGrant
	}
	return nil
}

// DeviceBySum returns the grant with a device code of that sum, which waits for an
// approval. Errors: ErrUnknownGrant.
func (s *Service) DeviceBySum(ctx context.Context, sum [32]byte) (Grant, error) {
	g, err := s.deps.Store.GrantBySum(ctx, sum)
	if err != nil {
		return Grant{}, fmt.Errorf("find device code: %w", err)
	}
	return g, s.stillWaits(g)
}

// ApproveDevice lets the program that waits log in as id. Errors: ErrUnknownGrant
// when it waits no more.
func (s *Service) ApproveDevice(ctx context.Context, sum [32]byte, id access.Identity) error {
	g := Grant{Sum: sum}
	g.approve(id)
	return s.decide(ctx, g)
}

// DenyDevice tells the program that waits that it gets nothing. Errors: as
// ApproveDevice.
func (s *Service) DenyDevice(ctx context.Context, sum [32]byte) error {
	return s.decide(ctx, Grant{Sum: sum, Denied: true})
}

func (s *Service) decide(ctx context.Context, g Grant) error {
	if err := s.deps.Store.DecideGrant(ctx, g, s.now()); err != nil {
		return fmt.Errorf("decide about device code: %w", err)
	}
	return nil
}
