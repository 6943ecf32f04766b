package issuer

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Limits on the keys of an issuer.
const (
	maxKeys      = 100
	minRSA       = 2048
	maxRSA       = 8192 // bits: what is larger makes verification dear
	maxKeyID     = 256  // bytes
	presetSPIFFE = "spiffe"
)

// algorithms are those of Kubernetes: signatures of RSA and of ECDSA.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

// A keySet is what an issuer signs with. It does not change.
type keySet struct {
	keys []jose.JSONWebKey
	sum  [sha256.Size]byte // of the document
}

// readKeys reads a JWKS document (RFC 7517 §5), and says which keys it leaves
// out: a key that we cannot use is no reason to use none.
func readKeys(document []byte, preset string) (*keySet, []string, error) {
	var whole struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &whole); err != nil {
		return nil, nil, errors.New("it is not a JWKS document")
	}
	if len(whole.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("it has %d keys; the limit is %d", len(whole.Keys), maxKeys)
	}
	set := &keySet{sum: sha256.Sum256(document)}
	var left []string
	for i, raw := range whole.Keys {
		var k jose.JSONWebKey
		err := k.UnmarshalJSON(raw)
		if err == nil {
			err = checkKey(k, preset)
		}
		if err != nil {
			left = append(left, fmt.Sprintf("key %d (kid %.80q) is not used: %.200s", i+1, k.KeyID, err))
			continue
		}
		set.keys = append(set.keys, k)
	}
	left = append(left, set.dropAmbiguous()...)
	if len(set.keys) == 0 {
		return nil, left, errors.New("it has no key that can be used")
	}
	return set, left, nil
}

// checkKey refuses keys that are weak, not for signatures, or not public (F-06).
// That a point is on its curve go-jose has seen.
func checkKey(k jose.JSONWebKey, preset string) error {
	switch {
	case !k.IsPublic():
		return errors.New("it is not a public key: if the issuer shows its private one, others can sign")
	case !k.Valid() || len(k.KeyID) > maxKeyID:
		return errors.New("it is not well formed")
	case k.Use != "" && k.Use != "sig" && !(k.Use == "jwt-svid" && preset == presetSPIFFE):
		return fmt.Errorf("its use is %.40q", k.Use)
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSA || n > maxRSA || key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 {
			return fmt.Errorf("it is an RSA key of %d bits with exponent %d", n, key.E)
		}
	case *ecdsa.PublicKey:
	default:
		return errors.New("it is neither of RSA nor of ECDSA")
	}
	if k.Algorithm != "" && !fits(k, jose.SignatureAlgorithm(k.Algorithm)) {
		return fmt.Errorf("its alg is %.40q", k.Algorithm)
	}
	return nil
}

// fits reports whether tokens of an algorithm can be verified with k.
func fits(k jose.JSONWebKey, a jose.SignatureAlgorithm) bool {
	if k.Algorithm != "" && k.Algorithm != string(a) {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return a == jose.RS256 || a == jose.RS384 || a == jose.RS512 || a == jose.PS256 || a == jose.PS384 || a == jose.PS512
	case *ecdsa.PublicKey:
		bits := map[jose.SignatureAlgorithm]int{jose.ES256: 256, jose.ES384: 384, jose.ES512: 521}[a]
		return bits == key.Curve.Params().BitSize
	}
	return false
}

// dropAmbiguous leaves out keys that share an id without being the same.
func (s *keySet) dropAmbiguous() []string {
	var left []string
	count := map[string]int{}
	for _, k := range s.keys {
		count[k.KeyID]++
	}
	kept := s.keys[:0:0]
	for _, k := range s.keys {
		if count[k.KeyID] > 1 {
			left = append(left, fmt.Sprintf("key %.80q is not used: several have this kid", k.KeyID))
			continue
		}
		kept = append(kept, k)
	}
	s.keys = kept
	return left
}

// find returns the key of a token. Without a key id there has to be one key
// alone.
func (s *keySet) find(h header) (jose.JSONWebKey, bool) {
	if s == nil {
		return jose.JSONWebKey{}, false
	}
	if h.kid == "" {
		if len(s.keys) == 1 && fits(s.keys[0], h.alg) {
			return s.keys[0], true
		}
		return jose.JSONWebKey{}, false
	}
	for _, k := range s.keys {
		if k.KeyID == h.kid && fits(k, h.alg) {
			return k, true
		}
	}
	return jose.JSONWebKey{}, false
}
