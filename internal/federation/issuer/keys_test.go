package issuer_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settle waits until nothing runs in the background.
func (r *room) settle() { r.set.Settle() }

// TestUnknownKeys: however many key ids nobody knows arrive, the issuer is asked
// once a minute, and known keys work without it (F-05).
func TestUnknownKeys(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	r := newRoom(t, p.define("idp"), other.define("other"))
	good := p.token(nil)
	r.accepts(good, "job")
	r.clock.forward(time.Minute)
	var all sync.WaitGroup
	for i := range 1000 {
		evil := p.signed(fmt.Sprintf("random-%d", i), "ec2", jose.ES256, p.claims(nil))
		all.Go(func() {
			if _, err := r.ask(evil); !errors.Is(err, access.ErrBadCredential) && !errors.Is(err, access.ErrBusy) {
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	if n := p.asked.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times, want 2: at first and a minute later", n)
	}
	r.accepts(p.token(map[string]any{"sub": "another"}), "another")
	r.accepts(other.token(nil), "job")
	if n := p.asked.Load(); n != 2 {
		t.Errorf("a known key asked the issuer (%d)", n)
	}
	// A key that is new is found a minute later.
	p.show(jwk("k2", "ec2"))
	next := p.signed("k2", "ec2", jose.ES256, p.claims(nil))
	r.refuses(next, "does not show")
	r.clock.forward(time.Minute)
	r.accepts(next, "job")
	r.refuses(good, "does not show") // its key is gone
}

// TestUnknownIssuer: nobody is asked whom we do not trust (F-04).
func TestUnknownIssuer(t *testing.T) {
	sink := newProvider(t)
	hits := 0
	sink.do(func(http.ResponseWriter, *http.Request) bool { hits++; return false })
	newRoom(t).refuses(sink.token(nil), "not trusted")
	if hits != 0 {
		t.Errorf("%d requests", hits)
	}
}

// TestIssuerDown: known keys count for a day while the issuer is down; it is asked
// less and less often; one that never answered locks out its own tokens alone
// (F-08).
func TestIssuerDown(t *testing.T) {
	p, never := newProvider(t), newProvider(t)
	down := func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	never.do(down)
	r := newRoom(t, p.define("idp"), never.define("never"))
	fresh := func() string {
		now := r.clock.now().Unix()
		return p.token(map[string]any{"iat": now, "nbf": now, "exp": now + 300})
	}
	r.accepts(fresh(), "job")
	p.do(down)
	for range 5 {
		r.clock.forward(285 * time.Minute)
		r.accepts(fresh(), "job")
		r.settle()
	}
	r.clock.forward(16 * time.Minute) // 24 h and 1 min
	if _, err := r.ask(fresh()); !errors.Is(err, access.ErrBusy) {
		t.Errorf("keys count for ever: %v", err)
	}
	p.do(nil)
	r.clock.forward(10 * time.Minute) // the longest rest
	r.accepts(fresh(), "job")
	for range 20 {
		if _, err := r.ask(never.token(nil)); !errors.Is(err, access.ErrBusy) || errors.Is(err, access.ErrBadCredential) {
			t.Fatalf("no keys: %v", err)
		}
	}
}

// TestManyUnknownKeys: keys that nobody knows make nobody busy, and the answer to
// them is the one that a token of nobody's gets. A new key counts once it is fetched.
func TestManyUnknownKeys(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("idp"))
	r.accepts(p.token(nil), "job")
	release := make(chan struct{})
	p.do(func(w http.ResponseWriter, r *http.Request) bool { <-release; return false })
	r.clock.forward(time.Minute)
	evil := p.signed("k9", "ec", jose.ES256, p.claims(nil))
	var all sync.WaitGroup
	refused := make(chan error, 100)
	for range 100 {
		all.Go(func() {
			_, err := r.set.Authenticate(t.Context(), access.IDToken{Secret: access.NewSecret(evil)})
			refused <- err
		})
	}
	for range 100 - 64 {
		if err := <-refused; !errors.Is(err, access.ErrBadCredential) || errors.Is(err, access.ErrBusy) {
			t.Fatalf("one that is too many: %v", err)
		}
	}
	r.accepts(p.token(nil), "job")
	p.mu.Lock()
	p.keys = append(p.keys, jwk("k9", "ec"))
	p.mu.Unlock()
	close(release)
	all.Wait()
	r.accepts(evil, "job")
}

// TestSlowIssuer: who waits for one issuer's keys delays no other, is not many,
// and goes when it is done (F-05).
func TestSlowIssuer(t *testing.T) {
	slow, other := newProvider(t), newProvider(t)
	release := make(chan struct{})
	slow.do(func(w http.ResponseWriter, r *http.Request) bool { <-release; return false })
	r := newRoom(t, slow.define("slow"), other.define("other"))
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	busy := make(chan error, 200)
	for range 200 {
		all.Go(func() {
			_, err := r.set.Authenticate(ctx, access.IDToken{Secret: access.NewSecret(slow.token(nil))})
			busy <- err
		})
	}
	for range 200 - 64 {
		if err := <-busy; !errors.Is(err, access.ErrBusy) {
			t.Fatalf("one that is too many: %v", err)
		}
	}
	r.accepts(other.token(nil), "job")
	leave()
	all.Wait()
	close(release)
	r.settle()
	r.accepts(slow.token(nil), "job")
}

// TestBadKeys: what an evil or broken issuer shows is not used, and the last good
// keys are kept (F-06).
func TestBadKeys(t *testing.T) {
	p := newProvider(t)
	huge := jose.JSONWebKey{Key: &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 16384, 1), E: 65537}, KeyID: "k2", Use: "sig"}
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	enc := jwk("k2", "ec2")
	enc.Use = "enc"
	private := jose.JSONWebKey{Key: signers()["ec2"], KeyID: "k2"}
	off := map[string]any{"kty": "EC", "crv": "P-256", "kid": "k2", "x": "AQ", "y": "AQ"}
	edwards, _, _ := ed25519.GenerateKey(rand.Reader)
	other := jwk("k2", "ec2")
	other.Algorithm = "RS256"
	many := make([]any, 10_000)
	for i := range many {
		many[i] = jwk(fmt.Sprint(i), "ec2")
	}
	for _, c := range []struct {
		name string
		keys []any
		kept bool // the last good keys: the whole document is refused
	}{
		{"a symmetric key", []any{map[string]any{"kty": "oct", "k": "AAAA", "kid": "k2"}, jwk("k1", "ec")}, false},
		{"a private key", []any{private, jwk("k1", "ec")}, false},
		{"for encryption", []any{enc, jwk("k1", "ec")}, false},
		{"RSA with 1024 bits", []any{jose.JSONWebKey{Key: small.Public(), KeyID: "k2"}, jwk("k1", "ec")}, false},
		{"RSA with 16384 bits", []any{huge, jwk("k1", "ec")}, false},
		{"of Ed25519", []any{jose.JSONWebKey{Key: edwards, KeyID: "k2"}, jwk("k1", "ec")}, false},
		{"for an algorithm of other keys", []any{other, jwk("k1", "ec")}, false},
		{"not on the curve", []any{off, jwk("k1", "ec")}, false},
		{"not an object", []any{1, nil, "x", jwk("k1", "ec")}, false},
		{"one id for two keys", []any{jwk("k2", "ec2"), jwk("k2", "ec"), jwk("k1", "ec")}, false},
		{"ten thousand keys", many, true},
		{"no key", []any{}, true},
		{"no good key", []any{enc}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.show(jwk("k1", "ec"), jwk("old", "rsa"))
			r := newRoom(t, p.define("idp"))
			r.accepts(p.token(nil), "job")
			p.show(c.keys...)
			r.clock.forward(time.Minute)
			r.refuses(p.signed("k2", "ec2", jose.ES256, p.claims(nil)), "does not show")
			r.accepts(p.token(map[string]any{"x": 1}), "job")
			old := p.signed("old", "rsa", jose.RS256, p.claims(nil))
			if c.kept {
				r.accepts(old, "job")
			} else {
				r.refuses(old, "does not show")
			}
		})
	}
}

// TestEvilServers: answers that are no document of the issuer, or point where
// nobody should look (F-03, F-06).
func TestEvilServers(t *testing.T) {
	p, inner := newProvider(t), newProvider(t)
	inner.do(func(http.ResponseWriter, *http.Request) bool { t.Error("a server inside was asked"); return false })
	discovery := func(document map[string]any) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/.well-known/openid-configuration" {
				return false
			}
			json.NewEncoder(w).Encode(document)
			return true
		}
	}
	keysAt := func(uri string) func(http.ResponseWriter, *http.Request) bool {
		return discovery(map[string]any{"issuer": p.server.URL, "jwks_uri": uri})
	}
	port := inner.server.URL[strings.LastIndexByte(inner.server.URL, ':'):]
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		why    string
	}{
		{"F-03 another issuer", discovery(map[string]any{"issuer": p.server.URL + "/", "jwks_uri": p.server.URL + "/keys"}), "is the document of the issuer"},
		{"F-03 no issuer", discovery(map[string]any{"jwks_uri": p.server.URL + "/keys"}), "is the document of the issuer"},
		{"F-03 keys by http", keysAt("http://127.0.0.1/keys"), "only https"},
		{"F-03 keys in a file", keysAt("file:///etc/passwd"), "only https"},
		{"F-03 keys at a cloud's metadata", keysAt("https://169.254.169.254/keys"), "link-local"},
		{"F-03 keys inside by another name", keysAt("https://localhost" + port + "/keys"), "loopback"},
		{"F-03 keys inside by another address", keysAt("https://[::1]" + port + "/keys"), "loopback"},
		{"F-03 sent elsewhere", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, inner.server.URL, http.StatusFound)
			return true
		}, "redirects are not followed"},
		{"F-06 100 MB", func(w http.ResponseWriter, r *http.Request) bool {
			for range 1600 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, "longer than 1048576 bytes"},
		{"F-06 packed", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte{0x1f, 0x8b})
			return true
		}, "packed"},
		{"a page", func(w http.ResponseWriter, r *http.Request) bool { w.Write([]byte("<html>")); return true }, "no discovery document"},
		{"not found", func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.do(c.answer)
			r := newRoom(t, p.define("idp"))
			if _, err := r.ask(p.token(nil)); !errors.Is(err, access.ErrBusy) {
				t.Errorf("the answer is %v", err)
			}
			report, err := r.set.Check(t.Context(), "idp")
			text := fmt.Sprint(report.Findings)
			if err != nil || report.Ok() || !strings.Contains(text, c.why) {
				t.Errorf("the report is %s, %v; want %s", text, err, c.why)
			}
			for _, f := range report.Findings {
				if f.Level == issuer.Bad && f.Cure == "" {
					t.Errorf("no cure for %v", f)
				}
			}
		})
	}
	p.do(nil)
	r := newRoom(t, p.define("idp", func(d *issuer.Definition) { d.AllowPrivateAddresses = nil }))
	if report, _ := r.set.Check(t.Context(), "idp"); report.Ok() || !strings.Contains(fmt.Sprint(report.Findings), "loopback") {
		t.Errorf("a private address that nobody allowed: %+v", report)
	}
}

// TestGivenKeys: keys that are written down or in a file need no network; those
// in a file may change.
func TestGivenKeys(t *testing.T) {
	p := newProvider(t)
	p.do(func(http.ResponseWriter, *http.Request) bool { t.Error("the issuer was asked"); return false })
	newRoom(t, p.define("idp", func(d *issuer.Definition) { d.JWKS = staticKeys(t) })).accepts(p.token(nil), "job")

	path := filepath.Join(t.TempDir(), "keys.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(staticKeys(t).Keys)
	r := newRoom(t, p.define("idp", func(d *issuer.Definition) { d.JWKS = &issuer.JWKS{File: path} }))
	r.accepts(p.token(nil), "job")
	two, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk("k2", "ec2")}})
	write(string(two))
	r.clock.forward(time.Minute)
	r.accepts(p.signed("k2", "ec2", jose.ES256, p.claims(nil)), "job")
	write("{}")
	r.clock.forward(time.Minute)
	r.refuses(p.token(nil), "does not show")
	r.accepts(p.signed("k2", "ec2", jose.ES256, p.claims(map[string]any{"x": 1})), "job")
}

// TestKeysForABearer: a cluster shows its keys to its service accounts; only the
// address that the definition names sees the token.
func TestKeysForABearer(t *testing.T) {
	p := newProvider(t)
	p.do(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer ours" || r.URL.Path != "/keys" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	for bearer, want := range map[string]error{"ours\n": nil, "theirs": access.ErrBusy} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(bearer), 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRoom(t, p.define("cluster", func(d *issuer.Definition) {
			d.JWKS = &issuer.JWKS{URL: p.server.URL + "/keys", TokenFile: path}
		}))
		if _, err := r.ask(p.token(nil)); !errors.Is(err, want) {
			t.Errorf("with %q: %v", bearer, err)
		}
		report, err := r.set.Check(t.Context(), "cluster")
		if err != nil || report.Ok() != (want == nil) {
			t.Errorf("with %q: %+v, %v", bearer, report, err)
		}
	}
}

// TestKeysForNobody: an API server that shows strangers no keys says so by 403.
func TestKeysForNobody(t *testing.T) {
	p := newProvider(t)
	p.do(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
	for _, keys := range []*issuer.JWKS{nil, {URL: p.server.URL + "/openid/v1/jwks"}} {
		r := newRoom(t, p.define("cluster", func(d *issuer.Definition) {
			d.Issuer.URL, d.ClaimMappings, d.JWKS = "", issuer.Mappings{}, keys // the preset has them
			d.Preset, d.Parameters = "kubernetes", map[string]string{"issuer": p.server.URL}
		}))
		if report, err := r.set.Check(t.Context(), "cluster"); err != nil || !strings.Contains(fmt.Sprint(report.Findings), "system:service-account-issuer-discovery") {
			t.Errorf("%+v, %v", report, err)
		}
	}
}

// TestTakenBack: a key that the issuer took back proves nothing more once the keys
// are old, however quiet it was, also for tokens that were verified before.
func TestTakenBack(t *testing.T) {
	for _, quiet := range []time.Duration{16 * time.Minute, 20 * time.Hour} {
		p := newProvider(t)
		r := newRoom(t, p.define("idp"))
		token := p.token(map[string]any{"exp": start.Add(23 * time.Hour).Unix()})
		r.accepts(token, "job")
		p.show(jwk("k2", "ec2"))
		r.clock.forward(quiet)
		r.refuses(token, "does not show")
		now := r.clock.now().Unix()
		r.refuses(p.token(map[string]any{"iat": now, "nbf": now, "exp": now + 300}), "does not show")
	}
}

// TestOldKeysOfSlowIssuer: while the issuer cannot be asked, old keys count, and
// nobody waits for it twice in a row.
func TestOldKeysOfSlowIssuer(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("idp"))
	token := p.token(map[string]any{"exp": start.Add(23 * time.Hour).Unix()})
	r.accepts(token, "job")
	p.do(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	r.clock.forward(time.Hour)
	before := p.asked.Load()
	for range 50 {
		r.accepts(token, "job")
	}
	if n := p.asked.Load() - before; n > 2 {
		t.Errorf("an issuer that is down was asked %d times", n)
	}
}

// TestSVIDKeys: SPIFFE marks keys with a use of its own, for it alone.
func TestSVIDKeys(t *testing.T) {
	k, x := jwk("k1", "ec"), jwk("x", "ec2")
	k.Use, x.Use = "jwt-svid", "x509-svid"
	text, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k, x}})
	f := readFixture(t, "spiffe")
	d := f.definition(t, "spiffe", presetCase{})
	d.JWKS = &issuer.JWKS{Keys: string(text)}
	newRoom(t, d).accepts(f.token(t, presetCase{}), "spiffe://prod.example.org/ns/ci/builder")
	p := newProvider(t)
	if err := p.define("idp", func(d *issuer.Definition) { d.JWKS = &issuer.JWKS{Keys: string(text)} }).Validate(); err == nil {
		t.Error("keys for SPIFFE are taken for others")
	}
}
