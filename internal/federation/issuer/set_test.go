package issuer_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
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
	if id.Proof.Method != access.MethodIDToken || !strings.HasPrefix(id.Proof.Trust, "ci@"+d.Revision()+".") || !id.Expires.Equal(start.Add(5*time.Minute)) || id.SessionLife != time.Hour {
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

// TestEnd: what a token proves ends with it, and a cached one is not better.
func TestEnd(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("idp"))
	token := p.token(nil)
	r.accepts(token, "job")
	r.clock.forward(5*time.Minute + 59*time.Second)
	if id := r.accepts(token, "job"); !id.Expires.Equal(start.Add(6 * time.Minute)) {
		t.Errorf("within the leeway it ends at %s", id.Expires)
	}
	r.clock.forward(time.Second)
	_, err := r.ask(token)
	if !errors.Is(err, access.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
}

// TestRefused: the record learns who signed a token that was refused and what it
// said, but nothing that was not verified.
func TestRefused(t *testing.T) {
	p := newProvider(t)
	d := p.define("idp", func(d *issuer.Definition) {
		d.ClaimValidationRules = []issuer.ClaimRule{{Expression: "claims.ref == 'main'", Message: "only main"}}
		d.ClaimMappings.Extra = []issuer.Extra{{Key: "ref", Claim: "ref"}, {Key: "bad", ValueExpression: "claims.nothing"}}
	})
	r := newRoom(t, d)
	_, err := r.ask(p.token(map[string]any{"ref": "evil"}))
	refused, ok := errors.AsType[*access.Refused](err)
	if !ok || refused.Proof.Trust != "idp@"+d.Revision() || refused.Claims["ref"] != "evil" || refused.Claims["sub"] != "job" || !strings.Contains(err.Error(), "only main") {
		t.Errorf("a rule: %+v, %v", refused, err)
	}
	for _, token := range []string{
		p.signed("k1", "ec2", jose.ES256, p.claims(map[string]any{"sub": "canary"})),
		p.token(map[string]any{"iss": "https://canary.test"}),
		p.signed("canary", "ec", jose.ES256, p.claims(nil)),
		signRaw(t, `{"alg":"canary"}`, `{"canary":1,"canary":2}`, "ec", jose.ES256),
	} {
		_, err := r.ask(token)
		refused, ok := errors.AsType[*access.Refused](err)
		if !ok || refused.Claims != nil || refused.Proof != (access.Proof{}) || strings.Contains(err.Error(), "canary") {
			t.Errorf("unverified: %+v, %v", refused, err)
		}
	}
	if _, err := r.set.Authenticate(t.Context(), access.Password{Secret: access.NewSecret(p.token(nil))}); !errors.Is(err, access.ErrBadCredential) {
		t.Errorf("another kind of credential: %v", err)
	}
}

// TestManage: who adds, replaces and removes what; the file and the database are
// one list.
func TestManage(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	fixed := p.define("fixed")
	r := newRoom(t, fixed)
	ctx := t.Context()
	add := func(d issuer.Definition, replaces string) error {
		_, err := r.set.Add(ctx, d, "user:root", replaces)
		return err
	}
	mine := other.define("mine")
	changed := other.define("mine", func(d *issuer.Definition) { d.Sessions = new(issuer.Duration) })
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"the file's name", add(other.define("fixed"), ""), issuer.ErrFixed},
		{"the file's URL", add(p.define("mine"), ""), issuer.ErrExists},
		{"none to replace", add(mine, "x"), issuer.ErrUnknown},
		{"new", add(mine, ""), nil},
		{"again", add(mine, ""), issuer.ErrExists},
		{"its URL", add(other.define("another"), ""), issuer.ErrExists},
		{"of another revision", add(changed, changed.Revision()), issuer.ErrChanged},
		{"of its revision", add(changed, mine.Revision()), nil},
		{"remove the file's", r.set.Remove(ctx, "fixed"), issuer.ErrFixed},
		{"remove none", r.set.Remove(ctx, "none"), issuer.ErrUnknown},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	list, err := r.set.List(ctx)
	if err != nil || len(list) != 2 || list[0].Definition.Name != "fixed" || !list[0].Fixed || list[1].Author != "user:root" || list[1].Revision != changed.Revision() {
		t.Errorf("list %+v, %v", list, err)
	}
	if e, err := r.set.Find(ctx, "mine"); err != nil || e.Revision != changed.Revision() {
		t.Errorf("find: %+v, %v", e, err)
	}
	for _, d := range []issuer.Definition{
		p.define("us", func(d *issuer.Definition) {
			d.Issuer.URL, d.Issuer.Audiences = "https://"+audience, []string{"other.example.com"}
		}),
		p.define("f1", func(d *issuer.Definition) { d.JWKS = &issuer.JWKS{File: "/etc/passwd"} }),
		p.define("f2", func(d *issuer.Definition) {
			d.Issuer.CertificateAuthority, d.Issuer.CertificateAuthorityFile = "", "/etc/passwd"
		}),
		p.define("f3", func(d *issuer.Definition) {
			d.TokenReview = &issuer.TokenReview{URL: "https://evil.test", TokenFile: "/etc/shadow"}
		}),
		p.define("f4", func(d *issuer.Definition) { d.JWKS = &issuer.JWKS{URL: "https://evil.test", TokenFile: "/etc/shadow"} }),
		{Name: "f5", Preset: "kubernetes-in-cluster", Issuer: issuer.Issuer{Audiences: []string{audience}}},
	} {
		if err := add(d, ""); err == nil || hint(err) == "" {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

// TestClash: where the file and the database have one issuer, the start fails, and
// a running process trusts neither.
func TestClash(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("fixed"))
	token := p.token(nil)
	r.accepts(token, "job")
	stored := issuer.Stored{Name: "stored", Document: p.define("stored").YAML()}
	if err := r.store.SaveIssuer(t.Context(), stored, ""); err != nil {
		t.Fatal(err)
	}
	r.refuses(token, "not trusted")
	if list, _ := r.set.List(t.Context()); len(list) != 2 || list[0].Problem == "" || list[1].Problem == "" {
		t.Errorf("list %+v", list)
	}
	if _, err := issuer.New(issuer.Deps{Store: r.store, Changes: r.store, Fixed: []issuer.Definition{p.define("fixed")}}, issuer.Options{}); err == nil || hint(err) == "" {
		t.Errorf("start: %v", err)
	}
	if err := r.set.Remove(t.Context(), "stored"); err != nil {
		t.Fatal(err)
	}
	r.accepts(token, "job")
}

// TestStored: what the database has and we cannot read is shown and not trusted;
// files of ours are not read for it; nothing is decided while it is away; and it
// is asked once for a generation.
func TestStored(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t)
	for name, document := range map[string]string{
		"broken": "name: broken\nfuture: yes\n",
		"other":  string(p.define("name").YAML()),
		"files":  string(p.define("files", func(d *issuer.Definition) { d.JWKS = &issuer.JWKS{File: "/dev/null"} }).YAML()),
	} {
		r.store.list = map[string]issuer.Stored{name: {Name: name, Document: []byte(document)}}
		r.store.generation++
		r.refuses(p.token(nil), "not trusted")
		if list, err := r.set.List(t.Context()); err != nil || len(list) != 1 || list[0].Problem == "" || list[0].Definition.Name != name {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
		if report, err := r.set.Check(t.Context(), name); err != nil || report.Ok() {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	r.store.list = map[string]issuer.Stored{"idp": {Name: "idp", Document: p.define("idp").YAML()}}
	r.store.generation++
	before := r.store.queries
	id := r.accepts(p.token(nil), "job")
	for range 100 {
		if _, err := r.set.Resolve(t.Context(), id.Principal.ID, id.Proof); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.store.queries - before; n != 1 {
		t.Errorf("%d queries for one generation", n)
	}
	asked := p.asked.Load()
	r.store.generation++ // somebody changed something else
	r.accepts(p.token(map[string]any{"x": 1}), "job")
	if p.asked.Load() != asked {
		t.Error("keys were fetched again for a change of something else")
	}
	r.store.generation = -1
	for _, ask := range []func() error{
		func() error { _, err := r.ask(p.token(nil)); return err },
		func() error { _, err := r.set.Resolve(t.Context(), id.Principal.ID, id.Proof); return err },
		func() error { _, err := r.set.List(t.Context()); return err },
	} {
		if err := ask(); err == nil || errors.Is(err, access.ErrBadCredential) {
			t.Errorf("without the database: %v", err)
		}
	}
}

// TestResolve: a proof counts for the principal, the issuer and the definition
// that it was made for.
func TestResolve(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("idp"))
	id := r.accepts(p.token(nil), "job")
	for _, c := range []struct {
		name   string
		change func(*access.ID, *access.Proof)
	}{
		{"another issuer", func(id *access.ID, _ *access.Proof) { id.Issuer += "/" }},
		{"a local account", func(id *access.ID, _ *access.Proof) { id.Issuer = "" }},
		{"another method", func(_ *access.ID, p *access.Proof) { p.Method = "certificate" }},
		{"another name", func(_ *access.ID, p *access.Proof) { p.Trust = "x" + p.Trust }},
		{"another revision", func(_ *access.ID, p *access.Proof) { p.Trust += "0" }},
		{"nothing", func(_ *access.ID, p *access.Proof) { p.Trust = "" }},
	} {
		who, proof := id.Principal.ID, id.Proof
		c.change(&who, &proof)
		if _, err := r.set.Resolve(t.Context(), who, proof); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	got, err := r.set.Resolve(t.Context(), id.Principal.ID, id.Proof)
	if err != nil || got.Principal.UID != id.Principal.UID || len(got.Principal.Claims) != 0 || got.Proof != id.Proof {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestReports: Check says what is right, and Test what a token proves or which
// rule refused it.
func TestReports(t *testing.T) {
	p := newProvider(t)
	enc := jwk("e", "ec2")
	enc.Use = "enc"
	p.show(jwk("k1", "ec"), enc)
	d := p.define("idp", func(d *issuer.Definition) {
		d.ClaimMappings.Extra = []issuer.Extra{{Key: "ref", Claim: "ref"}}
	})
	r := newRoom(t, d)
	report, err := r.set.Check(t.Context(), "idp")
	if text := fmt.Sprint(report.Findings); err != nil || !report.Ok() || !strings.Contains(text, `1 keys: "k1"`) || !strings.Contains(text, "its use is") {
		t.Errorf("report %s, %v", text, err)
	}
	for off, want := range map[time.Duration]issuer.Level{-5 * time.Second: issuer.Good, 30 * time.Second: issuer.Warning, -2 * time.Minute: issuer.Bad} {
		p.do(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", start.Add(off).Format(http.TimeFormat))
			return false
		})
		report, err := r.set.Check(t.Context(), "idp")
		if last := report.Findings[len(report.Findings)-1]; err != nil || last.Subject != "clock" || last.Level != want {
			t.Errorf("a clock that is %s off: %+v, %v", off, last, err)
		}
	}
	p.do(nil)
	if _, err := r.set.Check(t.Context(), "none"); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("of none: %v", err)
	}
	d.Name, d.Issuer.Audiences = "new", []string{"other.example.com"}
	report, err = r.set.CheckDefinition(t.Context(), d)
	if err != nil || !report.Ok() || report.Findings[0].Level != issuer.Warning {
		t.Errorf("another audience: %+v, %v", report, err)
	}
	for _, c := range []struct {
		token            string
		name, issuer     string
		refused, withRef string
	}{
		{p.token(map[string]any{"ref": "main"}), "job", "idp", "", "main"},
		{p.token(map[string]any{"ref": "main", "aud": "x"}), "", "idp", "it is made for [\"x\"]", "main"},
		{p.token(map[string]any{"iss": "https://other.test"}), "", "", `not trusted: "https://other.test"`, ""},
		{"x", "", "", "not a signed token", ""},
	} {
		got, err := r.set.Test(t.Context(), access.NewSecret(c.token))
		if err != nil || got.Name != c.name || got.Issuer != c.issuer || !strings.Contains(got.Refused, c.refused) || (got.Refused == "") != (c.refused == "") || got.Claims["ref"] != c.withRef || c.refused != "" && got.Cure == "" {
			t.Errorf("%+v, %v; want %+v", got, err, c)
		}
	}
}

// TestAddedAgain: what came of a definition that was removed stays ended when the
// very same one is added again, whenever it was written down.
func TestAddedAgain(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t)
	add := func() {
		t.Helper()
		if _, err := r.set.Add(t.Context(), p.define("ci"), "user:root", ""); err != nil {
			t.Fatal(err)
		}
	}
	add()
	before := r.accepts(p.token(nil), "job")
	if err := r.set.Remove(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	r.clock.forward(time.Second)
	add()
	after := r.accepts(p.token(nil), "job")
	if _, err := r.set.Resolve(t.Context(), before.Principal.ID, before.Proof); !errors.Is(err, access.ErrBadCredential) {
		t.Errorf("what a login began before lives again: %v", err)
	}
	if _, err := r.set.Resolve(t.Context(), after.Principal.ID, after.Proof); err != nil {
		t.Error(err)
	}
}

// TestOwnTokensInFile: a definition of the file cannot name this registry either.
func TestOwnTokensInFile(t *testing.T) {
	own := newProvider(t).define("own", func(d *issuer.Definition) {
		d.Issuer.URL, d.Issuer.Audiences = "https://"+audience, []string{"other.example.com"}
	})
	store := newMemory()
	_, err := issuer.New(issuer.Deps{Store: store, Changes: store, Fixed: []issuer.Definition{own}}, issuer.Options{Audience: audience})
	if err == nil || !strings.Contains(err.Error(), "is this registry") {
		t.Errorf("at the start: %v", err)
	}
	if _, err := newRoom(t).set.SetFixed(t.Context(), []issuer.Definition{own}); err == nil || !strings.Contains(err.Error(), "is this registry") {
		t.Errorf("later: %v", err)
	}
}

// TestReach: who is let in by a preset that names nobody is said.
func TestReach(t *testing.T) {
	for namespaces, want := range map[string]bool{"": true, "prod": false} {
		f := readFixture(t, "kubernetes")
		d := f.definition(t, "kubernetes", presetCase{Parameters: map[string]string{"namespaces": namespaces}})
		report, err := newRoom(t, d).set.Check(t.Context(), "it")
		if err != nil {
			t.Fatal(err)
		}
		said := slices.ContainsFunc(report.Findings, func(f issuer.Finding) bool {
			return f.Level == issuer.Warning && strings.Contains(f.Text, "every service account")
		})
		if said != want {
			t.Errorf("namespaces %q: %+v", namespaces, report.Findings)
		}
	}
}
