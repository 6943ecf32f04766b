package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	outsideAudience = "registry.bench.test" // what tokens of issuers are made for
	issuerPath      = "/_services/token"    // as on a GitHub of one's own
)

// An idp signs tokens with the claims of GitHub Actions. Its server is on
// loopback and shows the keys.
type idp struct {
	*httptest.Server
	rs, es jose.Signer
}

func newIDP() (*idp, error) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &idp{}
	mux := http.NewServeMux()
	answer := func(path string, of func() any) {
		mux.HandleFunc("GET "+issuerPath+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(of())
		})
	}
	answer("/.well-known/openid-configuration", func() any { return map[string]any{"issuer": i.issuer(), "jwks_uri": i.issuer() + "/keys"} })
	answer("/keys", func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: r.Public(), KeyID: "rs", Algorithm: "RS256", Use: "sig"},
			{Key: e.Public(), KeyID: "es", Algorithm: "ES256", Use: "sig"},
		}}
	})
	i.Server = httptest.NewUnstartedServer(mux)
	i.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.StartTLS()
	sign := func(alg jose.SignatureAlgorithm, key crypto.Signer, kid string) (jose.Signer, error) {
		return jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	}
	if i.rs, err = sign(jose.RS256, r, "rs"); err != nil {
		return nil, err
	}
	i.es, err = sign(jose.ES256, e, "es")
	return i, err
}

// tokenAs returns a new token that says it is of an issuer.
func tokenAs(issuer string, by jose.Signer) (string, error) {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "aud": outsideAudience, "iat": now, "nbf": now, "exp": now + 600, "jti": rand.Text(),
		"sub": "repo:octo-org/octo-repo:ref:refs/heads/main", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
		"sha": "5b8b2d0f5a3c1e9d7f6a4b3c2d1e0f9a8b7c6d5e", "repository": "octo-org/octo-repo", "repository_id": "74",
		"repository_owner": "octo-org", "repository_owner_id": "65", "repository_visibility": "private",
		"run_id": "6281234567", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted",
		"actor": "octocat", "actor_id": "12", "workflow": "release", "event_name": "push", "head_ref": "", "base_ref": "",
		"workflow_ref":     "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
		"job_workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
	})
	if err != nil {
		return "", err
	}
	jws, err := by.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// definition is how the issuer on a host is trusted: with the rules of GitHub's
// preset.
func definition(name, host, ca string) string {
	return fmt.Sprintf(`- name: %s
  preset: github
  parameters: {owner_id: "65", issuer: "https://%s%s"}
  issuer: {audiences: [%s], certificateAuthority: %q}
  allowPrivateAddresses: [%q]
`, name, host, issuerPath, outsideAudience, ca, host)
}

func (i *idp) definition() string {
	var ca bytes.Buffer
	pem.Encode(&ca, &pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	return definition("healthy", i.Listener.Addr().String(), ca.String())
}

func (i *idp) issuer() string { return i.URL + issuerPath }

// hang takes connections on an address and never says anything on them.
func hang(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	return l, nil
}
