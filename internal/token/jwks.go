package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxJWKSAge is the longest that a key set may be cached.
const maxJWKSAge = time.Hour

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

// KeySet returns the public halves of our signing keys as a JSON document (RFC
// 7517 §5): the one that signs, the next one once it is made, and those whose
// tokens still count.
func (s *Service) KeySet(ctx context.Context) ([]byte, error) {
	ring, err := s.keys.present(ctx)
	if err != nil {
		return nil, err
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	now := s.now()
	for i, k := range ring.keys {
		if !ring.schedule.gone(now, ring.rows[i]) {
			set.Keys = append(set.Keys, k.public)
		}
	}
	document, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("marshal key set: %w", err)
	}
	return append(document, '\n'), nil
}

// JWKS serves the key set. It may be cached for a quarter of the time for which
// keys are published ahead, an hour at most, so that a cache learns each key
// long before it signs.
func (s *Service) JWKS() http.Handler {
	age := strconv.FormatInt(int64(min(maxJWKSAge, s.keys.ahead/4)/time.Second), 10)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		document, err := s.KeySet(r.Context())
		if err != nil {
			s.log.ErrorContext(r.Context(), "key set not written", "err", err)
			h.Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		sum := sha256.Sum256(document)
		tag := strconv.Quote(b64.EncodeToString(sum[:16]))
		h.Set("Cache-Control", "public, max-age="+age)
		h.Set("ETag", tag)
		if matches(r.Header.Values("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(document)))
		if r.Method == http.MethodHead {
			return
		}
		if _, err := w.Write(document); err != nil {
			s.log.DebugContext(r.Context(), "answer not written", "err", err)
		}
	})
}

// matches reports whether If-None-Match names tag (RFC 9110 §13.1.2).
func matches(given []string, tag string) bool {
	for _, list := range given {
		if slices.ContainsFunc(strings.Split(list, ","), func(t string) bool {
			t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
			return t == tag || t == "*"
		}) {
			return true
		}
	}
	return false
}
