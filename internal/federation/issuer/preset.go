package issuer

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
)

//go:embed presets
var presetFiles embed.FS

// A Preset is a definition that is written already, but for its parameters.
type Preset struct {
	Name       string
	About      string // one line
	Source     string // where the issuer documents its tokens
	Parameters []Parameter
	// OneOf are parameters of which one at least is needed: without any the issuer
	// would speak for everyone.
	OneOf []string
	// Template is the definition: YAML with the actions of text/template.
	Template string
}

// A Parameter is what a preset leaves open: a text, or several with commas
// between them.
type Parameter struct {
	Name     string
	About    string
	Example  string
	Default  string // "" and not Required: the rule is left out
	Required bool
	Many     bool
	Pattern  string // each text matches it whole
}

const maxGiven = 100 // values of a parameter

// Patterns of parameters. None lets a text end the quotes it is put in.
const (
	number   = `[0-9]{1,30}`
	uuid     = `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	word     = `[a-z][a-z0-9_]{0,63}`
	yesNo    = `true|false`
	httpsURL = `https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?`
)

// Presets returns all presets, by name.
func Presets() []Preset { return slices.Clone(allPresets()) }

var allPresets = sync.OnceValue(func() []Preset {
	out := []Preset{githubPreset, gitlabPreset, kubernetesPreset, inClusterPreset, buildkitePreset, circlePreset, googlePreset, azurePreset, awsPreset, spiffePreset}
	for i := range out {
		text, err := presetFiles.ReadFile("presets/" + strings.TrimSuffix(out[i].Name, "-in-cluster") + ".yaml")
		if err != nil {
			panic(err) // it is built in
		}
		out[i].Template = string(text)
	}
	slices.SortFunc(out, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return out
})

// expand returns d with what its preset says written out. Errors: *Invalid.
func (d Definition) expand() (Definition, error) {
	if d.Preset == "" {
		if len(d.Parameters) > 0 {
			return Definition{}, invalid("parameters", "name a preset, or leave them out", "they are for a preset")
		}
		return d, nil
	}
	i := slices.IndexFunc(allPresets(), func(p Preset) bool { return p.Name == d.Preset })
	if i < 0 {
		var names []string
		for _, p := range allPresets() {
			names = append(names, p.Name)
		}
		return Definition{}, invalid("preset", "write one of "+strings.Join(names, ", "), "%.40q is not known", d.Preset)
	}
	switch m := d.ClaimMappings; {
	case d.Issuer.URL != "":
		return Definition{}, invalid("issuer.url", "leave it out, or write the whole definition without a preset", "the preset says it")
	case m.Username != (Mapping{}) || m.UID != (Mapping{}):
		return Definition{}, invalid("claimMappings.username", "leave username and uid out, or write the whole definition without a preset", "the preset says it")
	}
	base, err := allPresets()[i].expand(d.Parameters)
	if err != nil {
		return Definition{}, err
	}
	return base.under(d), nil
}

// under returns the definition of a preset with d on top of it.
func (base Definition) under(d Definition) Definition {
	out := d
	out.Parameters = nil
	out.Issuer.URL = base.Issuer.URL
	if d.Issuer.CertificateAuthority == "" && d.Issuer.CertificateAuthorityFile == "" {
		out.Issuer.CertificateAuthorityFile = base.Issuer.CertificateAuthorityFile
	}
	out.ClaimValidationRules = slices.Concat(base.ClaimValidationRules, d.ClaimValidationRules)
	out.UserValidationRules = slices.Concat(base.UserValidationRules, d.UserValidationRules)
	out.ClaimMappings.Username = base.ClaimMappings.Username
	out.ClaimMappings.Extra = slices.Concat(base.ClaimMappings.Extra, d.ClaimMappings.Extra)
	out.AllowPrivateAddresses = slices.Concat(base.AllowPrivateAddresses, d.AllowPrivateAddresses)
	if d.MaxTokenLife == 0 {
		out.MaxTokenLife = base.MaxTokenLife
	}
	if d.JWKS == nil && d.Issuer.DiscoveryURL == "" {
		out.JWKS = base.JWKS
	}
	if d.TokenReview == nil {
		out.TokenReview = base.TokenReview
	}
	return out
}

// expand fills the template.
func (p Preset) expand(given map[string]string) (Definition, error) {
	values, err := p.values(given)
	if err != nil {
		return Definition{}, err
	}
	t, err := template.New(p.Name).Funcs(template.FuncMap{"list": celList}).Parse(p.Template)
	if err != nil {
		return Definition{}, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return Definition{}, err
	}
	var d Definition
	if err := decode(text.Bytes(), &d); err != nil {
		return Definition{}, fmt.Errorf("preset %s: %w", p.Name, err)
	}
	return d, nil
}

// celList writes texts as a list of CEL.
func celList(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = "'" + v + "'"
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// values checks what is given for the parameters: a text each, or a list.
func (p Preset) values(given map[string]string) (map[string]any, error) {
	out := map[string]any{}
	for _, parameter := range p.Parameters {
		v, err := parameter.value(given[parameter.Name])
		if err != nil {
			return nil, err
		}
		out[parameter.Name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := out[name]; !ok {
			return nil, invalid("parameters."+name, "the preset "+p.Name+" has "+strings.Join(slices.Sorted(maps.Keys(out)), ", "), "not known")
		}
	}
	return out, p.together(out)
}

func (p Parameter) value(given string) (any, error) {
	field := "parameters." + p.Name
	if given == "" {
		given = p.Default
	}
	if given == "" && p.Required {
		return nil, invalid(field, "write "+p.About+", as in "+p.Example, "missing")
	}
	pattern, err := regexp.Compile(`\A(?:` + p.Pattern + `)\z`)
	if err != nil {
		return nil, err
	}
	var list []string
	for part := range strings.SplitSeq(given, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	if len(list) > maxGiven || len(list) > 1 && !p.Many {
		return nil, invalid(field, "write fewer", "%d values", len(list))
	}
	for _, v := range list {
		if len(v) > maxText || !pattern.MatchString(v) {
			return nil, invalid(field, "write "+p.About+", as in "+p.Example, "%s does not fit", strconv.QuoteToASCII(v[:min(len(v), 80)]))
		}
	}
	if p.Many {
		return list, nil
	}
	return strings.Join(list, ""), nil
}

// together checks OneOf.
func (p Preset) together(values map[string]any) error {
	for _, name := range p.OneOf {
		if list, ok := values[name].([]string); ok && len(list) > 0 {
			return nil
		}
	}
	if len(p.OneOf) > 0 {
		return invalid("parameters", "write "+strings.Join(p.OneOf, " or "), "nothing says whose tokens are meant: everyone can have one of this issuer")
	}
	return nil
}
