package account

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// renewPatience is how long nobody else asks a provider about a person about whom
// somebody began to: some take what they are asked with once.
const renewPatience = 30 * time.Second

// askPatience is how long somebody waits for a provider before its old word counts.
// storePatience is how long there is to store its answer.
const (
	askPatience   = 3 * time.Second
	storePatience = 10 * time.Second
)

// An outsideID is who vouches for whom.
type outsideID struct{ issuer, subject string }

// Recheck is asked when something is used that came of a provider's word. It asks
// the provider again when that is old. Who it vouches for no more loses what it
// gave. A provider that cannot be asked is believed until MaxAge is over. Errors:
// access.ErrRevoked; access.ErrExpired; access.ErrBadCredential.
func (s *Service) Recheck(ctx context.Context, issuer, subject string) error {
	p, ok := s.providerOf(issuer)
	if !ok {
		return access.ErrBadCredential // not trusted any more
	}
	id := outsideID{issuer, subject}
	// Who withdraws a word also ends the sessions that came of it.
	if checked, ok := s.vouches.GetIfPresent(id); ok && s.age(checked) < p.Recheck {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	_, err := s.rechecks.do(patient, id, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.recheck(ctx, p, id)
	})
	if err != nil && patient.Err() != nil && ctx.Err() == nil {
		return s.believe(ctx, p, id)
	}
	return err
}

// believe takes the provider's last word, which is not too old, without asking.
func (s *Service) believe(ctx context.Context, p Provider, id outsideID) error {
	switch _, l, err := s.dir.Person(ctx, id.issuer, id.subject); {
	case err != nil:
		return notFoundIsBad("find identity", err)
	case s.age(l.Checked) >= p.MaxAge:
		return access.ErrExpired
	}
	return nil
}

// Vouched is Recheck for what proves an account otherwise, such as one of its keys:
// if the account has no password, one of those who vouch for it still must. Errors:
// as Recheck, and as Resolve.
func (s *Service) Vouched(ctx context.Context, uid, keyID string) error {
	r, err := s.resolve(ctx, uid, keyID)
	if err != nil {
		return err
	}
	for _, id := range r.vouchers {
		if err = s.Recheck(ctx, id.issuer, id.subject); err == nil {
			return nil
		}
	}
	return err
}

// vouchersOf returns those without whose word an account is nobody's.
func (s *Service) vouchersOf(ctx context.Context, a Account) ([]outsideID, error) {
	if a.Kind != access.User || a.PasswordHash != "" {
		return nil, nil
	}
	links, err := s.dir.Links(ctx, a.Name, a.Name)
	if err != nil {
		return nil, fmt.Errorf("find links: %w", err)
	}
	var out []outsideID
	for _, l := range links[a.UID] {
		out = append(out, outsideID{l.Issuer, l.Subject})
	}
	return out, nil
}

// age is how long ago that was. What is of the future was written by a clock that is
// ahead: a little counts as now, more as never.
func (s *Service) age(t time.Time) time.Duration {
	age := s.now().Sub(t)
	if age < -time.Minute {
		return math.MaxInt64
	}
	return max(age, 0)
}

func (s *Service) recheck(ctx context.Context, p Provider, id outsideID) error {
	_, l, err := s.dir.Person(ctx, id.issuer, id.subject)
	if err != nil {
		return notFoundIsBad("find identity", err)
	}
	if s.age(l.Checked) >= p.Recheck {
		if l, err = s.renew(ctx, p, l); err != nil {
			return err
		}
	}
	if s.age(l.Checked) >= p.MaxAge {
		return access.ErrExpired
	}
	s.vouches.Set(id, l.Checked)
	return nil
}

// renew asks the provider and returns the link as it is then: unchanged when it
// could not be asked. Errors: access.ErrRevoked.
func (s *Service) renew(ctx context.Context, p Provider, l Link) (Link, error) {
	if !p.renewable(l) {
		return l, nil
	}
	mine, err := s.dir.BeginCheck(ctx, l, s.now(), renewPatience)
	switch {
	case err != nil:
		return l, fmt.Errorf("begin to ask a provider: %w", err)
	case !mine:
		return l, nil
	}
	// What the provider answers must be kept, even if nobody waits for it; and it is
	// no part of what the request changes.
	ask, cancel := context.WithTimeout(context.Background(), renewPatience)
	defer cancel()
	renewal, err := s.opened(l)
	if err != nil {
		s.log.ErrorContext(ctx, "provider not asked", "provider", p.Name, "err", err)
		return l, nil
	}
	o, err := p.voucher().Renew(ask, access.Outside{Provider: p.Name, Issuer: l.Issuer, Subject: l.Subject, Renewal: renewal})
	store, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	switch {
	case errors.Is(err, access.ErrBadCredential), err == nil && (o.Issuer != l.Issuer || o.Subject != l.Subject):
		return l, s.withdraw(store, l)
	case err != nil:
		s.log.WarnContext(ctx, "provider not asked", "provider", p.Name, "err", err)
		return l, s.keepRenewal(store, l, o)
	}
	return s.renewed(store, l, o)
}

// withdraw takes away what the provider gave. It always errors: access.ErrRevoked.
func (s *Service) withdraw(ctx context.Context, l Link) error {
	s.vouches.Invalidate(outsideID{l.Issuer, l.Subject})
	if err := s.dir.Withdraw(ctx, l, s.now()); err != nil {
		return fmt.Errorf("withdraw what a provider gave: %w", err)
	}
	return access.ErrRevoked
}

// keepRenewal stores what a provider gave to be asked with, before it could not be
// asked for the rest: what it was asked with before may be spent.
func (s *Service) keepRenewal(ctx context.Context, l Link, o access.Outside) error {
	if o.Renewal.IsZero() {
		return nil
	}
	kept, err := s.vouched(o)
	if err != nil {
		return err
	}
	l.Renewal, l.KEK = kept.Renewal, kept.KEK
	return s.dir.KeepRenewal(ctx, l)
}

// opened returns what the provider gave to be asked with again, or zero.
func (s *Service) opened(l Link) (access.Secret, error) {
	if l.Renewal == nil {
		return access.Secret{}, nil
	}
	plain, err := s.sealer.Open(sealedName(l), l.KEK, l.Renewal)
	return access.NewSecret(string(plain)), err
}

// renewed stores what the provider says now.
func (s *Service) renewed(ctx context.Context, l Link, o access.Outside) (Link, error) {
	now, err := s.vouched(o)
	if err != nil {
		return l, err
	}
	now.AccountID = l.AccountID
	switch err := s.dir.Vouch(ctx, now, l.Checked); {
	case errors.Is(err, ErrUnknown): // signed in anew, or unlinked, meanwhile
		return l, nil
	case errors.Is(err, ErrGroups): // refused at a sign-in too
		return l, s.withdraw(ctx, l)
	case err != nil:
		return l, fmt.Errorf("store what a provider says: %w", err)
	}
	return now, nil
}
