package issuer_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// BenchmarkAuthenticate: a token that was seen before, tokens that were not, all
// with 1,000 issuers configured, and what a start and a change of anything cost.
func BenchmarkAuthenticate(b *testing.B) {
	p := newProvider(b)
	store := newMemory()
	for i := range issuer.MaxIssuers - 1 {
		d := p.define(fmt.Sprintf("idp-%d", i), func(d *issuer.Definition) { d.Issuer.URL = fmt.Sprintf("https://idp-%d.example", i) })
		store.list[d.Name] = issuer.Stored{Name: d.Name, Document: d.YAML()}
	}
	deps := issuer.Deps{Store: store, Changes: store, Fixed: []issuer.Definition{p.define("idp")}}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			set, err := issuer.New(deps, issuer.Options{})
			if err != nil {
				b.Fatal(err)
			}
			set.Close()
		}
	})
	set, err := issuer.New(deps, issuer.Options{Now: newClock().now})
	if err != nil {
		b.Fatal(err)
	}
	defer set.Close()
	ask := func(b *testing.B, token access.Secret) access.Identity {
		id, err := set.Authenticate(b.Context(), access.IDToken{Secret: token})
		if err != nil {
			b.Fatal(err)
		}
		return id
	}
	warm := access.NewSecret(p.token(nil))
	id := ask(b, warm)
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			ask(b, warm)
		}
	})
	b.Run("resolve", func(b *testing.B) {
		for b.Loop() {
			if _, err := set.Resolve(b.Context(), id.Principal.ID, id.Proof); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		var tokens []access.Secret
		for i := range 200 {
			tokens = append(tokens, access.NewSecret(p.token(map[string]any{"n": fmt.Sprint(i, b.N)})))
		}
		for i := 0; b.Loop(); i++ {
			if i == len(tokens) {
				b.StopTimer()
				for n := range tokens {
					tokens[n] = access.NewSecret(p.token(map[string]any{"n": fmt.Sprint(n, i, b.Elapsed())}))
				}
				i = 0
				b.StartTimer()
			}
			ask(b, tokens[i])
		}
	})
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			store.generation++
			ask(b, warm)
		}
	})
}
