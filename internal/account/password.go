package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport/sallyport/internal/access"
)

// RememberFor is how long a password that was right is not hashed again.
const RememberFor = 5 * time.Minute

// passwords is the authenticator for access.Password. An unknown name, a wrong
// password, a disabled account, an account without a password and a password
// out of bounds all fail alike: one query, one hash, then the floor. After too
// many of them it is neither, for a while (see throttle).
type passwords struct{ *Service }

func (s passwords) Authenticate(ctx context.Context, c access.Credential) (access.Identity, error) {
	p, ok := c.(access.Password)
	if !ok {
		return access.Identity{}, access.ErrBadCredential
	}
	if of, name, ok := s.proverOf(p.Name); ok {
		return s.elsewhere(ctx, of, name, p)
	}
	a, err := s.fromMemory(ctx, p)
	if err == nil && a.UID == "" {
		a, err = s.flights.do(ctx, s.presented(p), func(ctx context.Context) (Account, error) {
			return s.fromAfar(ctx, p, func(l lane) (Account, error) { return s.check(ctx, l, p) })
		})
	}
	if err != nil {
		return access.Identity{}, err
	}
	return access.Identity{Principal: a.Principal(), Proof: access.Proof{Method: "password", PasswordSet: a.PasswordSet}}, nil
}

// fromMemory returns the account of a password that was right moments ago and
// still is, or the zero one. It does not count against anybody, nor wait.
func (s *Service) fromMemory(ctx context.Context, p access.Password) (Account, error) {
	hash := s.remembered.hash(p.Name, p.Secret.Reveal())
	if hash == "" {
		return Account{}, nil
	}
	a, err := s.candidate(ctx, p.Name)
	if err != nil || a.Disabled || a.PasswordHash != hash {
		return Account{}, err
	}
	at := s.pairOf(p)
	noted, err := s.noted(ctx, at)
	if err != nil {
		return Account{}, err
	}
	s.note(ctx, a, at, noted)
	return a, nil
}

func (s *Service) pairOf(p access.Password) pair {
	return pair{access.Network(p.From.Address), s.throttle.fold(p.Name)}
}

// A presentation is what makes two checks the same one.
type presentation struct {
	network netip.Prefix
	sum     [32]byte
}

func (s *Service) presented(p access.Password) presentation {
	return presentation{access.Network(p.From.Address), s.remembered.sum(p.Name, p.Secret.Reveal())}
}

// fromAfar lets a password that comes without any other proof be checked.
func (s *Service) fromAfar(ctx context.Context, p access.Password, check func(lane) (Account, error)) (Account, error) {
	at := s.pairOf(p)
	noted, err := s.noted(ctx, at)
	if err != nil {
		return Account{}, err
	}
	by := stranger
	switch {
	case !noted.IsZero():
		by = known
	case p.From.Local:
		by = local
	}
	a, err := s.throttled(ctx, at, by, check)
	if err == nil {
		s.note(ctx, a, at, noted)
	}
	return a, err
}

// throttled lets a password be checked and counts it. Errors: *access.Throttled;
// those of check, of which all but access.ErrBadCredential decide nothing.
func (s *Service) throttled(ctx context.Context, at pair, by standing, check func(lane) (Account, error)) (Account, error) {
	try, err := s.throttle.begin(at, by)
	if err != nil {
		return Account{}, s.hashing.refuse(ctx, err)
	}
	l := behind
	if by != stranger {
		l = ahead
	}
	a, err := check(l)
	switch {
	case err == nil:
		s.throttle.right(try)
	case errors.Is(err, access.ErrBadCredential):
		err = s.throttle.wrong(try)
	case ctx.Err() == nil: // we were busy, or out of order
		s.throttle.undecided(try)
	}
	return a, err
}

// proveAgain checks the current password of the person whose token the caller
// has, and counts it. Errors: as throttled.
func (s *Service) proveAgain(ctx context.Context, p access.Password) (Account, error) {
	if err := s.throttle.beginOwn(p.Name); err != nil {
		return Account{}, s.hashing.refuse(ctx, err)
	}
	a, err := s.check(ctx, ahead, p)
	if !errors.Is(err, access.ErrBadCredential) && ctx.Err() == nil {
		s.throttle.endOwn(p.Name, err == nil)
	}
	return a, err
}

// A guess is a password that is to be checked.
type guess struct {
	password string
	lane     lane
	void     bool          // it is wrong, whatever the hash says
	decoy    kind          // what is hashed for an account without a hash
	spent    time.Duration // what looking for the account took
}

// check computes one hash, which costs the same whatever the password, and for
// all that can be known from outside whether there is an account or not. Errors:
// access.ErrBadCredential, access.ErrBusy.
func (s *Service) check(ctx context.Context, l lane, p access.Password) (Account, error) {
	decoy, err := s.decoyFor(ctx, p.Name)
	if err != nil {
		return Account{}, err
	}
	begun := time.Now()
	a, err := s.candidate(ctx, p.Name)
	if err != nil {
		return Account{}, err
	}
	g := guess{password: p.Secret.Reveal(), lane: l, void: a.Disabled, decoy: decoy, spent: time.Since(begun)}
	if len(g.password) == 0 || len(g.password) > MaxPassword {
		g.password, g.void = "", true
	}
	if a, err = s.prove(ctx, a, g); err == nil {
		s.remembered.add(p.Name, g.password, a.PasswordHash)
	}
	return a, err
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
func (s *Service) prove(ctx context.Context, a Account, g guess) (Account, error) {
	for range 3 {
		upgraded, err := s.compare(ctx, a, g)
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
			return now, nil
		}
		a = now
	}
	return Account{}, access.ErrBusy
}

// compare hashes the password once; when it is right and the stored hash is weaker
// than one of today's, it replaces that and returns the new one.
func (s *Service) compare(ctx context.Context, a Account, g guess) (upgraded string, err error) {
	ok, err := s.hashing.prove(ctx, g.lane, g.spent, func() bool {
		ok, weak := s.hashing.checkHash(a.PasswordHash, g.password, g.decoy)
		ok = ok && !g.void
		if ok && weak {
			upgraded = s.rehash(ctx, a, g.password)
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

// hashNew checks a new password against the rules and hashes it, for somebody
// who has proven to be allowed to set it. Errors: *Invalid, access.ErrBusy.
func (s *Service) hashNew(ctx context.Context, name string, password access.Secret) (string, error) {
	if err := s.CheckPassword(name, password); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(s.rand, salt); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	var hash string
	err := s.hashing.run(ctx, ahead, func() { hash = s.hashing.makeHash(password.Reveal(), salt) })
	return hash, err
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

// remembered knows which passwords were right moments ago, and by which hash, by
// HMAC(key of this process, name ‖ password).
type remembered struct {
	key    [32]byte
	now    func() time.Time
	hashes *otter.Cache[[32]byte, rememberedHash]
}

type rememberedHash struct {
	hash  string
	until time.Time
}

func newRemembered(now func() time.Time) *remembered {
	r := &remembered{now: now, hashes: otter.Must(&otter.Options[[32]byte, rememberedHash]{MaximumSize: cacheSize})}
	rand.Read(r.key[:]) // never fails
	return r
}

func (r *remembered) sum(name, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, r.key[:])
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(name)))
	m.Write(size[:])
	io.WriteString(m, name)
	io.WriteString(m, password)
	m.Sum(sum[:0])
	return sum
}

// hash returns the hash that the password was right for, or "".
func (r *remembered) hash(name, password string) string {
	known, ok := r.hashes.GetIfPresent(r.sum(name, password))
	if !ok || !r.now().Before(known.until) {
		return ""
	}
	return known.hash
}

func (r *remembered) add(name, password, hash string) {
	r.hashes.Set(r.sum(name, password), rememberedHash{hash, r.now().Add(RememberFor)})
}
