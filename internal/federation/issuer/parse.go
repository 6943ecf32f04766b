package issuer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxDocument bounds one definition, in bytes, and MaxFile a file of them.
const (
	MaxDocument = 32 << 10
	MaxFile     = 4 << 20
)

// Parse reads and validates one definition. Errors: *Invalid.
func Parse(document []byte) (Definition, error) {
	d, err := load(document)
	if err != nil {
		return Definition{}, err
	}
	return d, d.Validate()
}

// load reads a definition as it stands.
func load(document []byte) (Definition, error) {
	if len(document) > MaxDocument {
		return Definition{}, invalid("", "a definition is short: split what is not one issuer", "it is larger than %d bytes", MaxDocument)
	}
	var d Definition
	return d, decode(document, &d)
}

// ParseFile reads and validates a whole AuthenticationConfiguration. Errors:
// *Invalid.
func ParseFile(document []byte) ([]Definition, error) {
	if len(document) > MaxFile {
		return nil, invalid("", "name the right file", "it is larger than %d bytes", MaxFile)
	}
	var file struct {
		APIVersion string       `yaml:"apiVersion"`
		Kind       string       `yaml:"kind"`
		JWT        []Definition `yaml:"jwt"`
		Anonymous  yaml.Node    `yaml:"anonymous"`
	}
	if err := decode(document, &file); err != nil {
		return nil, err
	}
	switch {
	case file.APIVersion != "apiserver.config.k8s.io/v1":
		return nil, invalid("apiVersion", "write apiVersion: apiserver.config.k8s.io/v1", "%.80q is not read here", file.APIVersion)
	case file.Kind != "AuthenticationConfiguration":
		return nil, invalid("kind", "write kind: AuthenticationConfiguration", "%.80q is not read here", file.Kind)
	case !file.Anonymous.IsZero():
		return nil, invalid("anonymous", "leave it out: what the policy gives to anyone is for those without a login", "not decided here")
	case len(file.JWT) > MaxIssuers:
		return nil, invalid("jwt", "leave out what nobody uses", "more than %d issuers", MaxIssuers)
	}
	names, urls := map[string]bool{}, map[string]bool{}
	for i, d := range file.JWT {
		where := fmt.Sprintf("jwt[%d]", i)
		if err := d.Validate(); err != nil {
			return nil, within(where, err)
		}
		url := d.url()
		switch {
		case names[d.Name]:
			return nil, invalid(where+".name", "give each entry its own name", "%.80q is there twice", d.Name)
		case urls[url]:
			return nil, invalid(where+".issuer.url", "write one entry for an issuer: its rules are for all of its tokens", "%.200q is there twice", url)
		}
		names[d.Name], urls[url] = true, true
	}
	return file.JWT, nil
}

// url is iss of the issuer's tokens, also where a preset says it.
func (d Definition) url() string {
	if whole, err := d.expand(); err == nil {
		return whole.Issuer.URL
	}
	return d.Issuer.URL
}

func within(where string, err error) error {
	if e, ok := errors.AsType[*Invalid](err); ok {
		return &Invalid{strings.TrimSuffix(where+"."+e.Field, "."), e.Problem, e.Cure}
	}
	return err
}

// decode reads exactly one YAML document into v, all of whose fields v must know.
// Anchors are refused: a short document could mean a long one.
func decode(document []byte, v any) error {
	loader, err := yaml.NewLoader(bytes.NewReader(document))
	if err != nil {
		return err
	}
	var root, second yaml.Node
	switch err := loader.Load(&root); {
	case errors.Is(err, io.EOF) || err == nil && len(root.Content) == 0:
		return invalid("", "write at least name and issuer", "the document is empty")
	case err != nil:
		return notYAML(err)
	}
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		return invalid("", "leave out the line \"---\" and what follows", "more than one YAML document")
	}
	if n := anchored(&root); n != nil {
		return invalid("", "write it out", "line %d: anchors, aliases and merges are not read", n.Line)
	}
	if err := yaml.Load(document, v, yaml.WithKnownFields()); err != nil {
		return notYAML(err)
	}
	return nil
}

func anchored(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		return n
	}
	for _, c := range n.Content {
		if found := anchored(c); found != nil {
			return found
		}
	}
	return nil
}

func notYAML(err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*yaml.LoadErrors](err); ok && len(e.Errors) > 0 {
		text = e.Errors[0].Error()
	}
	text = strings.TrimPrefix(text, "yaml: ")
	cure := "compare it with docs/federation.md"
	if strings.Contains(text, "egressSelectorType") {
		cure = "leave egressSelectorType out: there is one way out of here"
	}
	return invalid("", cure, "not a definition: %.300s", strings.Join(strings.Fields(text), " "))
}
