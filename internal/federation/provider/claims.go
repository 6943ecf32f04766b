package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/access"
)

// Limits on claims.
const (
	maxGroups    = 1000
	maxGroupName = 256 // bytes
)

// claims are what a provider says, each as it was written.
type claims map[string]json.RawMessage

// vouch returns whom a token answer vouches for. check looks at the ID token.
// Errors: *Refused.
func (p *Provider) vouch(ctx context.Context, k *discovered, token *oauth2.Token, check func(*oidc.IDToken) error) (access.Outside, error) {
	o := access.Outside{Provider: p.d.Name, Issuer: p.d.Issuer, Renewal: access.NewSecret(token.RefreshToken)}
	said := claims{}
	if raw, _ := token.Extra("id_token").(string); raw != "" {
		t, err := k.verifier.Verify(p.with(ctx), raw)
		if err != nil {
			return access.Outside{}, fmt.Errorf("verify the ID token of provider %s: %w", p.d.Name, err)
		}
		if err := check(t); err != nil {
			return access.Outside{}, err
		}
		if err := t.Claims(&said); err != nil {
			return access.Outside{}, fmt.Errorf("read the ID token of provider %s: %w", p.d.Name, err)
		}
		if party, _ := said.text("azp"); party != p.d.ClientID && (said["azp"] != nil || len(t.Audience) > 1) {
			return access.Outside{}, refuse("the ID token of the provider %s is for another program", p.d.Name)
		}
		o.Subject = t.Subject
	}
	if err := p.complete(ctx, k, token, &o, said); err != nil {
		return access.Outside{}, err
	}
	if o.Subject == "" {
		return access.Outside{}, fmt.Errorf("provider %s says of nobody who it is", p.d.Name)
	}
	return p.read(o, said)
}

// complete adds from the userinfo endpoint what the ID token does not say. Without
// an ID token, as after a renewal, that says all.
func (p *Provider) complete(ctx context.Context, k *discovered, token *oauth2.Token, o *access.Outside, said claims) error {
	wanted := []string{p.d.NameClaim, p.d.GroupsClaim}
	if len(p.d.AllowedDomains) > 0 {
		wanted = append(wanted, "email")
	}
	lacks := slices.ContainsFunc(wanted, func(name string) bool { return name != "" && said[name] == nil })
	if !k.userinfo || !lacks || said.overage(p.d.GroupsClaim) {
		return nil
	}
	info, err := k.provider.UserInfo(p.with(ctx), oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("ask provider %s about a person: no userinfo", p.d.Name) // the error holds the answer
	}
	if o.Subject == "" {
		o.Subject = info.Subject
	}
	if info.Subject != o.Subject {
		return refuse("the provider %s speaks of two people", p.d.Name)
	}
	more := claims{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("ask provider %s about a person: %w", p.d.Name, err)
	}
	// That an address is verified is said of the one beside it.
	if said["email"] != nil {
		delete(more, "email_verified")
	} else {
		delete(said, "email_verified")
	}
	for name, value := range more {
		if said[name] == nil {
			said[name] = value
		}
	}
	return nil
}

// read finds name and groups, and whether the person may sign in at all.
func (p *Provider) read(o access.Outside, said claims) (access.Outside, error) {
	var err error
	o.Name, _ = said.text(p.d.NameClaim)
	if p.d.GroupsClaim != "" {
		if o.Groups, err = said.groups(p.d.GroupsClaim); err != nil {
			return access.Outside{}, err
		}
	}
	if allowed := p.d.AllowedGroups; len(allowed) > 0 && !slices.ContainsFunc(o.Groups, func(g string) bool { return slices.Contains(allowed, g) }) {
		return access.Outside{}, refuse("you are in none of the groups that may sign in here")
	}
	if allowed := p.d.AllowedDomains; len(allowed) > 0 && !slices.Contains(allowed, said.domain()) {
		return access.Outside{}, refuse("you have no verified e-mail address in a domain that may sign in here")
	}
	// Where all addresses are of one domain, what stands before it says who it is.
	if email, _ := said.text("email"); len(p.d.AllowedDomains) == 1 && o.Name == email {
		o.Name = strings.TrimSuffix(o.Name, "@"+p.d.AllowedDomains[0])
	}
	return o, nil
}

// text returns a claim that is a string.
func (c claims) text(name string) (string, bool) {
	var s string
	raw := c[name]
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// overage reports whether the groups are too many for the token, which then says
// that they are elsewhere (Entra ID: above 200).
func (c claims) overage(name string) bool {
	var elsewhere map[string]json.RawMessage
	if json.Unmarshal(c["_claim_names"], &elsewhere) == nil && elsewhere[name] != nil {
		return true
	}
	return name != "" && c[name] == nil && string(c["hasgroups"]) == "true"
}

// groups reads a claim of groups: a list of strings, or one string. That it is
// missing, or null, means none. Whatever else it is would have to be guessed.
// Errors: *Refused.
func (c claims) groups(name string) ([]string, error) {
	if c.overage(name) {
		return nil, refuse("you are in more groups than the provider puts into a token: ask its administrator to send only the groups that are assigned to this application, or application roles instead")
	}
	var list []string
	switch raw := c[name]; {
	case len(raw) == 0, string(raw) == "null":
		return nil, nil
	case raw[0] == '"':
		s, ok := c.text(name)
		if !ok || strings.ContainsAny(s, "[{") {
			return nil, refuse("the provider's claim %q is text that holds something else than a group", name)
		}
		list = []string{s}
	default:
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return nil, refuse("the provider's claim %q is not a list of groups", name)
		}
		if len(items) > maxGroups {
			return nil, refuse("the provider says that you are in %d groups, and %d is the limit: let it send those that are meant for this application", len(items), maxGroups)
		}
		for _, item := range items {
			s, ok := claims{"": item}.text("")
			if !ok {
				return nil, refuse("the provider's claim %q holds something that is not the name of a group", name)
			}
			list = append(list, s)
		}
	}
	if slices.ContainsFunc(list, func(s string) bool { return len(s) > maxGroupName }) {
		return nil, refuse("the provider's claim %q holds a name longer than %d bytes", name, maxGroupName)
	}
	return list, nil
}

// domain returns the domain of a verified and plain e-mail address, or "". Who
// says "verified" in another way than as a boolean may mean anything (F-13).
func (c claims) domain() string {
	address, _ := c.text("email")
	local, domain, found := strings.Cut(address, "@")
	if !found || local == "" || len(address) > 254 || string(c["email_verified"]) != "true" {
		return ""
	}
	for _, r := range local {
		if !(('a' <= r && r <= 'z') || ('A' <= r && r <= 'Z') || ('0' <= r && r <= '9') || strings.ContainsRune("._%+-", r)) {
			return ""
		}
	}
	if strings.Contains(domain, "@") {
		return ""
	}
	return domain // compared as it is: in lower case, in ASCII
}
