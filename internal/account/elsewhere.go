package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// A Prover is a directory: it checks the passwords of its people, and needs no more
// than a subject to be asked again.
type Prover interface {
	Voucher
	// Prove returns whom a name, as people type it behind that of the provider, and a
	// password are of. Errors: access.ErrBadCredential; access.ErrBusy; any other
	// means that it could not be asked.
	Prove(ctx context.Context, name string, password access.Secret) (access.Outside, error)
}

// proverOf returns who checks the password of a name, and what the name is there.
// Nobody else is asked then, whatever the answer (I-13).
func (s *Service) proverOf(typed string) (Provider, string, bool) {
	of, name, found := strings.Cut(typed, "/")
	for _, p := range s.providers {
		if found && p.Prover != nil && p.Name == of {
			return p, name, true
		}
	}
	return Provider{}, "", false
}

// provenElsewhere is whose a password was moments ago.
type provenElsewhere struct {
	uid   string
	proof access.Proof
	until time.Time
}

// elsewhere is Authenticate for who is in a directory. It is throttled as everybody
// is, and all that proves nothing fails alike and no sooner than the floor.
func (s *Service) elsewhere(ctx context.Context, of Provider, name string, p access.Password) (access.Identity, error) {
	id, err := s.recalled(ctx, p)
	if err != nil || id.Principal.UID != "" {
		return id, err
	}
	return s.proofs.do(ctx, s.presented(p), func(ctx context.Context) (access.Identity, error) {
		var id access.Identity
		_, err := s.fromAfar(ctx, p, func(lane) (a Account, err error) {
			id, err = s.proveElsewhere(ctx, of, name, p)
			return Account{UID: id.Principal.UID, Name: id.Principal.Name, Kind: id.Principal.Kind}, err
		})
		return id, err
	})
}

// recalled returns whose a password is that was right moments ago, when nothing has
// changed since that could matter, or the zero one. It does not count against
// anybody, nor wait.
func (s *Service) recalled(ctx context.Context, p access.Password) (access.Identity, error) {
	known, ok := s.proven.GetIfPresent(s.remembered.sum(p.Name, p.Secret.Reveal()))
	if !ok || !s.now().Before(known.value.until) {
		return access.Identity{}, nil
	}
	generation, err := s.changes.Generation(ctx)
	if err != nil {
		return access.Identity{}, fmt.Errorf("read generation: %w", err)
	}
	if generation != known.generation {
		return access.Identity{}, nil
	}
	id, err := s.Resolve(ctx, known.value.uid, known.value.proof)
	if errors.Is(err, access.ErrBadCredential) {
		return access.Identity{}, nil
	}
	return id, err
}

// proveElsewhere asks the directory, and makes of its answer an account. Errors:
// access.ErrBadCredential; access.ErrBusy; access.ErrUnavailable;
// *access.NotAdmitted, which who guesses never gets to see.
func (s *Service) proveElsewhere(ctx context.Context, of Provider, name string, p access.Password) (access.Identity, error) {
	if s.hashing.inside.Add(1) > maxInside {
		s.hashing.inside.Add(-1)
		return access.Identity{}, access.ErrBusy
	}
	defer s.hashing.inside.Add(-1)
	begun := time.Now()
	id, err := s.vouchedFor(ctx, of, name, p)
	if errors.Is(err, access.ErrBadCredential) {
		// A slow directory takes longer over a password than to find nobody: what fails
		// is told at whole floors alone, so that this does not show either.
		if gone := pause(ctx, s.hashing.floor-time.Since(begun)%s.hashing.floor); gone != nil {
			err = gone
		}
	}
	return id, err
}

// vouchedFor is proveElsewhere without waiting.
func (s *Service) vouchedFor(ctx context.Context, of Provider, name string, p access.Password) (access.Identity, error) {
	if n := len(p.Secret.Reveal()); n == 0 || n > MaxPassword {
		return access.Identity{}, access.ErrBadCredential // without a look
	}
	generation, err := s.changes.Generation(ctx)
	if err != nil {
		return access.Identity{}, fmt.Errorf("read generation: %w", err)
	}
	o, err := of.Prover.Prove(ctx, name, p.Secret)
	switch {
	case errors.Is(err, access.ErrBadCredential), errors.Is(err, access.ErrBusy), ctx.Err() != nil && err != nil:
		return access.Identity{}, err
	case err != nil:
		s.log.ErrorContext(ctx, "directory not asked", "provider", of.Name, "err", err)
		return access.Identity{}, access.ErrUnavailable
	}
	id, err := s.SignIn(ctx, o)
	if bad, ok := errors.AsType[*Invalid](err); ok {
		return access.Identity{}, &access.NotAdmitted{Text: bad.Error()}
	}
	if errors.Is(err, ErrNoAccount) {
		return access.Identity{}, &access.NotAdmitted{Text: fmt.Sprintf(
			"you have no account here; an administrator links you to one: sallyport user link NAME --issuer %s --subject %s", o.Issuer, o.Subject)}
	}
	if err != nil {
		return access.Identity{}, err
	}
	s.proven.Set(s.remembered.sum(p.Name, p.Secret.Reveal()), under[provenElsewhere]{
		generation, provenElsewhere{id.Principal.UID, id.Proof, s.now().Add(min(RememberFor, of.Recheck))},
	})
	return id, nil
}
