package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/token"
)

// T-27: the key set holds public parts only, and another implementation
// verifies our tokens with it.
func TestJWKS(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		w := httptest.NewRecorder()
		f.s.JWKS().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
		if w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=3600" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		var raw struct{ Keys []map[string]any }
		f.ok(json.Unmarshal(w.Body.Bytes(), &raw))
		for _, k := range raw.Keys {
			for name := range k {
				switch name {
				case "kty", "crv", "x", "y", "kid", "alg", "use":
				default:
					t.Errorf("T-27: member %q", name)
				}
			}
		}
		var set jose.JSONWebKeySet
		f.ok(json.Unmarshal(w.Body.Bytes(), &set))
		if len(set.Keys) != 1 || !set.Keys[0].IsPublic() || !set.Keys[0].Valid() || set.Keys[0].Algorithm != "ES256" {
			t.Fatalf("set %s", w.Body)
		}
		sum, err := set.Keys[0].Thumbprint(crypto.SHA256)
		f.ok(err)
		if set.Keys[0].KeyID != b64.EncodeToString(sum) {
			t.Errorf("kid %s is not the thumbprint", set.Keys[0].KeyID)
		}
		parsed, err := jwt.ParseSigned(f.access("alice:"+password("alice"), ""), []jose.SignatureAlgorithm{jose.ES256})
		f.ok(err)
		var c jwt.Claims
		f.ok(parsed.Claims(set, &c))
		f.ok(c.Validate(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{service}, Subject: "user:alice", Time: f.clock()}))

		for method, want := range map[string]int{"HEAD": 200, "POST": 405, "DELETE": 405, "OPTIONS": 405} {
			w := httptest.NewRecorder()
			f.s.JWKS().ServeHTTP(w, httptest.NewRequest(method, "/", nil))
			if w.Code != want || w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %d %v", method, w.Code, w.Header())
			}
		}
	})
}

// Replicas that start together agree on one key, and take each other's tokens.
func TestReplicasShareTheKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				replica := f.service(token.Options{})
				a := f.doOn(replica, get("", "alice:"+password("alice")))
				f.alive("a replica's token", a.Token)
			})
		}
		all.Wait()
		f.signingKey() // one
	})
}

// A token of a key that another replica made since is taken, and unknown keys
// cost one query a second, however many come.
func TestKeysAreReadAgain(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		keys := &growingKeys{Store: f.db.Tokens()}
		first := f.variant(f.accounts.Passwords(), keys)
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		f.ok(err)
		keys.add(t, f.clock(), private)
		second := f.variant(f.accounts.Passwords(), keys)
		text := f.doOn(second, get("", "alice:"+password("alice"))).Token
		if _, err := first.Authorize(f.ctx(), text); err != nil {
			t.Errorf("T-26: a new key's token: %v", err)
		}
		old := f.access("alice:"+password("alice"), "")
		if _, err := second.Authorize(f.ctx(), old); err != nil {
			t.Errorf("T-26: the old key's token: %v", err)
		}
		forged := newForger(f)
		before := keys.lists
		for i := range 100 {
			kid := []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
			kid[0] += byte(i % 26)
			_, err := second.Authorize(f.ctx(), forged.raw(`{"alg":"ES256","kid":"`+string(kid)+`","typ":"JWT"}`, "{}"))
			if err != access.ErrInvalidToken {
				t.Errorf("a key of nobody: %v", err)
			}
		}
		if n := keys.lists - before; n > 1 {
			t.Errorf("the keys were read %d times within a second", n)
		}
		f.pass(time.Second)
		second.Authorize(f.ctx(), forged.raw(`{"alg":"ES256","kid":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","typ":"JWT"}`, "{}"))
		if n := keys.lists - before; n > 2 {
			t.Errorf("the keys were read %d times", n)
		}
	})
}

// growingKeys is a store to which a later version of us adds keys.
type growingKeys struct {
	token.Store
	more  []token.SigningKey
	lists int
}

func (g *growingKeys) ListSigningKeys(ctx context.Context) ([]token.SigningKey, error) {
	g.lists++
	keys, err := g.Store.ListSigningKeys(ctx)
	return append(g.more[:len(g.more):len(g.more)], keys...), err
}

func (g *growingKeys) add(t *testing.T, now time.Time, private *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := jose.JSONWebKey{Key: &private.PublicKey}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	g.more = append(g.more, token.SigningKey{ID: b64.EncodeToString(sum), PKCS8: der, Created: now})
}
