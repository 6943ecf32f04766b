package server

import (
	"fmt"
	"os"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/federation/provider"
)

// issuer is who our tokens are from, and where providers send people back to.
func (s *Server) issuer() string {
	if s.names.external != "" {
		return s.names.external
	}
	return s.names.scheme + "://" + s.service
}

// openProviders makes the configured providers; none is asked yet. It returns what
// the accounts are to know of them.
func (s *Server) openProviders() ([]account.Provider, error) {
	var known []account.Provider
	for i, c := range s.config.Login.Providers {
		key := fmt.Sprintf("login.providers[%d]", i)
		c = c.Effective()
		d := provider.Definition{
			Name: c.Name, Issuer: c.Issuer, ClientID: c.ClientID, Scopes: c.Scopes,
			NameClaim: c.NameClaim, GroupsClaim: c.GroupsClaim,
			AllowedGroups: c.AllowedGroups, AllowedDomains: c.AllowedDomains, PrivateHosts: c.PrivateHosts,
		}
		if c.ClientSecretFile != "" {
			line, err := readSecretLine(key+".client_secret_file", c.ClientSecretFile)
			if err != nil {
				return nil, err
			}
			d.ClientSecret = access.NewSecret(line)
		}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, cannot("name a file that the server can read", "%s.ca_file: %w", key, err)
			}
			d.CA = pem
		}
		p, err := provider.New(d, provider.Options{Base: s.issuer(), Now: s.now})
		if err != nil {
			return nil, cannot("compare it with docs/sign-in.md", "%s: %w", key, err)
		}
		s.rooms.providers = append(s.rooms.providers, p)
		known = append(known, account.Provider{
			Name: c.Name, Issuer: c.Issuer, CreateAccounts: c.CreateAccounts, Recheck: c.Recheck, MaxAge: c.MaxAge, Voucher: p,
		})
	}
	return known, nil
}
