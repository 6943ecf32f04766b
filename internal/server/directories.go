package server

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/federation/ldap"
)

// openVouching makes what vouches for people from elsewhere.
func (s *Server) openVouching() ([]account.Provider, error) {
	providers, err := s.openProviders()
	if err != nil {
		return nil, err
	}
	directories, err := s.openDirectories()
	return append(providers, directories...), err
}

// openDirectories makes the configured directories; none is asked yet. It returns
// what the accounts are to know of them.
func (s *Server) openDirectories() ([]account.Provider, error) {
	var known []account.Provider
	for i, c := range s.config.Login.Directories {
		c = c.Effective()
		definition, err := directoryOf(i, c)
		if err != nil {
			return nil, err
		}
		d, err := ldap.New(definition, ldap.Options{Now: s.now, Logger: s.log})
		if err != nil {
			return nil, err
		}
		s.rooms.directories = append(s.rooms.directories, d)
		known = append(known, account.Provider{
			Name: c.Name, Issuer: ldap.Issuer(c.Name), CreateAccounts: c.CreateAccounts, Recheck: c.Recheck, MaxAge: c.MaxAge, Prover: d,
		})
	}
	return known, nil
}

func (r *rooms) directoryNames() []string {
	var names []string
	for _, d := range r.directories {
		names = append(names, d.Name())
	}
	return names
}

// directoryOf returns what the i-th directory of the configuration is, with what
// the files that it names hold. Errors carry a Hint.
func directoryOf(i int, c config.LoginDirectory) (ldap.Definition, error) {
	key := fmt.Sprintf("login.directories[%d]", i)
	d := ldap.Definition{
		Name: c.Name, Schema: c.Schema, URLs: c.URLs, BindDN: c.BindDN,
		UserBase: c.UserBase, UserFilter: c.UserFilter, LoginAttributes: c.LoginAttributes,
		IDAttribute: c.IDAttribute, NameAttribute: c.NameAttribute, DisabledAttribute: c.DisabledAttribute,
		GroupBase: c.GroupBase, GroupFilter: c.GroupFilter, GroupNameAttribute: c.GroupNameAttribute,
		MemberAttribute: c.MemberAttribute, MemberOfAttribute: c.MemberOfAttribute,
		Nested: c.NestedGroups, AllowedGroups: c.AllowedGroups,
	}
	if c.BindPasswordFile != "" {
		line, err := readSecretLine(key+".bind_password_file", c.BindPasswordFile)
		if err != nil {
			return d, err
		}
		d.BindPassword = access.NewSecret(line)
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return d, cannot("name a file that the server can read", "%s.ca_file: %w", key, err)
		}
		d.CA = pem
	}
	if bad := d.Check(); bad != nil {
		return d, cannot(bad.Cure, "%s.%w", key, bad)
	}
	return d, nil
}

// CheckDirectory goes through every step of asking the directory of that name, and
// with a user says what that one would be here. Errors carry a Hint.
func CheckDirectory(ctx context.Context, c config.Config, name, user string) ([]ldap.Finding, error) {
	var names []string
	for i, of := range c.Login.Directories {
		names = append(names, of.Name)
		if of.Name != name {
			continue
		}
		definition, err := directoryOf(i, of)
		if err != nil {
			return nil, err
		}
		d, err := ldap.New(definition, ldap.Options{})
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return d.Examine(ctx, user), nil
	}
	cure := "name one of " + strings.Join(names, ", ")
	if len(names) == 0 {
		cure = "name the file with --config, and see docs/ldap.md for what to write into it"
	}
	return nil, cannot(cure, "no directory %q is configured", name)
}
