package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// switchDelay is how long after a key was made it signs when it is not to wait:
// by then every process has learned of it.
const switchDelay = 5 * time.Second

// A schedule says when signing keys come and go:
//
//	published  from Created: in the key set, so that others can learn it
//	active     from Activates: signs
//	retiring   from Retires, when the next one signs: verifies what it signed
//	gone       overlap later: nothing it signed can still be used
//
// Each process reads the states off the times of the rows, so that all change
// over at the same moment without a word.
type schedule struct {
	rotation time.Duration // between two keys; 0: only by hand
	ahead    time.Duration // a key is published so long before it signs
	overlap  time.Duration // the life of what a key signed
	sealer   *Sealer
}

// due reports whether plan would change anything.
func (s schedule) due(now time.Time, keys []SigningKey) bool {
	return len(keys) == 0 || s.nextDue(now, keys) || slices.ContainsFunc(keys, func(k SigningKey) bool {
		return s.gone(now, k) || k.KEK != s.sealer.ID()
	})
}

// nextDue reports whether it is time to make the successor of the newest key.
func (s schedule) nextDue(now time.Time, keys []SigningKey) bool {
	newest := keys[len(keys)-1]
	return s.rotation > 0 && !newest.Activates.After(now) && !now.Before(newest.Activates.Add(s.rotation-s.ahead))
}

func (s schedule) gone(now time.Time, k SigningKey) bool {
	return !k.Retires.IsZero() && !now.Before(k.Retires.Add(s.overlap))
}

// plan does what is due: it makes the first key and the next one, drops what is
// gone, and seals what is not sealed under the present key-encryption key. One
// that lay there plain may be known to whoever has a copy, so a successor
// follows. Errors: *SealedError.
func (s schedule) plan(now time.Time, keys []SigningKey) ([]SigningKey, error) {
	keys = slices.DeleteFunc(keys, func(k SigningKey) bool { return s.gone(now, k) })
	if len(keys) == 0 {
		return s.add(keys, now, now)
	}
	plain := false
	for i := range keys {
		k := &keys[i]
		if k.KEK == s.sealer.ID() {
			continue
		}
		der, err := s.open(*k)
		if err != nil {
			return nil, err
		}
		plain = plain || k.KEK == ""
		k.Private, k.KEK = s.sealer.Seal(sealName(k.ID), der), s.sealer.ID()
	}
	newest := keys[len(keys)-1]
	switch {
	case s.nextDue(now, keys):
		return s.add(keys, now, later(newest.Activates.Add(s.rotation), now.Add(s.ahead)))
	case plain && !newest.Activates.After(now):
		return s.add(keys, now, now.Add(s.ahead))
	}
	return keys, nil
}

// rotate makes the next key, or hastens it if it is there already: it signs
// after wait.
func (s schedule) rotate(now time.Time, keys []SigningKey, wait time.Duration) ([]SigningKey, error) {
	at := now.Add(wait)
	last := len(keys) - 1
	if last < 0 || !keys[last].Activates.After(now) {
		return s.add(keys, now, at)
	}
	if at.Before(keys[last].Activates) {
		keys[last].Activates = at
		if last > 0 {
			keys[last-1].Retires = at
		}
	}
	return keys, nil
}

// revoke takes the key id away at once. If it signed, the next one does now.
// Errors: ErrUnknownKey.
func (s schedule) revoke(now time.Time, keys []SigningKey, id string) ([]SigningKey, error) {
	at := slices.IndexFunc(keys, func(k SigningKey) bool { return k.ID == id })
	if at < 0 {
		return nil, ErrUnknownKey
	}
	signed := activeKey(now, keys) == at
	published := keys[at].Activates.After(now)
	keys = slices.Delete(keys, at, at+1)
	switch {
	case published && at > 0:
		keys[at-1].Retires = time.Time{}
	case signed && at < len(keys):
		keys[at].Activates = now
	case signed:
		return s.add(keys, now, now)
	}
	return keys, nil
}

// add appends a new key that signs from the time given, when the one before it
// retires, unless that has done so already.
func (s schedule) add(keys []SigningKey, now, activates time.Time) ([]SigningKey, error) {
	k, err := s.newKey(now)
	if err != nil {
		return nil, err
	}
	k.Activates = stored(activates)
	if last := len(keys) - 1; last >= 0 && keys[last].Retires.IsZero() {
		keys[last].Retires = k.Activates
	}
	return append(keys, k), nil
}

// newKey makes a key. Its id can be an argument of a command: it does not begin
// with a hyphen.
func (s schedule) newKey(now time.Time) (SigningKey, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return SigningKey{}, fmt.Errorf("make signing key: %w", err)
		}
		public, err := publicJWK(&private.PublicKey)
		if err != nil {
			return SigningKey{}, err
		}
		if public.KeyID[0] == '-' {
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return SigningKey{}, fmt.Errorf("marshal signing key: %w", err)
		}
		return SigningKey{
			ID: public.KeyID, Private: s.sealer.Seal(sealName(public.KeyID), der), KEK: s.sealer.ID(), Created: stored(now),
		}, nil
	}
}

// open returns the PKCS #8 of k. Errors: *SealedError.
func (s schedule) open(k SigningKey) ([]byte, error) {
	if k.KEK == "" {
		return k.Private, nil
	}
	return s.sealer.Open(sealName(k.ID), k.KEK, k.Private)
}

func sealName(id string) string { return "signing key " + id }

// activeKey returns the index of the key that signs, -1 without any: the newest
// that may, or the oldest if a clock went back before all of them.
func activeKey(now time.Time, keys []SigningKey) int {
	for i := len(keys) - 1; i > 0; i-- {
		if !keys[i].Activates.After(now) {
			return i
		}
	}
	return min(0, len(keys)-1)
}

// stored returns t as the database keeps it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
