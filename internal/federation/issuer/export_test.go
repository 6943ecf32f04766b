package issuer

import "github.com/go-jose/go-jose/v4"

// Settle waits until nothing runs in the background.
func (s *Set) Settle() { s.tasks.Wait() }

// Keys returns what is used of a JWKS document.
func Keys(document []byte) []jose.JSONWebKey {
	set, _, err := readKeys(document, "")
	if err != nil {
		return nil
	}
	return set.keys
}
