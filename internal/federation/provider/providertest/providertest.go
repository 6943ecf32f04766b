// Package providertest is an OpenID provider for tests, which says what it is told
// to: also what no real one would.
package providertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Provider listens on loopback, with a certificate that CA vouches for.
type Provider struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	srv *httptest.Server

	mu sync.Mutex
	// What it says; each may be changed between requests.
	Claims   map[string]any // of the next ID token, over the usual ones; nil removes
	UserInfo map[string]any // nil: there is no such endpoint
	Metadata map[string]any // over the usual
	Refresh  string         // the refresh token that it gives, or ""
	Refuse   string         // the error of the token endpoint, or ""
	NoID     bool           // answer without an ID token
	Key      *ecdsa.PrivateKey
	// What it was asked.
	Asked  []url.Values // forms at the token endpoint
	codes  map[string]url.Values
	Now    func() time.Time
	Client string
}

// New starts a provider for the client "reg".
func New(t testing.TB) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, codes: map[string]url.Values{}, Now: time.Now, Client: "reg"}
	p.srv = httptest.NewTLSServer(p)
	t.Cleanup(p.srv.Close)
	return p
}

// Issuer returns its URL.
func (p *Provider) Issuer() string { return p.srv.URL }

// CA returns the authority for its certificate, in PEM form.
func (p *Provider) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.srv.Certificate().Raw})
}

// Do changes what it says.
func (p *Provider) Do(change func(*Provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// Authorize is what a browser does whose user says yes: it returns the query with
// which it is sent back.
func (p *Provider) Authorize(to string) url.Values {
	p.t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		p.t.Fatal(err)
	}
	code := rand.Text()
	p.Do(func(p *Provider) { p.codes[code] = u.Query() })
	return url.Values{"code": {code}, "state": {u.Query().Get("state")}}
}

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		m := map[string]any{
			"issuer": p.srv.URL, "authorization_endpoint": p.srv.URL + "/authorize", "token_endpoint": p.srv.URL + "/token",
			"jwks_uri": p.srv.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"},
		}
		if p.UserInfo != nil {
			m["userinfo_endpoint"] = p.srv.URL + "/userinfo"
		}
		write(w, http.StatusOK, over(m, p.Metadata))
	case "/keys":
		write(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	case "/userinfo":
		write(w, http.StatusOK, p.UserInfo)
	case "/token":
		p.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.t.Error(err)
	}
	p.Asked = append(p.Asked, r.PostForm)
	began, ok := p.codes[r.PostForm.Get("code")]
	delete(p.codes, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case p.Refuse != "":
		write(w, http.StatusBadRequest, map[string]any{"error": p.Refuse, "error_description": "canary of " + r.PostForm.Get("refresh_token")})
		return
	case r.PostForm.Get("grant_type") == "refresh_token":
	case !ok, base64.RawURLEncoding.EncodeToString(sum[:]) != began.Get("code_challenge"), began.Get("redirect_uri") != r.PostForm.Get("redirect_uri"):
		write(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	answer := map[string]any{"access_token": "at", "token_type": "Bearer", "expires_in": 60}
	if p.Refresh != "" {
		answer["refresh_token"] = p.Refresh
	}
	if !p.NoID {
		answer["id_token"] = p.idToken(began.Get("nonce"))
	}
	write(w, http.StatusOK, answer)
}

func (p *Provider) idToken(nonce string) string {
	key := p.key
	if p.Key != nil {
		key = p.Key
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	now := p.Now()
	payload, err := json.Marshal(over(map[string]any{
		"iss": p.srv.URL, "sub": "s1", "aud": p.Client, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}, p.Claims))
	if err != nil {
		p.t.Error(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// over returns m with changes, where nil removes.
func over(m, changes map[string]any) map[string]any {
	for name, value := range changes {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return m
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
