// Package dockerauth owns reading the configuration of docker_auth
// (github.com/cesanta/docker_auth), for a move to Sallyport: what means exactly
// the same here is translated, and everything else is listed.
package dockerauth

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
)

// MaxFile bounds a configuration, in bytes.
const MaxFile = 1 << 20

// An Import is what a configuration comes to.
type Import struct {
	// Policy is a policy document, version 2, with what could be translated.
	Policy string
	// Htpasswd holds a line for each person whose password is a bcrypt hash.
	Htpasswd string
	// Left says what was not taken, and why; empty when everything was.
	Left []string
}

// file is the part of the configuration that is read.
type file struct {
	Users map[string]*user `yaml:"users"`
	ACL   []entry          `yaml:"acl"`
	Other map[string]any   `yaml:",inline"`
}

type user struct {
	Password *string        `yaml:"password"`
	Other    map[string]any `yaml:",inline"`
}

// An entry of the ACL. The first one that matches a request decides alone.
type entry struct {
	Match   *match   `yaml:"match"`
	Actions []string `yaml:"actions"`
	Comment string   `yaml:"comment"`
}

type match struct {
	Account *string        `yaml:"account"`
	Type    *string        `yaml:"type"`
	Name    *string        `yaml:"name"`
	Other   map[string]any `yaml:",inline"` // ip, labels, email, team
}

// otherSources are the sections that say who somebody is, or what one may, in a
// way that is not in the file.
var otherSources = []string{
	"google_auth", "github_auth", "gitlab_auth", "oidc_auth", "ldap_auth", "mongo_auth", "xorm_auth", "ext_auth", "plugin_authn",
	"acl_mongo", "acl_xorm", "ext_authz", "plugin_authz", "casbin_authz",
}

// Read translates a configuration. Errors: what is wrong with the file as a
// whole, for whoever gave it.
func Read(data []byte) (Import, error) {
	if len(data) > MaxFile {
		return Import{}, fmt.Errorf("the file is larger than %d bytes", MaxFile)
	}
	var f file
	if err := yaml.Load(data, &f); err != nil {
		return Import{}, fmt.Errorf("not a configuration of docker_auth: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	if f.Users == nil && f.ACL == nil {
		return Import{}, fmt.Errorf("not a configuration of docker_auth: it has neither users nor acl")
	}
	var out Import
	for _, name := range otherSources {
		if _, set := f.Other[name]; set {
			out.Left = append(out.Left, name+": what it says is not in this file")
		}
	}
	out.users(f.Users)
	nobody := f.Users[""]
	out.acl(f.ACL, nobody != nil && nobody.Password == nil)
	return out, nil
}

// users translates the people that have a password.
func (out *Import) users(users map[string]*user) {
	names := make([]string, 0, len(users))
	for name := range users {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		u := users[name]
		switch {
		case name == "" && u != nil && u.Password == nil:
			continue // anonymous; see acl
		case name == "":
			out.leave("user \"\": it lets nobody in without a password")
		case access.ValidName(name) != nil:
			out.leave("user %q: %s", name, access.ValidName(name))
		case u == nil || u.Password == nil:
			out.leave("user %q: has no password, so that any password logs in", name)
		case !isBcrypt(*u.Password):
			out.leave("user %q: the password is not a bcrypt hash", name)
		default:
			fmt.Fprintf(&b, "%s:%s\n", name, *u.Password)
		}
		if u != nil && len(u.Other) > 0 {
			out.leave("user %q: labels have no counterpart", name)
		}
	}
	out.Htpasswd = b.String()
}

// isBcrypt reports whether s has the form of a bcrypt hash: "$2y$", two digits
// of cost, "$", 53 characters.
func isBcrypt(s string) bool {
	if len(s) != 60 || !slices.Contains([]string{"$2a$", "$2b$", "$2y$"}, s[:4]) || s[6] != '$' {
		return false
	}
	return !strings.ContainsFunc(s[7:], func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '/')
	})
}

func (out *Import) leave(format string, args ...any) {
	out.Left = append(out.Left, fmt.Sprintf(format, args...))
}
