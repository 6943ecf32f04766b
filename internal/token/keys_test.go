package token_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
		if w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=3600" || w.Header().Get("ETag") == "" || w.Header().Get("Content-Type") != "application/json" {
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

		again := httptest.NewRequest(http.MethodGet, "/", nil)
		again.Header.Set("If-None-Match", `"other", W/`+w.Header().Get("ETag"))
		unchanged := httptest.NewRecorder()
		f.s.JWKS().ServeHTTP(unchanged, again)
		if unchanged.Code != http.StatusNotModified || unchanged.Body.Len() != 0 {
			t.Errorf("unchanged: %d %s", unchanged.Code, unchanged.Body)
		}
		quick := httptest.NewRecorder()
		f.service(token.Options{KeyAhead: time.Minute}).JWKS().ServeHTTP(quick, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := quick.Header().Get("Cache-Control"); got != "public, max-age=15" {
			t.Errorf("T-27: keys are published a minute ahead, and the set may be cached: %s", got)
		}

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
// cost one query a second, however many come, even while the generation of that
// key is not known here.
func TestKeysAreReadAgain(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		store := &countingKeys{Store: f.db.Tokens()}
		behind := f.serviceWith(store, &stoppedChanges{Changes: f.db})
		_, err := f.s.RotateSigningKeyNow(f.ctx())
		f.ok(err)
		f.pass(time.Minute)
		for name, text := range map[string]string{
			"the new key's": f.access("alice:"+password("alice"), ""), "the old key's": f.doOn(behind, get("", "alice:"+password("alice"))).Token,
		} {
			if _, err := behind.Authorize(f.ctx(), text); err != nil {
				t.Errorf("T-26: %s token: %v", name, err)
			}
			f.alive("T-26: "+name+" token", text)
		}
		f.pass(time.Second)
		before := store.lists.Load()
		unknown := func(i int) string {
			return b64.EncodeToString([]byte(`{"alg":"ES256","kid":"`+string(rune('A'+i%26))+strings.Repeat("A", 42)+`","typ":"JWT"}`)) + ".e30." + strings.Repeat("A", 86)
		}
		for i := range 100 {
			if _, err := behind.Authorize(f.ctx(), unknown(i)); err != access.ErrInvalidToken {
				t.Errorf("a key of nobody: %v", err)
			}
		}
		if n := store.lists.Load() - before; n != 1 {
			t.Errorf("the keys were read %d times within a second", n)
		}
		f.pass(time.Second)
		behind.Authorize(f.ctx(), unknown(0))
		if n := store.lists.Load() - before; n != 2 {
			t.Errorf("the keys were read %d times", n)
		}
	})
}

// countingKeys counts how often the keys are read.
type countingKeys struct {
	token.Store
	lists atomic.Int64
}

func (c *countingKeys) ListSigningKeys(ctx context.Context) ([]token.SigningKey, error) {
	c.lists.Add(1)
	return c.Store.ListSigningKeys(ctx)
}

// stoppedChanges is a process that learns of no change after its start.
type stoppedChanges struct {
	access.Changes
	known atomic.Int64
}

func (s *stoppedChanges) Generation(ctx context.Context) (int64, error) {
	if g := s.known.Load(); g != 0 {
		return g, nil
	}
	g, err := s.Changes.Generation(ctx)
	s.known.Store(g)
	return g, err
}

// T-26: keys follow each other by the clock alone.
func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const rotation, ahead, overlap = 48 * time.Hour, 12 * time.Hour, 5*time.Minute + time.Hour + 30*time.Second
		f.s = f.service(token.Options{KeyRotation: rotation, KeyAhead: ahead})
		replica := f.service(token.Options{KeyRotation: rotation, KeyAhead: ahead})
		state := func(when string, want ...token.KeyState) []token.KeyStatus {
			t.Helper()
			f.ok(f.s.KeepSigningKeys(f.ctx()))
			f.ok(replica.KeepSigningKeys(f.ctx()))
			keys, err := f.s.SigningKeys(f.ctx())
			f.ok(err)
			var got []token.KeyState
			for _, k := range keys {
				got = append(got, k.State)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", when, got, want)
			}
			if n := len(f.keySet()); n != len(want) {
				t.Errorf("%s: %d keys in the set", when, n)
			}
			return keys
		}
		pair := "alice:" + password("alice")
		forger := newForger(f)
		forge := func() string { // with the first key, but of now
			now := strconv.FormatInt(f.clock().Unix(), 10)
			text := forger.payload("", "")
			for _, claim := range []string{"iat", "nbf", "exp"} {
				then := strconv.FormatInt(int64(forger.good[claim].(float64)), 10)
				if claim == "exp" {
					now = strconv.FormatInt(f.clock().Add(5*time.Minute).Unix(), 10)
				}
				text = strings.Replace(text, `"`+claim+`":`+then, `"`+claim+`":`+now, 1)
			}
			return forger.raw(forger.header(""), text)
		}
		state("start", token.Active)
		f.pass(rotation - ahead - time.Second)
		state("before the next is due", token.Active)
		f.pass(time.Second)
		keys := state("the next is published", token.Active, token.Published)
		if keys[1].Activates.Sub(f.clock()) != ahead || !keys[0].Retires.Equal(keys[1].Activates) {
			t.Errorf("keys %+v", keys)
		}
		f.pass(ahead - time.Second)
		before := f.access(pair, "")
		if kidOf(t, before) != keys[0].ID {
			t.Error("a published key signs")
		}
		f.pass(time.Second)
		state("the next signs", token.Retiring, token.Active)
		after := f.access(pair, "")
		if kidOf(t, after) != keys[1].ID {
			t.Error("the next key does not sign")
		}
		f.alive("T-26 the old key's token", before)
		f.alive("T-26 the new key's token", after)
		f.alive("T-26 the old key, within the overlap", forge())
		f.pass(overlap - time.Second)
		f.alive("T-26 the old key, at the end of the overlap", forge())
		last := forge()
		f.alive("known", last)
		f.pass(time.Second) // nobody has done anything
		f.dead("T-26 the old key, gone", forge())
		f.dead("T-26 the old key, gone, of a token seen before", last)
		if n := len(f.keySet()); n != 1 {
			t.Errorf("T-27: %d keys in the set after the overlap", n)
		}
		state("the old one is gone", token.Active)
		stored, err := f.db.Tokens().ListSigningKeys(f.ctx())
		f.ok(err)
		if len(stored) != 1 {
			t.Errorf("%d keys are kept", len(stored))
		}
	})
}

// keySet returns the ids of the published key set.
func (f *fixture) keySet() []string {
	f.t.Helper()
	document, err := f.s.KeySet(f.ctx())
	f.ok(err)
	var set jose.JSONWebKeySet
	f.ok(json.Unmarshal(document, &set))
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

func kidOf(t *testing.T, text string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}

// A revoked key is dead at once, on every process, whatever it did.
func TestRevokeSigningKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		replica := f.service(token.Options{})
		pair := "alice:" + password("alice")
		login := f.login("alice")
		f.alive("before", login.Token)
		if err := f.s.RevokeSigningKey(f.ctx(), "nobody"); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("revoke of no key: %v", err)
		}
		first, err := f.s.SigningKeys(f.ctx())
		f.ok(err)
		f.ok(replica.RevokeSigningKey(f.ctx(), first[0].ID))
		f.dead("the active key's token", login.Token)
		a := f.do(post(refreshForm(login.RefreshToken)))
		f.alive("the next key's token, by the login of before", a.Token)

		// With a next one in place that one signs, and who retired before does so
		// no later.
		_, err = f.s.RotateSigningKeyNow(f.ctx())
		f.ok(err)
		f.pass(time.Minute)
		third, err := f.s.RotateSigningKey(f.ctx())
		f.ok(err)
		if again, err := f.s.RotateSigningKey(f.ctx()); err != nil || again.ID != third.ID {
			t.Errorf("rotate twice: %+v, %v", again, err)
		}
		keys, err := f.s.SigningKeys(f.ctx())
		f.ok(err)
		retires := keys[0].Retires
		second := f.access(pair, "")
		f.ok(f.s.RevokeSigningKey(f.ctx(), keys[1].ID))
		f.dead("the second key's token", second)
		if kid := kidOf(t, f.access(pair, "")); kid != third.ID {
			t.Errorf("%s signs, not the one that was published", kid)
		}
		keys, err = f.s.SigningKeys(f.ctx())
		f.ok(err)
		if len(keys) != 2 || !keys[0].Retires.Equal(retires) || keys[1].State != token.Active {
			t.Errorf("keys %+v", keys)
		}

		// A published one, and one that retires.
		next, err := f.s.RotateSigningKey(f.ctx())
		f.ok(err)
		f.ok(f.s.RevokeSigningKey(f.ctx(), next.ID))
		f.ok(f.s.RevokeSigningKey(f.ctx(), keys[0].ID))
		keys, err = f.s.SigningKeys(f.ctx())
		f.ok(err)
		if len(keys) != 1 || keys[0].State != token.Active || !keys[0].Retires.IsZero() {
			t.Errorf("keys %+v", keys)
		}
		if !slices.Equal(f.keySet(), []string{keys[0].ID}) {
			t.Errorf("set %v", f.keySet())
		}
	})
}

// Replicas agree on one next key.
func TestReplicasRotateOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		o := token.Options{KeyRotation: 48 * time.Hour, KeyAhead: time.Hour}
		replicas := []*token.Service{f.service(o), f.service(o), f.service(o), f.service(o)}
		f.pass(47 * time.Hour)
		var all sync.WaitGroup
		for _, r := range replicas {
			all.Go(func() {
				if err := r.KeepSigningKeys(f.ctx()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(f.keySet()); n != 2 {
			t.Errorf("%d keys", n)
		}
	})
}
