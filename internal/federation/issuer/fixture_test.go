package issuer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

const audience = "registry.example.com"

// start is when the clock of tests begins.
var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// A clock is moved by the test.
type clock struct{ at atomic.Int64 }

func newClock() *clock { c := new(clock); c.at.Store(start.UnixNano()); return c }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

// A memory keeps definitions as the database does.
type memory struct {
	mu         sync.Mutex
	list       map[string]issuer.Stored
	generation int64
	queries    int
}

func newMemory() *memory { return &memory{list: map[string]issuer.Stored{}} }

func (m *memory) Generation(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation < 0 {
		return 0, errors.New("the database is away")
	}
	return m.generation, nil
}

func (m *memory) Issuers(context.Context) ([]issuer.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries++
	var out []issuer.Stored
	for _, name := range slices.Sorted(maps.Keys(m.list)) {
		out = append(out, m.list[name])
	}
	return out, nil
}

func (m *memory) SaveIssuer(_ context.Context, s issuer.Stored, replaces string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, ok := m.list[s.Name]
	switch {
	case ok && replaces == "":
		return issuer.ErrExists
	case !ok && replaces != "":
		return issuer.ErrUnknown
	case ok && before.Revision() != replaces:
		return issuer.ErrChanged
	}
	m.list[s.Name] = s
	m.generation++
	return nil
}

func (m *memory) RemoveIssuer(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.list[name]; !ok {
		return issuer.ErrUnknown
	}
	delete(m.list, name)
	m.generation++
	return nil
}

// A provider is an issuer that does what the test wants, evil things too.
type provider struct {
	t      testing.TB
	server *httptest.Server
	asked  atomic.Int64 // requests for keys
	mu     sync.Mutex
	keys   []any                                                    // of the JWKS document
	answer func(w http.ResponseWriter, r *http.Request) (done bool) // first, if set
}

// signers are made once: keys of RSA are dear.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	out := map[string]crypto.Signer{}
	for _, name := range []string{"rsa", "rsa2"} {
		out[name], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	for name, curve := range map[string]elliptic.Curve{"ec": elliptic.P256(), "ec2": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521()} {
		out[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	return out
})

func jwk(kid, signer string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: signers()[signer].Public(), KeyID: kid, Use: "sig"}
}

// newProvider starts an issuer with the key "ec" of the id "k1".
func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{t: t}
	p.server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	p.server.Config.ErrorLog = nil
	t.Cleanup(p.server.Close)
	p.show(jwk("k1", "ec"))
	return p
}

// show makes these the keys.
func (p *provider) show(keys ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

// do makes answer come before all others.
func (p *provider) do(answer func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	answer, keys := p.answer, p.keys
	p.mu.Unlock()
	if r.URL.Path == "/keys" {
		p.asked.Add(1)
	}
	w.Header().Set("Date", start.Format(http.TimeFormat))
	if answer != nil && answer(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]string{"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys"})
	case "/keys":
		json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

func (p *provider) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
}

// define returns a definition that trusts p.
func (p *provider) define(name string, change ...func(*issuer.Definition)) issuer.Definition {
	d := issuer.Definition{
		Name:                  name,
		Issuer:                issuer.Issuer{URL: p.server.URL, CertificateAuthority: p.ca(), Audiences: []string{audience}},
		ClaimMappings:         issuer.Mappings{Username: issuer.Mapping{Claim: "sub", Prefix: new(string)}},
		AllowPrivateAddresses: []string{"127.0.0.1"},
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

// claims are those of a good token.
func (p *provider) claims(change map[string]any) map[string]any {
	out := map[string]any{
		"iss": p.server.URL, "sub": "job", "aud": audience,
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(5 * time.Minute).Unix(),
	}
	for key, value := range change {
		if value == nil {
			delete(out, key)
			continue
		}
		out[key] = value
	}
	return out
}

// token signs claims with the key "ec" under the id "k1".
func (p *provider) token(change map[string]any) string {
	return p.signed("k1", "ec", jose.ES256, p.claims(change))
}

func (p *provider) signed(kid, signer string, alg jose.SignatureAlgorithm, claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	return signRaw(p.t, fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, kid), string(body), signer, alg)
}

// signRaw signs any header and any payload: what no library would make.
func signRaw(t testing.TB, header, payload, signer string, alg jose.SignatureAlgorithm) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return text + "." + base64.RawURLEncoding.EncodeToString(signature(t, text, signer, alg))
}

// signature is of JWS (RFC 7518 §3), by the library's signer for an opaque
// payload: its input is the same.
func signature(t testing.TB, input, signer string, alg jose.SignatureAlgorithm) []byte {
	t.Helper()
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(alg)[2:]]
	h := hash.New()
	h.Write([]byte(input))
	switch key := signers()[signer].(type) {
	case *rsa.PrivateKey:
		var opts crypto.SignerOpts = hash
		if strings.HasPrefix(string(alg), "PS") {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
		out, err := key.Sign(rand.Reader, h.Sum(nil), opts)
		if err != nil {
			t.Fatal(err)
		}
		return out
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		size := (key.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	}
	t.Fatal("no such signer")
	return nil
}

// A room is a Set with a store and a clock.
type room struct {
	t     testing.TB
	set   *issuer.Set
	store *memory
	clock *clock
}

func newRoom(t testing.TB, fixed ...issuer.Definition) *room {
	t.Helper()
	r := &room{t: t, store: newMemory(), clock: newClock()}
	set, err := issuer.New(issuer.Deps{Store: r.store, Changes: r.store, Fixed: fixed}, issuer.Options{Now: r.clock.now, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	r.set = set
	return r
}

// in returns r for a part of a test.
func (r *room) in(t testing.TB) *room { return &room{t, r.set, r.store, r.clock} }

func (r *room) ask(token string) (access.Identity, error) {
	return r.set.Authenticate(r.t.Context(), access.IDToken{Secret: access.NewSecret(token)})
}

// accepts demands that token proves name.
func (r *room) accepts(token, name string) access.Identity {
	r.t.Helper()
	id, err := r.ask(token)
	if err != nil {
		r.t.Fatalf("refused: %v", err)
	}
	if id.Principal.Name != name || id.Principal.Kind != access.External {
		r.t.Fatalf("proves %v, want %s", id.Principal, name)
	}
	return id
}

// refuses demands that token proves nobody, for a reason with these words.
func (r *room) refuses(token, words string) {
	r.t.Helper()
	id, err := r.ask(token)
	if err == nil {
		r.t.Fatalf("accepted as %v", id.Principal)
	}
	if !errors.Is(err, access.ErrBadCredential) || !strings.Contains(err.Error(), words) {
		r.t.Fatalf("refused with %v, want %q", err, words)
	}
}
