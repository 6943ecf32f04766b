package issuer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"go.yaml.in/yaml/v4"
)

// A fixture is the tokens of one provider, as it documents them: some must pass
// its preset and some must not.
type fixture struct {
	Parameters map[string]string
	ISS        string `yaml:"iss"`
	Life       string
	Claims     map[string]any
	Pass       []presetCase
	Refuse     []presetCase
}

type presetCase struct {
	Case       string
	Parameters map[string]string // in place of those above
	Change     map[string]any    // of the claims; null removes
	ISS        string            `yaml:"iss"`
	Life       string
	Name       string            // whom it proves
	Kept       map[string]string // claims of the principal; "" : not there
	Why        string            // it is refused
}

func readFixture(t *testing.T, preset string) fixture {
	t.Helper()
	data, err := os.ReadFile("testdata/presets/" + preset + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f fixture
	if err := yaml.Load(data, &f, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return f
}

// staticKeys is a JWKS document with the key "ec" under the id "k1".
func staticKeys(t testing.TB) *issuer.JWKS {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk("k1", "ec")}})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer.JWKS{Keys: string(text)}
}

func (f fixture) definition(t *testing.T, preset string, c presetCase) issuer.Definition {
	parameters := maps.Clone(f.Parameters)
	maps.Copy(parameters, c.Parameters)
	return issuer.Definition{
		Name: "it", Preset: preset, Parameters: parameters,
		Issuer: issuer.Issuer{Audiences: []string{audience}}, JWKS: staticKeys(t),
	}
}

func (f fixture) token(t *testing.T, c presetCase) string {
	life, err := time.ParseDuration(first(c.Life, f.Life, "5m"))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{
		"iss": first(c.ISS, f.ISS), "aud": audience,
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(life).Unix(),
	}
	maps.Copy(claims, f.Claims)
	maps.Copy(claims, c.Change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signRaw(t, `{"alg":"ES256","kid":"k1"}`, string(body), "ec", jose.ES256)
}

func first(list ...string) string {
	return list[slices.IndexFunc(list, func(s string) bool { return s != "" })]
}

// TestPresets: what each provider documents passes, and the ways around it that
// are known do not.
func TestPresets(t *testing.T) {
	for _, p := range issuer.Presets() {
		t.Run(p.Name, func(t *testing.T) {
			f := readFixture(t, p.Name)
			rooms := map[string]*room{} // by parameters
			roomOf := func(c presetCase) *room {
				key := fmt.Sprint(c.Parameters)
				if rooms[key] == nil {
					rooms[key] = newRoom(t, f.definition(t, p.Name, c))
				}
				return rooms[key].in(t)
			}
			for _, c := range f.Pass {
				t.Run(c.Case, func(t *testing.T) {
					id := roomOf(c).accepts(f.token(t, c), c.Name)
					if id.Principal.Issuer != first(c.ISS, f.ISS) {
						t.Errorf("the issuer is %s", id.Principal.Issuer)
					}
					for key, want := range c.Kept {
						if got, there := id.Principal.Claims[key]; got != want || there != (want != "") {
							t.Errorf("claim %s is %q, want %q", key, got, want)
						}
					}
				})
			}
			for _, c := range f.Refuse {
				t.Run(c.Case, func(t *testing.T) {
					if c.Why == "" {
						t.Fatal("no reason")
					}
					roomOf(c).refuses(f.token(t, c), c.Why)
				})
			}
		})
	}
}

// TestPresetParameters: what is left out, not known or not of the form is an
// error with a cure; every example fits.
func TestPresetParameters(t *testing.T) {
	for _, p := range issuer.Presets() {
		f := readFixture(t, p.Name)
		if !strings.HasPrefix(p.Source, "https://") || p.About == "" {
			t.Errorf("%s is not documented", p.Name)
		}
		for _, parameter := range p.Parameters {
			try := func(value string) error {
				return f.definition(t, p.Name, presetCase{Parameters: map[string]string{parameter.Name: value}}).Validate()
			}
			if err := try(parameter.Example); err != nil {
				t.Errorf("%s: the example of %s: %v", p.Name, parameter.Name, err)
			}
			only := slices.Contains(p.OneOf, parameter.Name) && f.Parameters[parameter.Name] != ""
			if err := try(""); (parameter.Required || only) != (err != nil) {
				t.Errorf("%s without %s: %v", p.Name, parameter.Name, err)
			}
			for _, evil := range []string{"'] || true || '' in ['", "x\"\nname: evil", "a\x00", "{{.}}", strings.Repeat("1", 2000)} {
				if err := try(evil); err == nil || hint(err) == "" {
					t.Errorf("%s: %s takes %.40q: %v", p.Name, parameter.Name, evil, err)
				}
			}
		}
		for _, other := range []map[string]string{{"nobody": "1"}, {"owner": "x"}} {
			if err := f.definition(t, p.Name, presetCase{Parameters: other}).Validate(); err == nil {
				t.Errorf("%s takes %v", p.Name, other)
			}
		}
	}
}

// TestPresetIsBoundToItsIssuer: names that mean much at one issuer are just names
// at another (F-28, F-12).
func TestPresetIsBoundToItsIssuer(t *testing.T) {
	p := newProvider(t)
	cluster := readFixture(t, "kubernetes")
	r := newRoom(t, p.define("idp"), cluster.definition(t, "kubernetes", presetCase{}))
	real := r.accepts(cluster.token(t, presetCase{}), "system:serviceaccount:my-namespace:my-serviceaccount")
	same := r.accepts(p.token(map[string]any{"sub": real.Principal.Name}), real.Principal.Name)
	if same.Principal.ID == real.Principal.ID || same.Principal.UID == real.Principal.UID {
		t.Error("two issuers prove one principal")
	}
	if _, err := r.set.Resolve(t.Context(), real.Principal.ID, same.Proof); err == nil {
		t.Error("a proof of one issuer holds for a principal of another")
	}
	evil := p.signed("k1", "ec2", jose.ES256, p.claims(map[string]any{"iss": cluster.ISS}))
	r.refuses(evil, "signature is wrong")
}

// TestPresetComesUnderneath: what is written beside a preset narrows it.
func TestPresetComesUnderneath(t *testing.T) {
	f := readFixture(t, "github")
	with := func(change func(*issuer.Definition)) issuer.Definition {
		d := f.definition(t, "github", presetCase{})
		change(&d)
		return d
	}
	token := f.token(t, presetCase{})
	newRoom(t, with(func(d *issuer.Definition) {
		d.ClaimValidationRules = []issuer.ClaimRule{{Claim: "environment", RequiredValue: "staging"}}
	})).refuses(token, "environment")
	id := newRoom(t, with(func(d *issuer.Definition) {
		d.ClaimMappings.Extra = []issuer.Extra{{Key: "number", Claim: "run_number"}}
		d.Sessions = new(issuer.Duration)
	})).accepts(token, "repo:octo-org/octo-repo:environment:prod")
	if id.Principal.Claims["number"] != "10" || id.Principal.Claims["ref"] != "refs/heads/main" || id.SessionLife != 0 {
		t.Errorf("identity %+v", id)
	}
	for _, change := range []func(*issuer.Definition){
		func(d *issuer.Definition) { d.Issuer.URL = "https://evil.example" },
		func(d *issuer.Definition) { d.ClaimMappings.Username = issuer.Mapping{Expression: "'root'"} },
		func(d *issuer.Definition) { d.ClaimMappings.Extra = []issuer.Extra{{Key: "ref", Claim: "head_ref"}} },
		func(d *issuer.Definition) { d.Preset = "gitea" },
		func(d *issuer.Definition) { d.Preset = "" },
	} {
		if err := with(change).Validate(); err == nil || hint(err) == "" {
			t.Errorf("a preset is overruled: %v", err)
		}
	}
}

func hint(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

var _ access.Authenticator = (*issuer.Set)(nil)
