package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// An Issuer is one whose tokens are trusted.
type Issuer struct {
	Name      string     `json:"name"`
	URL       string     `json:"url"` // the "iss" of its tokens
	Preset    string     `json:"preset,omitempty"`
	Audiences []string   `json:"audiences"`
	Source    string     `json:"source"`           // "api", or "file": the server's issuers_file
	Revision  string     `json:"revision"`         // of the definition; another one ends what came of its tokens
	Author    string     `json:"author,omitempty"` // of one from the API
	Changed   *time.Time `json:"changed,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why its tokens are refused after all
}

// An IssuerDocument is an issuer with its definition.
type IssuerDocument struct {
	Issuer
	Document string `json:"document"` // YAML
}

// An IssuerReport is what the server found when it asked an issuer for its keys.
type IssuerReport struct {
	Name     string          `json:"name"`
	URL      string          `json:"url"`
	Good     bool            `json:"good"` // no finding is an error
	Findings []IssuerFinding `json:"findings"`
}

// An IssuerFinding is one thing that was looked at.
type IssuerFinding struct {
	About string `json:"about"` // "discovery", "keys", …
	Level string `json:"level"` // "ok", "warning", or "error": tokens are refused
	Text  string `json:"text"`
	Cure  string `json:"cure,omitempty"`
}

// A TokenToTest is the body of POST /issuers/test: a token of a trusted issuer.
type TokenToTest struct {
	Token Secret `json:"token"`
}

// A TokenVerdict is what a token of a trusted issuer would prove, or why it proves
// nothing.
type TokenVerdict struct {
	Accepted  bool              `json:"accepted"`
	Issuer    string            `json:"issuer,omitempty"`    // name, where the token is of a trusted one
	Principal string            `json:"principal,omitempty"` // "external:NAME (URL)"
	Claims    map[string]string `json:"claims,omitempty"`    // those that the mapping keeps, for policy
	Expires   *time.Time        `json:"expires,omitempty"`   // of the token
	Session   int64             `json:"session,omitempty"`   // life of an identity token for it, in seconds
	Reason    string            `json:"reason,omitempty"`
	Cure      string            `json:"cure,omitempty"`
}

// An IssuerPreset is a definition for a platform, written already but for its
// parameters.
type IssuerPreset struct {
	Name       string            `json:"name"`
	Summary    string            `json:"summary"`
	Source     string            `json:"source"` // where the platform documents its tokens
	Parameters []PresetParameter `json:"parameters"`
	Template   string            `json:"template,omitempty"` // YAML with actions of Go's text/template; of a single one
}

// A PresetParameter is what a preset leaves open.
type PresetParameter struct {
	Name     string `json:"name"`
	Summary  string `json:"summary"`
	Example  string `json:"example"`
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required"`
	Many     bool   `json:"many"` // it takes several values, with commas between them
}

// Issuers returns those whose tokens are trusted, by name.
func (c *Client) Issuers(ctx context.Context) ([]Issuer, error) {
	return list[Issuer](ctx, c, "", "issuers")
}

// Issuer returns one of them with its definition.
func (c *Client) Issuer(ctx context.Context, name string) (IssuerDocument, error) {
	return get[IssuerDocument](ctx, c, "issuers", name)
}

// AddIssuer trusts an issuer. One that is there just so is no error.
func (c *Client) AddIssuer(ctx context.Context, document []byte) (IssuerDocument, error) {
	var out IssuerDocument
	err := c.do(ctx, ask{
		method: http.MethodPost, path: []string{"issuers"}, body: document, header: http.Header{"Content-Type": {"application/yaml"}},
	}, &out)
	return out, err
}

// ReplaceIssuer replaces a revision of an issuer's definition.
func (c *Client) ReplaceIssuer(ctx context.Context, name string, document []byte, revision string) (IssuerDocument, error) {
	var out IssuerDocument
	err := c.do(ctx, ask{
		method: http.MethodPut, path: []string{"issuers", name}, body: document,
		header: http.Header{"Content-Type": {"application/yaml"}, "If-Match": {strconv.Quote(revision)}},
	}, &out)
	return out, err
}

// RemoveIssuer ends the trust in an issuer, and what came of its tokens.
func (c *Client) RemoveIssuer(ctx context.Context, name string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{"issuers", name}}, nil)
}

// CheckIssuer has the server ask an issuer for its keys.
func (c *Client) CheckIssuer(ctx context.Context, name string) (IssuerReport, error) {
	return send[IssuerReport](ctx, c, http.MethodPost, nil, "issuers", name, "check")
}

// TestToken asks what a token of a trusted issuer would prove.
func (c *Client) TestToken(ctx context.Context, t TokenToTest) (TokenVerdict, error) {
	return send[TokenVerdict](ctx, c, http.MethodPost, t, "issuers", "test")
}

// IssuerPresets returns the definitions for platforms, by name.
func (c *Client) IssuerPresets(ctx context.Context) ([]IssuerPreset, error) {
	return list[IssuerPreset](ctx, c, "", "issuer-presets")
}

// IssuerPreset returns one of them with its document.
func (c *Client) IssuerPreset(ctx context.Context, name string) (IssuerPreset, error) {
	return get[IssuerPreset](ctx, c, "issuer-presets", name)
}
