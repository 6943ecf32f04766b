package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

var b64 = base64.RawURLEncoding.Strict()

// A signingKey is a key of ours, ready for use.
type signingKey struct {
	id      string
	private *ecdsa.PrivateKey
	// header is the first part of every token signed with it; see jwt.go.
	header string
}

// A keyring holds our signing keys: the newest signs, all verify.
type keyring struct {
	store SigningKeys
	now   func() time.Time

	keys atomic.Pointer[[]signingKey] // newest first, never empty

	mu       sync.Mutex
	reloaded time.Time
}

// openKeyring loads our keys, and makes the first one if there is none.
func openKeyring(ctx context.Context, store SigningKeys, now func() time.Time) (*keyring, error) {
	r := &keyring{store: store, now: now}
	stored, err := store.ListSigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	if len(stored) == 0 {
		fresh, err := newSigningKey(now())
		if err != nil {
			return nil, err
		}
		first, err := store.AddFirstSigningKey(ctx, fresh)
		if err != nil {
			return nil, fmt.Errorf("add first signing key: %w", err)
		}
		stored = []SigningKey{first}
	}
	return r, r.set(stored)
}

func newSigningKey(now time.Time) (SigningKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return SigningKey{}, fmt.Errorf("marshal signing key: %w", err)
	}
	jwk, err := publicJWK(&private.PublicKey)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{ID: jwk.KeyID, PKCS8: der, Created: now.UTC().Truncate(time.Second)}, nil
}

func (r *keyring) set(stored []SigningKey) error {
	keys := make([]signingKey, 0, len(stored))
	for _, k := range stored {
		parsed, err := x509.ParsePKCS8PrivateKey(k.PKCS8)
		if err != nil {
			return fmt.Errorf("parse signing key %s: %w", k.ID, err)
		}
		private, ok := parsed.(*ecdsa.PrivateKey)
		if !ok || private.Curve != elliptic.P256() {
			return fmt.Errorf("signing key %s is not an ES256 key", k.ID)
		}
		jwk, err := publicJWK(&private.PublicKey)
		if err != nil {
			return err
		}
		if jwk.KeyID != k.ID {
			return fmt.Errorf("signing key %s has the thumbprint %s", k.ID, jwk.KeyID)
		}
		keys = append(keys, signingKey{id: k.ID, private: private, header: headerOf(k.ID)})
	}
	r.keys.Store(&keys)
	return nil
}

// newest returns the key that signs.
func (r *keyring) newest() signingKey { return (*r.keys.Load())[0] }

// byHeader returns the key whose tokens begin with header.
func (r *keyring) byHeader(header string) (signingKey, bool) {
	for _, k := range *r.keys.Load() {
		if k.header == header {
			return k, true
		}
	}
	return signingKey{}, false
}

// find returns the key whose tokens begin with header. One that we do not know
// yet may be another replica's: then it reads the keys again, at most once a
// second.
func (r *keyring) find(ctx context.Context, header string) (signingKey, bool, error) {
	if k, ok := r.byHeader(header); ok || !isHeader(header) {
		return k, ok, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.reloaded) >= time.Second {
		r.reloaded = now
		stored, err := r.store.ListSigningKeys(ctx)
		if err != nil {
			return signingKey{}, false, fmt.Errorf("list signing keys: %w", err)
		}
		if len(stored) > 0 {
			if err := r.set(stored); err != nil {
				return signingKey{}, false, err
			}
		}
	}
	k, ok := r.byHeader(header)
	return k, ok, nil
}

// A jwk is the public half of a signing key (RFC 7517, RFC 7518 §6.2.1).
type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// publicJWK returns k with its RFC 7638 thumbprint as the key id:
//
//	base64url(SHA-256(`{"crv":"P-256","kty":"EC","x":"…","y":"…"}`))
func publicJWK(k *ecdsa.PublicKey) (jwk, error) {
	point, err := k.Bytes() // 4 ‖ x ‖ y
	if err != nil {
		return jwk{}, fmt.Errorf("marshal public key: %w", err)
	}
	x, y := b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return jwk{
		KeyType: "EC", Curve: "P-256", X: x, Y: y,
		KeyID: b64.EncodeToString(sum[:]), Algorithm: "ES256", Use: "sig",
	}, nil
}

// JWKS serves the public halves of our signing keys (RFC 7517 §5).
func (s *Service) JWKS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		set := struct {
			Keys []jwk `json:"keys"`
		}{}
		for _, k := range *s.keys.keys.Load() {
			public, err := publicJWK(&k.private.PublicKey)
			if err != nil {
				s.log.ErrorContext(r.Context(), "key set not written", "err", err)
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			set.Keys = append(set.Keys, public)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		if err := json.NewEncoder(w).Encode(set); err != nil {
			s.log.DebugContext(r.Context(), "answer not written", "err", err)
		}
	})
}
