package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	// kekVariable is the environment variable that may hold the key-encryption
	// key. It is taken out of the environment once it is read (L-12).
	kekVariable = "SALLYPORT_SIGNING_KEK"
	// kekCredential is the name of the systemd credential that may hold it.
	kekCredential = "sallyport.signing-kek"
	// maxKEKFile bounds what is read of such a file, in bytes.
	maxKEKFile = 4 << 10
)

// A kekSource is a place that holds the key-encryption key of the signing keys.
type kekSource struct {
	name string
	read func() (string, error)
}

// kekSources returns the places that the operator has chosen.
func (s *Server) kekSources() []kekSource {
	var found []kekSource
	if path := s.config.Signing.KEKFile; path != "" {
		found = append(found, kekSource{"signing.kek_file", func() (string, error) { return readKEKFile("signing.kek_file", path, 0o077) }})
	}
	if text, set := os.LookupEnv(kekVariable); set {
		found = append(found, kekSource{kekVariable, func() (string, error) { return text, os.Unsetenv(kekVariable) }})
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, kekCredential)
		if _, err := os.Lstat(path); err == nil {
			// systemd lets the service's user read it by an access control list,
			// whose mask shows as the right of the group to read.
			found = append(found, kekSource{"credential " + kekCredential, func() (string, error) { return readKEKFile("credential "+kekCredential, path, 0o037) }})
		}
	}
	return found
}

// openSealer returns what seals the signing keys. Where the operator has chosen
// no key-encryption key it is a file outside the database, made when no signing
// key needs another.
func (s *Server) openSealer(ctx context.Context, keys token.SigningKeys) (*token.Sealer, error) {
	sources := s.kekSources()
	if len(sources) > 1 {
		return nil, cannot("keep one of the two", "%s and %s are both set", sources[0].name, sources[1].name)
	}
	if len(sources) == 0 {
		path := filepath.Join(s.config.Data, "keys", "signing.kek")
		if err := makeKEKFile(ctx, path, keys); err != nil {
			return nil, err
		}
		sources = []kekSource{{"key-encryption key", func() (string, error) { return readKEKFile("key-encryption key", path, 0o077) }}}
	}
	text, err := sources[0].read()
	if err != nil {
		return nil, err
	}
	sealer, err := token.NewSealer(access.NewSecret(text))
	if err != nil {
		return nil, cannot("make one with: openssl rand -base64 32", "%s: %w", sources[0].name, err)
	}
	return sealer, nil
}

// makeKEKFile writes a fresh key-encryption key to path unless there is a file,
// or a signing key that rests sealed and needs the one that was there before.
func makeKEKFile(ctx context.Context, path string, keys token.SigningKeys) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	stored, err := keys.ListSigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("list signing keys: %w", err)
	}
	for _, k := range stored {
		if k.KEK != "" {
			return sealedElsewhere(fmt.Errorf("%s is missing: %w", path, &token.SealedError{Name: "signing key " + k.ID, Under: k.KEK}))
		}
	}
	text, err := token.NewKEK(rand.Reader)
	if err != nil {
		return err
	}
	if err := makePrivateDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(filepath.Dir(path))); err != nil {
		return err
	}
	return writePrivate(path, []byte(text.Reveal()+"\n"))
}

// sealedElsewhere is the error of signing keys that we cannot open, and the cure.
func sealedElsewhere(err error) error {
	return cannot("give this process the key-encryption key that the others on the database have, or had (signing.kek_file, "+kekVariable+" or DATA/keys/signing.kek); docs/signing-keys.md says what to do if it is lost", "%w", err)
}

// readKEKFile returns the content of a file whose mode has none of the bits of
// forbidden.
func readKEKFile(what, path string, forbidden fs.FileMode) (string, error) {
	f, err := openSecretMode(what, path, forbidden)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKEKFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if len(text) > maxKEKFile {
		return "", cannot("name the right file", "%s: %s is larger than %d bytes", what, path, maxKEKFile)
	}
	return string(text), nil
}
