package issuer_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// TestAuthenticate: a good token proves its principal, with the claims that the
// mapping keeps; the proof holds as long as the very definition is trusted.
func TestAuthenticate(t *testing.T) {
	p := newProvider(t)
	d := p.define("ci", func(d *issuer.Definition) {
		d.ClaimMappings.Extra = []issuer.Extra{{Key: "ref", Claim: "ref"}, {Key: "n", Claim: "n"}, {Key: "none", Claim: "none"}}
	})
	r := newRoom(t)
	token := p.token(map[string]any{"ref": "main", "n": 7})
	r.refuses(token, "not trusted")
	added, err := r.set.Add(t.Context(), d, "user:root", "")
	if err != nil {
		t.Fatal(err)
	}
	id := r.accepts(token, "job")
	if id.Principal.Issuer != p.server.URL || id.Principal.Claims["ref"] != "main" || id.Principal.Claims["n"] != "7" || len(id.Principal.Claims) != 2 {
		t.Errorf("principal %+v", id.Principal)
	}
	if id.Proof.Method != access.MethodIDToken || id.Proof.Trust != "ci@"+d.Revision() || !id.Expires.Equal(start.Add(5*time.Minute)) || id.SessionLife != time.Hour {
		t.Errorf("identity %+v", id)
	}
	resolve := func() error {
		_, err := r.set.Resolve(t.Context(), id.Principal.ID, id.Proof)
		return err
	}
	if err := resolve(); err != nil {
		t.Errorf("resolve: %v", err)
	}
	d.UserValidationRules = []issuer.UserRule{{Expression: "user.username != 'x'"}}
	if _, err := r.set.Add(t.Context(), d, "user:root", added.Revision); err != nil {
		t.Fatal(err)
	}
	if err := resolve(); err == nil {
		t.Error("a proof outlived the definition it rests on")
	}
	r.accepts(token, "job")
	if err := r.set.Remove(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	r.refuses(token, "not trusted")
}
