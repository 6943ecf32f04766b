package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An acmeKey seals the state of automatic certificates with AES-256-GCM. The key
// is in a file, so that a copied database alone gives nothing away.
type acmeKey struct {
	id   string
	aead cipher.AEAD
}

// openACMEKey reads the key from the first line of a file, in base64, and makes
// the file at the first start.
func openACMEKey(path string) (*acmeKey, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		var fresh [32]byte
		rand.Read(fresh[:])
		if err := makePrivateDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
		if err := writePrivate(path, []byte(base64.StdEncoding.EncodeToString(fresh[:])+"\n")); err != nil {
			return nil, err
		}
	}
	line, err := readSecretLine("key of acme", path)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(line)
	if err != nil || len(key) != 32 {
		return nil, cannot("restore it, or remove it to have key and certificates made anew", "key of acme: %s holds no key", path)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use key of acme: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use key of acme: %w", err)
	}
	sum := sha256.Sum256(append([]byte("sallyport acme key\x00"), key...))
	return &acmeKey{hex.EncodeToString(sum[:8]), aead}, nil
}

// seal returns nonce ‖ AES-256-GCM(plain), with name as additional data: what
// was sealed for one name does not open for another.
func (k *acmeKey) seal(name string, plain []byte) []byte {
	return k.aead.Seal(nil, nil, plain, []byte(name))
}

// open returns what seal was given under the key with the id under.
func (k *acmeKey) open(name, under string, sealed []byte) ([]byte, error) {
	if under != k.id {
		return nil, fmt.Errorf("%s is sealed under key %s, and ours is %s", name, under, k.id)
	}
	plain, err := k.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: it is not what was sealed", name)
	}
	return plain, nil
}
