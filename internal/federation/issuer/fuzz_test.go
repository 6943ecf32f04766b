package issuer_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// FuzzClaims: whatever an issuer's token says beside a name, it proves that name or
// nobody, and what is kept of it is what it says, and short.
func FuzzClaims(f *testing.F) {
	for _, more := range []string{`"x":"y"`, `"sub":"root"`, `"ſub":"root"`, `"x":[1]`, `"x":true`, `"x":1e3`, `"x":"\ud800"`, `"x":null},{"sub":"a"`, `"aud":[]`, `"exp":1`} {
		f.Add(more)
	}
	p := newProvider(f)
	r := newRoom(f, p.define("idp", func(d *issuer.Definition) {
		d.JWKS = staticKeys(f)
		d.ClaimMappings.Extra = []issuer.Extra{{Key: "x", Claim: "x"}}
	}))
	f.Fuzz(func(t *testing.T, more string) {
		text := p.rawClaims(nil, ","+more)
		id, err := r.in(t).ask(signRaw(t, `{"alg":"ES256","kid":"k1"}`, text, "ec", jose.ES256))
		if err != nil {
			return
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(text), &claims); err != nil || id.Principal.Name != "job" || claims["sub"] != "job" {
			t.Fatalf("%s proves %v", text, id.Principal)
		}
		kept, ok := id.Principal.Claims["x"]
		if said, isText := claims["x"].(string); len(kept) > 1024 || len(id.Principal.Claims) > 1 || isText && kept != said || ok && claims["x"] == nil {
			t.Fatalf("%s: %q is kept", text, kept)
		}
	})
}

// FuzzDefinition: what is read is written in one form that means the same.
func FuzzDefinition(f *testing.F) {
	f.Add(kubernetesExample)
	f.Add("name: gh\npreset: github\nparameters: {owner_id: 65, events: 'push, schedule'}\nissuer: {audiences: [registry.example.com]}\nsessions: 0s\n")
	f.Add("name: a\nissuer: {url: https://a.test, audiences: [b]}\nclaimMappings: {username: {claim: sub, prefix: \"\\u0085\"}}\n")
	f.Fuzz(func(t *testing.T, document string) {
		d, err := issuer.Parse([]byte(document))
		if err != nil {
			return
		}
		again, err := issuer.Parse(d.YAML())
		if err != nil || string(again.YAML()) != string(d.YAML()) || again.Revision() != d.Revision() {
			t.Fatalf("%q became %q: %v", document, d.YAML(), err)
		}
		if strings.ContainsAny(d.Name, "@/ ") || len(d.Issuer.Audiences) == 0 {
			t.Fatalf("%q is a definition", document)
		}
	})
}

// FuzzKeys: whatever an issuer shows as its keys, none that is used is weak.
func FuzzKeys(f *testing.F) {
	f.Add(staticKeys(f).Keys)
	f.Add(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`)
	f.Fuzz(func(t *testing.T, document string) {
		for _, k := range issuer.Keys([]byte(document)) {
			if !k.IsPublic() || !k.Valid() || k.Use != "" && k.Use != "sig" {
				t.Fatalf("%s: %+v is used", document, k)
			}
		}
	})
}
