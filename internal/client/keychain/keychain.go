// Package keychain keeps secrets in the operating system's own keychain: the
// Secret Service on Linux and the BSDs, the keychain of macOS, the Credential
// Manager of Windows. Only the first is tested; the others are compiled.
package keychain

import (
	"errors"
	"os"
)

// variable turns the keychain off: with "none" secrets stay in the 0600 file.
const variable = "SALLYPORT_KEYCHAIN"

// label is what people see beside an entry.
const label = "Sallyport login"

// ErrNone says that there is no keychain here.
var ErrNone = errors.New("there is no keychain here")

// ErrUnknown says that the keychain has no such entry.
var ErrUnknown = errors.New("the keychain does not have it")

// Name says which keychain this system has, if any.
func Name() string { return name }

// Set keeps a secret under a key, in place of an older one. Errors: ErrNone.
func Set(key, secret string) error {
	if err := chosen(); err != nil {
		return err
	}
	return set(key, secret)
}

// Get returns the secret of a key. Errors: ErrNone, ErrUnknown.
func Get(key string) (string, error) {
	if err := chosen(); err != nil {
		return "", err
	}
	return get(key)
}

// Remove forgets a key; one that is not there is no error. Errors: ErrNone.
func Remove(key string) error {
	if err := chosen(); err != nil {
		return err
	}
	return remove(key)
}

func chosen() error {
	switch os.Getenv(variable) {
	case "":
		return nil
	case "none":
		return ErrNone
	}
	return errors.New(variable + ` is neither empty nor "none"`)
}
