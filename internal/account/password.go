package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport/sallyport/internal/access"
)

// Limits on passwords, in bytes. A password is compared byte for byte: it is
// not normalised, trimmed or folded.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// rememberFor is how long a password that was right is not hashed again.
const rememberFor = 5 * time.Minute

// passwords is the authenticator for access.Password. An unknown name, a wrong
// password, a disabled account, an account without a password and a password
// out of bounds all fail alike: one query, one hash, then the floor.
type passwords struct{ *Service }

func (s passwords) Authenticate(ctx context.Context, c access.Credential) (access.Identity, error) {
	p, ok := c.(access.Password)
	if !ok {
		return access.Identity{}, access.ErrBadCredential
	}
	a, err := s.candidate(ctx, p.Name)
	if err != nil {
		return access.Identity{}, err
	}
	password := p.Secret.Reveal()
	if len(password) == 0 || len(password) > MaxPassword || a.Disabled {
		a.PasswordHash = "" // nobody's: a decoy is hashed
	}
	if a.PasswordHash == "" || !s.remembered.has(a.PasswordHash, password) {
		if a, err = s.prove(ctx, a, password); err != nil {
			return access.Identity{}, err
		}
	}
	return access.Identity{Principal: a.Principal(), Proof: access.Proof{Method: "password", PasswordSet: a.PasswordSet}}, nil
}

// candidate returns the account of that name, or the zero one. It asks the
// directory once, whatever the name.
func (s *Service) candidate(ctx context.Context, name string) (Account, error) {
	if access.ValidName(name) != nil {
		name = "" // nobody's
	}
	a, err := s.dir.AccountByName(ctx, name)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return Account{}, fmt.Errorf("find account: %w", err)
	}
	return a, nil
}

// prove returns the account as it is when the password was found to be right.
func (s *Service) prove(ctx context.Context, a Account, password string) (Account, error) {
	for range 3 {
		upgraded, err := s.compare(ctx, a, password)
		if err != nil {
			return Account{}, err
		}
		// The account may have changed while we waited and hashed: a password
		// that was right is judged again by the hash that replaced its own.
		now, err := s.dir.AccountByUID(ctx, a.UID)
		if err != nil {
			return Account{}, notFoundIsBad("find account", err)
		}
		if now.Disabled || now.PasswordHash == "" {
			return Account{}, access.ErrBadCredential
		}
		if now.PasswordHash == a.PasswordHash || now.PasswordHash == upgraded {
			s.remembered.add(now.PasswordHash, password)
			return now, nil
		}
		a = now
	}
	return Account{}, access.ErrBusy
}

// compare hashes password once; when it is right and the stored hash is weaker
// than one of today's, it replaces that and returns the new one.
func (s *Service) compare(ctx context.Context, a Account, password string) (upgraded string, err error) {
	ok, err := s.hashing.prove(ctx, func() bool {
		if a.PasswordHash == "" {
			s.hashing.decoy()
			return false
		}
		ok, weak := s.hashing.checkHash(a.PasswordHash, password)
		if ok && weak {
			upgraded = s.rehash(ctx, a, password)
		}
		return ok
	})
	if err == nil && !ok {
		err = access.ErrBadCredential
	}
	return upgraded, err
}

// rehash stores password hashed as we do today, unless the hash was changed
// meanwhile. A login does not fail for it. It returns the new hash, or "".
func (s *Service) rehash(ctx context.Context, a Account, password string) string {
	salt := make([]byte, saltSize)
	_, err := io.ReadFull(s.rand, salt)
	if err == nil {
		hash := s.hashing.makeHash(password, salt)
		if err = s.dir.Rehash(ctx, a.UID, a.PasswordHash, hash); err == nil {
			return hash
		}
	}
	s.log.ErrorContext(ctx, "password not rehashed", "principal", a.Principal().String(), "err", err)
	return ""
}

// hashNew checks a new password against the rules and hashes it.
// Errors: *Invalid, access.ErrBusy.
func (s *Service) hashNew(ctx context.Context, password access.Secret) (string, error) {
	if err := checkNew(password.Reveal()); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(s.rand, salt); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	var hash string
	err := s.hashing.run(ctx, func() { hash = s.hashing.makeHash(password.Reveal(), salt) })
	return hash, err
}

func checkNew(password string) error {
	switch {
	case len(password) < MinPassword:
		return invalid("the password is %d bytes long; use at least %d", len(password), MinPassword)
	case len(password) > MaxPassword:
		return invalid("the password is %d bytes long; use at most %d", len(password), MaxPassword)
	case strings.ContainsAny(password, "\x00\r\n"):
		return invalid("the password holds a line break or a NUL, which no client can send")
	case access.KeySecret.Claims(password), access.RefreshSecret.Claims(password),
		strings.HasPrefix(password, "eyJ") && strings.Count(password, ".") == 2:
		return invalid("the password looks like an access key or a token, and would be taken for one at login; choose another")
	}
	return nil
}

// passwordLetters are 32 characters that are hard to mistake for each other.
const passwordLetters = "abcdefghijkmnpqrstuvwxyz23456789"

// RandomPassword makes a password of 130 random bits that can be typed:
// "k3v9x-…", five groups. rand is crypto/rand.Reader in production.
func RandomPassword(rand io.Reader) (access.Secret, error) {
	raw := make([]byte, 26)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%5 == 0 && i < 25 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordLetters[r%32])
	}
	return access.NewSecret(b.String()), nil
}

// remembered knows which passwords were right moments ago, by
// HMAC(key of this process, hash ‖ password): with another hash, it is another
// entry.
type remembered struct {
	key   [32]byte
	now   func() time.Time
	until *otter.Cache[[32]byte, time.Time]
}

func newRemembered(now func() time.Time) *remembered {
	r := &remembered{now: now, until: otter.Must(&otter.Options[[32]byte, time.Time]{MaximumSize: cacheSize})}
	rand.Read(r.key[:]) // never fails
	return r
}

func (r *remembered) sum(hash, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, r.key[:])
	io.WriteString(m, hash)
	m.Write([]byte{0}) // no hash holds a NUL
	io.WriteString(m, password)
	m.Sum(sum[:0])
	return sum
}

func (r *remembered) has(hash, password string) bool {
	until, ok := r.until.GetIfPresent(r.sum(hash, password))
	return ok && r.now().Before(until)
}

func (r *remembered) add(hash, password string) {
	r.until.Set(r.sum(hash, password), r.now().Add(rememberFor))
}
