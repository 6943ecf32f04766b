package token

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// kekSize is the length of a key-encryption key, in bytes.
const kekSize = 32

// maxKEKs bounds the key-encryption keys that are in use at a time: the one
// that seals, and those of before.
const maxKEKs = 8

// A Sealer keeps private keys at rest: it seals them under a key-encryption key
// that is not kept where they are. It is safe for concurrent use.
type Sealer struct{ keks []kek } // the first seals, all open

type kek struct {
	id   string
	aead cipher.AEAD
}

// NewKEK returns a fresh key-encryption key as NewSealer reads it.
func NewKEK(rand io.Reader) (access.Secret, error) {
	var key [kekSize]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return access.Secret{}, fmt.Errorf("read randomness: %w", err)
	}
	return access.NewSecret(base64.StdEncoding.EncodeToString(key[:])), nil
}

// NewSealer reads key-encryption keys, one a line, each the base64 of 32 random
// bytes; empty lines and those that begin with "#" are skipped. The first seals.
// The others still open what was sealed under them, so that one can follow
// another. No error shows a key.
func NewSealer(text access.Secret) (*Sealer, error) {
	s := &Sealer{}
	lines := bufio.NewScanner(strings.NewReader(text.Reveal()))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		switch {
		case err != nil || len(key) != kekSize:
			return nil, fmt.Errorf("line %d is not the base64 of %d bytes", n, kekSize)
		case !random(key):
			return nil, fmt.Errorf("line %d is not random", n)
		case len(s.keks) == maxKEKs:
			return nil, fmt.Errorf("there are more than %d keys", maxKEKs)
		}
		k, err := newKEK(key)
		if err != nil {
			return nil, err
		}
		s.keks = append(s.keks, k)
	}
	if lines.Err() != nil || len(s.keks) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return s, nil
}

func newKEK(key []byte) (kek, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return kek{}, fmt.Errorf("use key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return kek{}, fmt.Errorf("use key-encryption key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("sallyport key-encryption key\x00"), key...))
	return kek{hex.EncodeToString(sum[:8]), aead}, nil
}

// random reports whether key can have come from a random source: zeros and
// typed text have few different bytes. Of 2^60 random keys about one has
// fewer than 16.
func random(key []byte) bool {
	seen := map[byte]bool{}
	for _, b := range key {
		seen[b] = true
	}
	return len(seen) >= kekSize/2
}

// ID names the key-encryption key that seals: the first 64 bits of the SHA-256
// of a label and the key, in hexadecimal. It is no secret.
func (s *Sealer) ID() string { return s.keks[0].id }

// Seal returns nonce ‖ AES-256-GCM(plain), with name as additional data: what
// was sealed for one name does not open for another.
func (s *Sealer) Seal(name string, plain []byte) []byte {
	return s.keks[0].aead.Seal(nil, nil, plain, []byte(name))
}

// Open returns what Seal was given. under is the ID of the key-encryption key
// then. Errors: *SealedError.
func (s *Sealer) Open(name, under string, sealed []byte) ([]byte, error) {
	for _, k := range s.keks {
		if k.id != under {
			continue
		}
		plain, err := k.aead.Open(nil, nil, sealed, []byte(name))
		if err != nil {
			return nil, &SealedError{Name: name, Under: under, Damaged: true}
		}
		return plain, nil
	}
	return nil, &SealedError{Name: name, Under: under, Have: s.ID()}
}

// A SealedError says that something cannot be opened.
type SealedError struct {
	Name    string
	Under   string // the key-encryption key it needs
	Have    string // ours; "" for none
	Damaged bool   // we have the right one, and it is not what was sealed
}

func (e *SealedError) Error() string {
	switch {
	case e.Damaged:
		return e.Name + " is damaged: it is not what was sealed under key-encryption key " + e.Under
	case e.Have == "":
		return e.Name + " is sealed under key-encryption key " + e.Under + ", which is missing"
	}
	return e.Name + " is sealed under key-encryption key " + e.Under + ", and ours is " + e.Have
}
