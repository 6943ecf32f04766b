package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"
)

// A Definition is one trusted issuer: whose tokens, made for whom, under which
// rules, prove whom. It has the form of an entry of jwt in Kubernetes'
// AuthenticationConfiguration (apiserver.config.k8s.io/v1) and means what it
// means there, with fields of ours. It differs in this:
//
//   - the key of an extra needs no domain before it, and "claim" there takes a
//     text, a number or a boolean as it is, nothing where the claim is missing;
//     an extra is one text, so that a list of several is an error;
//   - uid is kept as the claim "uid";
//   - groups are refused: who has no account here is in no group of ours;
//   - email_verified must be there and true where email is the name;
//   - of CEL's libraries there are the standard one and optional values;
//   - audiences that everybody's tokens have are refused.
type Definition struct {
	// Name is what people call it: letters, digits, "-", "_" and ".".
	Name string `yaml:"name"`
	// Preset names rules that are written already (Presets), Parameters what they
	// leave open. Rules and extras written beside them come on top.
	Preset     string            `yaml:"preset,omitempty"`
	Parameters map[string]string `yaml:"parameters,omitempty"`

	Issuer               Issuer      `yaml:"issuer,omitempty"`
	ClaimValidationRules []ClaimRule `yaml:"claimValidationRules,omitempty"`
	ClaimMappings        Mappings    `yaml:"claimMappings,omitempty"`
	UserValidationRules  []UserRule  `yaml:"userValidationRules,omitempty"`

	// Sessions is how long an identity token lives that a job gets for its token.
	// Unset: 1 h. 0: it gets none.
	Sessions *Duration `yaml:"sessions,omitempty"`
	// MaxTokenLife is how long a token may be made for, from iat to exp. 0: 24 h,
	// which is the most.
	MaxTokenLife Duration `yaml:"maxTokenLife,omitempty"`
	// JWKS are keys that are not found by discovery.
	JWKS *JWKS `yaml:"jwks,omitempty"`
	// AllowPrivateAddresses are the hosts, HOST or HOST:PORT, that may be inside
	// our network.
	AllowPrivateAddresses []string `yaml:"allowPrivateAddresses,omitempty"`
	// TokenReview asks a Kubernetes API server about each token.
	TokenReview *TokenReview `yaml:"tokenReview,omitempty"`
}

// An Issuer is who signs the tokens, and for whom.
type Issuer struct {
	URL                  string   `yaml:"url,omitempty"` // iss, byte for byte
	DiscoveryURL         string   `yaml:"discoveryURL,omitempty"`
	CertificateAuthority string   `yaml:"certificateAuthority,omitempty"` // PEM
	Audiences            []string `yaml:"audiences,omitempty"`
	AudienceMatchPolicy  string   `yaml:"audienceMatchPolicy,omitempty"` // "" or MatchAny
	// CertificateAuthorityFile is ours: a file in place of the text.
	CertificateAuthorityFile string `yaml:"certificateAuthorityFile,omitempty"`
}

// A ClaimRule must hold for a token: a claim with a value, or an expression.
type ClaimRule struct {
	Claim         string `yaml:"claim,omitempty"`
	RequiredValue string `yaml:"requiredValue,omitempty"`
	Expression    string `yaml:"expression,omitempty"`
	Message       string `yaml:"message,omitempty"`
}

// Mappings make a principal of claims: its name, and what policies may match.
type Mappings struct {
	Username Mapping `yaml:"username,omitempty"`
	Groups   Mapping `yaml:"groups,omitempty"`
	UID      Mapping `yaml:"uid,omitempty"`
	Extra    []Extra `yaml:"extra,omitempty"`
}

// A Mapping is a claim, with a prefix, or an expression.
type Mapping struct {
	Claim      string  `yaml:"claim,omitempty"`
	Prefix     *string `yaml:"prefix,omitempty"`
	Expression string  `yaml:"expression,omitempty"`
}

// An Extra is a claim of the principal, from a claim of the token or an
// expression. One that is empty is left out.
type Extra struct {
	Key             string `yaml:"key"`
	Claim           string `yaml:"claim,omitempty"` // ours
	ValueExpression string `yaml:"valueExpression,omitempty"`
}

// A UserRule must hold for the principal.
type UserRule struct {
	Expression string `yaml:"expression"`
	Message    string `yaml:"message,omitempty"`
}

// JWKS are keys that are written down (RFC 7517 §5), in a file, or at a URL. What
// names files is for definitions of the configured file alone.
type JWKS struct {
	Keys      string `yaml:"keys,omitempty"` // the JSON document
	File      string `yaml:"file,omitempty"`
	URL       string `yaml:"url,omitempty"`
	TokenFile string `yaml:"tokenFile,omitempty"` // bearer token for URL
}

// A TokenReview asks the API server at URL, with the token in a file, whether a
// token still counts. It is for definitions of the configured file alone.
type TokenReview struct {
	URL                      string `yaml:"url"`
	CertificateAuthorityFile string `yaml:"certificateAuthorityFile,omitempty"`
	TokenFile                string `yaml:"tokenFile"`
}

// A Duration is written as "1h" or "90s".
type Duration time.Duration

// MarshalYAML implements yaml.Marshaler.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return fmt.Errorf("line %d: %.40q is no duration: write it as in 1h or 90s", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// YAML returns the definition as a document, in one form.
func (d Definition) YAML() []byte {
	out, err := yaml.Dump(d)
	if err != nil {
		panic(err) // it consists of texts
	}
	return out
}

// Revision names this very definition with what its preset means: a proof rests
// on it, and an update says which one it replaces. It is short, and no secret.
func (d Definition) Revision() string {
	whole, err := d.expand()
	if err != nil {
		whole = d
	}
	return d.revision(whole)
}

func (d Definition) revision(whole Definition) string {
	text := d.YAML()
	if d.Preset != "" { // what it means may change with a release
		text = append(text, whole.YAML()...)
	}
	return revisionOf(text)
}

func revisionOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}
