package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

func issuerView(e issuer.Entry) client.Issuer {
	out := client.Issuer{
		Name: e.Definition.Name, URL: e.Definition.URL(), Preset: e.Definition.Preset, Audiences: e.Definition.Issuer.Audiences,
		Source: "api", Revision: e.Revision, Author: e.Author, Problem: e.Problem,
	}
	if e.Fixed {
		out.Source = "file"
	} else {
		changed := e.Changed.UTC()
		out.Changed = &changed
	}
	return out
}

// issuer answers with one; its revision is the entity tag.
func (c *call) issuer(status int, e issuer.Entry) error {
	c.w.Header().Set("ETag", strconv.Quote(e.Revision))
	return c.json(status, client.IssuerDocument{Issuer: issuerView(e), Document: string(e.Definition.YAML())})
}

func (c *call) listIssuers() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	entries, err := c.door.Issuers.List(c.r.Context())
	if err != nil {
		return err
	}
	all := make([]client.Issuer, 0, len(entries))
	for _, e := range entries {
		all = append(all, issuerView(e))
	}
	page, err := cut(all, n, after, func(i client.Issuer) string { return i.Name })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

func (c *call) getIssuer() error {
	e, err := c.door.Issuers.Find(c.r.Context(), c.r.PathValue("issuer"))
	if err != nil {
		return err
	}
	return c.issuer(http.StatusOK, e)
}

// readIssuer reads a definition that the caller may add. Who says how principals
// are proven can come as any of them, so that these may have no more than the
// caller. Servers inside our network are for the configuration to allow.
func (c *call) readIssuer() (issuer.Definition, error) {
	document, err := c.readBody("application/yaml", "text/plain")
	if err != nil {
		return issuer.Definition{}, err
	}
	d, err := issuer.Parse(document)
	if err != nil {
		return d, err
	}
	c.event.Object = "issuer:" + d.Name
	c.event.Set("url", d.URL())
	for _, host := range d.AllowPrivateAddresses {
		if !slices.ContainsFunc(c.door.AllowPrivate, func(a string) bool { return strings.EqualFold(a, host) }) {
			return d, refuse(http.StatusForbidden, "not-allowed", "allowPrivateAddresses: the server's configuration does not allow %.80q: who runs the server can add it to federation.allow_private", host)
		}
	}
	return d, c.authority.Vouches(c.route.who.right, d.URL())
}

// addIssuer adds one; the same again is no change.
func (c *call) addIssuer() error {
	d, err := c.readIssuer()
	if err != nil {
		return err
	}
	e, err := c.door.Issuers.Add(c.r.Context(), d, c.principal().String(), "")
	if errors.Is(err, issuer.ErrExists) {
		if old, findErr := c.door.Issuers.Find(c.r.Context(), d.Name); findErr == nil && old.Revision == d.Revision() {
			return c.issuer(http.StatusOK, old)
		}
	}
	if err != nil {
		return err
	}
	return c.issuer(http.StatusCreated, e)
}

// replaceIssuer replaces the revision that If-Match names.
func (c *call) replaceIssuer() error {
	tag := c.r.Header.Get("If-Match")
	if tag == "" {
		return refuse(http.StatusPreconditionRequired, "precondition-required", "If-Match is missing: name the revision that this definition replaces, as ETag gave it")
	}
	revision, err := strconv.Unquote(tag)
	if err != nil || revision == "" {
		return badRequest("If-Match: want one revision in quotes, as ETag gave it")
	}
	d, err := c.readIssuer()
	if err != nil {
		return err
	}
	if d.Name != c.r.PathValue("issuer") {
		return badRequest("name: the definition is called %.80q, and the path says %.80q", d.Name, c.r.PathValue("issuer"))
	}
	e, err := c.door.Issuers.Add(c.r.Context(), d, c.principal().String(), revision)
	if err != nil {
		return err
	}
	return c.issuer(http.StatusOK, e)
}

func (c *call) removeIssuer() error {
	if err := c.door.Issuers.Remove(c.r.Context(), c.r.PathValue("issuer")); err != nil {
		return err
	}
	return c.done()
}

func (c *call) checkIssuer() error {
	r, err := c.door.Issuers.Check(c.r.Context(), c.r.PathValue("issuer"))
	if err != nil {
		return err
	}
	out := client.IssuerReport{Name: r.Name, URL: r.URL, Good: r.Ok(), Findings: []client.IssuerFinding{}}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, client.IssuerFinding{About: f.Subject, Level: string(f.Level), Text: f.Text, Cure: f.Cure})
	}
	return c.json(http.StatusOK, out)
}

// testToken says what a token would prove. It is not kept, and what comes of it is
// for the caller alone.
func (c *call) testToken() error {
	var in client.TokenToTest
	if err := c.readJSON(&in); err != nil {
		return err
	}
	trial, err := c.door.Issuers.Test(c.r.Context(), in.Token.Secret)
	if errors.Is(err, access.ErrBusy) { // what it waits for is what was asked
		reason := strings.TrimPrefix(err.Error(), access.ErrBusy.Error()+": ")
		return c.json(http.StatusOK, client.TokenVerdict{Reason: reason, Cure: "see what is wrong: sallyport issuer check"})
	}
	if err != nil {
		return err
	}
	out := client.TokenVerdict{
		Accepted: trial.Refused == "", Issuer: trial.Issuer, Claims: trial.Claims,
		Session: int64(trial.Sessions / time.Second), Reason: trial.Refused, Cure: trial.Cure,
	}
	if out.Accepted {
		expires := trial.Expires.UTC()
		out.Expires, out.Principal = &expires, access.ExternalPrincipal(trial.URL, trial.Name, nil).String()
	}
	return c.json(http.StatusOK, out)
}

func presetView(p issuer.Preset) client.IssuerPreset {
	out := client.IssuerPreset{Name: p.Name, Summary: p.About, Source: p.Source, Parameters: []client.PresetParameter{}}
	for _, q := range p.Parameters {
		out.Parameters = append(out.Parameters, client.PresetParameter{
			Name: q.Name, Summary: q.About, Example: q.Example, Default: q.Default, Required: q.Required, Many: q.Many,
		})
	}
	return out
}

func (c *call) listPresets() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	var all []client.IssuerPreset
	for _, p := range issuer.Presets() {
		all = append(all, presetView(p))
	}
	page, err := cut(all, n, after, func(p client.IssuerPreset) string { return p.Name })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

func (c *call) getPreset() error {
	for _, p := range issuer.Presets() {
		if p.Name == c.r.PathValue("preset") {
			out := presetView(p)
			out.Template = p.Template
			return c.json(http.StatusOK, out)
		}
	}
	return refuse(http.StatusNotFound, "not-found", "there is no such preset; the listing has all")
}
