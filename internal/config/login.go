package config

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// What an empty setting of a provider stands for.
const (
	defaultRecheck = time.Hour
	defaultMaxAge  = 12 * time.Hour
)

// Effective returns p with what its empty settings stand for.
func (p LoginProvider) Effective() LoginProvider {
	if p.Scopes == nil {
		p.Scopes = []string{"profile", "email"}
	}
	p.NameClaim = cmp.Or(p.NameClaim, "preferred_username")
	p.Recheck, p.MaxAge = cmp.Or(p.Recheck, defaultRecheck), cmp.Or(p.MaxAge, defaultMaxAge)
	return p
}

func (c Config) checkLogin() *Error {
	names, issuers := map[string]bool{}, map[string]bool{}
	for i, p := range c.Login.Providers {
		at := func(key, cure, problem string, args ...any) *Error {
			e := wrong(fmt.Sprintf("login.providers[%d].%s", i, key), cure, problem, args...)
			if e.Where = c.where[e.Key]; e.Where == "" {
				e.Where = c.where["login.providers"]
			}
			return e
		}
		u, err := url.Parse(p.Issuer)
		p = p.Effective()
		switch {
		case !isHostName(p.Name) || strings.Contains(p.Name, "."):
			return at("name", "write lower-case letters, digits and hyphens, such as corp", "%.60q is not a name", p.Name)
		case names[p.Name]:
			return at("name", "give each provider a name of its own", "%q comes twice", p.Name)
		case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return at("issuer", "write the https URL that its discovery document gives as issuer", "%.100q is not the URL of an issuer", p.Issuer)
		case issuers[p.Issuer]:
			return at("issuer", "configure each issuer once", "%.100q comes twice", p.Issuer)
		case p.ClientID == "":
			return at("client_id", "register this registry there and write the id that it gets", "is missing")
		case len(p.AllowedGroups) > 0 && p.GroupsClaim == "":
			return at("allowed_groups", "set groups_claim", "means nothing without groups_claim")
		case p.MaxAge < p.Recheck:
			return at("max_age", "make it at least recheck", "is shorter than recheck")
		}
		for _, d := range p.AllowedDomains {
			if !isHostName(d) {
				return at("allowed_domains", "write domains in lower case, such as corp.example", "%.60q is not a domain", d)
			}
		}
		names[p.Name], issuers[p.Issuer] = true, true
	}
	return nil
}
