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

// Effective returns d with what its empty settings stand for; the rest is what its
// schema says.
func (d LoginDirectory) Effective() LoginDirectory {
	d.Recheck, d.MaxAge = cmp.Or(d.Recheck, defaultRecheck), cmp.Or(d.MaxAge, defaultMaxAge)
	return d
}

// checkDirectories looks at what its room does not.
func (c Config) checkDirectories() *Error {
	names := map[string]bool{}
	for _, p := range c.Login.Providers {
		names[p.Name] = true
	}
	for i, d := range c.Login.Directories {
		at := func(key, cure, problem string, args ...any) *Error {
			e := wrong(fmt.Sprintf("login.directories[%d].%s", i, key), cure, problem, args...)
			if e.Where = c.where[e.Key]; e.Where == "" {
				e.Where = c.where["login.directories"]
			}
			return e
		}
		d = d.Effective()
		switch {
		case !isHostName(d.Name) || strings.Contains(d.Name, "."):
			return at("name", "write lower-case letters, digits and hyphens, such as corp", "%.60q is not a name", d.Name)
		case names[d.Name]:
			return at("name", "give each provider and directory a name of its own", "%q comes twice", d.Name)
		case d.Schema == "":
			return at("schema", "write active-directory, rfc2307bis or rfc2307", "is missing")
		case len(d.URLs) == 0:
			return at("urls", "name a server, such as ldaps://ldap.corp.example", "is missing")
		case d.UserBase == "":
			return at("user_base", "write a DN, such as ou=people,dc=corp,dc=example", "is missing")
		case (d.BindDN == "") != (d.BindPasswordFile == ""):
			return at("bind_dn", "set both, or neither where anybody may search", "and bind_password_file belong together")
		case d.MaxAge < d.Recheck:
			return at("max_age", "make it at least recheck", "is shorter than recheck")
		}
		names[d.Name] = true
	}
	return nil
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
