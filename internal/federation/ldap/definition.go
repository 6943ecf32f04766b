package ldap

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
)

// A Definition is one directory as it is configured. What is empty is what Schema
// says.
type Definition struct {
	Name   string
	Schema string   // one of Schemas
	URLs   []string // ldaps://, or ldap:// which is always StartTLS, in the order in which they are asked
	CA     []byte   // PEM, of the servers; or the machine's
	// BindDN and BindPassword are whom searches are made as; "" is nobody.
	BindDN       string
	BindPassword access.Secret

	UserBase, UserFilter string
	LoginAttributes      []string // what people may type, each
	IDAttribute          string   // what tells one person from another, for ever
	NameAttribute        string   // what a new account is called
	DisabledAttribute    string   // who has it, and not as FALSE or 0, is nobody; "" is none

	GroupBase, GroupFilter string // without a base nobody has groups
	GroupNameAttribute     string
	MemberAttribute        string // of groups
	// MemberOfAttribute, of people, is read instead of searching for groups.
	MemberOfAttribute string
	Nested            bool // who is in a group is also in those that it is in

	AllowedGroups []string // none: everybody
}

// Schemas are what Definition.Schema can be.
var Schemas = []string{"active-directory", "rfc2307bis", "rfc2307"}

var schemas = map[string]Definition{
	"active-directory": {
		UserFilter: "(&(objectClass=user)(!(objectClass=computer)))", LoginAttributes: []string{"sAMAccountName"},
		IDAttribute: "objectGUID", NameAttribute: "sAMAccountName",
		// Groups of security alone: anybody may keep lists of recipients.
		GroupFilter:        "(&(objectClass=group)(groupType:1.2.840.113556.1.4.803:=2147483648))",
		GroupNameAttribute: "sAMAccountName", MemberAttribute: "member",
	},
	"rfc2307bis": {
		UserFilter: "(objectClass=person)", LoginAttributes: []string{"uid"}, IDAttribute: "entryUUID", NameAttribute: "uid",
		DisabledAttribute: "pwdAccountLockedTime",
		GroupFilter:       "(objectClass=groupOfNames)", GroupNameAttribute: "cn", MemberAttribute: "member",
	},
	"rfc2307": {
		UserFilter: "(objectClass=posixAccount)", LoginAttributes: []string{"uid"}, IDAttribute: "entryUUID", NameAttribute: "uid",
		DisabledAttribute: "pwdAccountLockedTime",
		GroupFilter:       "(objectClass=posixGroup)", GroupNameAttribute: "cn", MemberAttribute: "memberUid",
	},
}

// complete fills in what is empty.
func (d Definition) complete() Definition {
	s := schemas[d.Schema]
	d.UserFilter, d.GroupFilter = cmp.Or(d.UserFilter, s.UserFilter), cmp.Or(d.GroupFilter, s.GroupFilter)
	if len(d.LoginAttributes) == 0 {
		d.LoginAttributes = s.LoginAttributes
	}
	d.IDAttribute, d.NameAttribute = cmp.Or(d.IDAttribute, s.IDAttribute), cmp.Or(d.NameAttribute, s.NameAttribute)
	d.DisabledAttribute = cmp.Or(d.DisabledAttribute, s.DisabledAttribute)
	d.GroupNameAttribute, d.MemberAttribute = cmp.Or(d.GroupNameAttribute, s.GroupNameAttribute), cmp.Or(d.MemberAttribute, s.MemberAttribute)
	d.AllowedGroups = slices.Clone(d.AllowedGroups)
	for i, g := range d.AllowedGroups {
		d.AllowedGroups[i] = lower(g)
	}
	return d
}

// byName reports whether groups hold names of people instead of their DNs.
func (d Definition) byName() bool { return strings.EqualFold(d.MemberAttribute, "memberUid") }

func (d Definition) activeDirectory() bool { return d.Schema == "active-directory" }

// Issuer is who vouches for the people of the directory of that name.
func Issuer(name string) string { return "ldap:" + name }

// An Invalid is what is wrong with a definition, and the cure. Key is the setting.
type Invalid struct{ Key, Problem, Cure string }

func (e *Invalid) Error() string { return e.Key + ": " + e.Problem }

// Hint returns the cure as one line.
func (e *Invalid) Hint() string { return e.Cure }

// maxURLs bounds how many servers there may be: who logs in waits for each.
const maxURLs = 8

// Check returns what is wrong with d, or nil.
func (d Definition) Check() *Invalid {
	if !slices.Contains(Schemas, d.Schema) {
		return &Invalid{"schema", fmt.Sprintf("%.60q is not one", d.Schema), "write one of " + strings.Join(Schemas, ", ")}
	}
	if len(d.URLs) == 0 || len(d.URLs) > maxURLs {
		return &Invalid{"urls", fmt.Sprintf("has %d servers", len(d.URLs)), fmt.Sprintf("name 1 to %d, such as ldaps://ldap.corp.example", maxURLs)}
	}
	for _, u := range d.URLs {
		if _, err := parseURL(u); err != nil {
			return &Invalid{"urls", err.Error(), "write ldaps://HOST or ldaps://HOST:PORT; ldap:// is the same with StartTLS"}
		}
	}
	if (d.BindDN == "") != d.BindPassword.IsZero() {
		return &Invalid{"bind_dn", "and bind_password_file belong together", "set both, or neither where anybody may search"}
	}
	if len(d.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(d.CA) {
		return &Invalid{"ca_file", "holds no certificate", "name a PEM file"}
	}
	d = d.complete()
	for _, dn := range []struct{ key, value string }{{"bind_dn", d.BindDN}, {"user_base", d.UserBase}, {"group_base", d.GroupBase}} {
		if _, err := goldap.ParseDN(dn.value); err != nil || dn.key == "user_base" && dn.value == "" {
			return &Invalid{dn.key, fmt.Sprintf("%.100q is not a DN", dn.value), "write one such as ou=people,dc=corp,dc=example"}
		}
	}
	if bad := d.checkFilters(); bad != nil {
		return bad
	}
	if d.GroupBase == "" && (len(d.AllowedGroups) > 0 || d.Nested || d.MemberOfAttribute != "") {
		return &Invalid{"group_base", "is missing", "say where groups are: without it nobody has any"}
	}
	if d.Nested && d.byName() {
		return &Invalid{"nested_groups", "means nothing with memberUid, which names people", "remove it"}
	}
	return nil
}

// attribute is the name of an attribute type, without options.
var attribute = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,127}$`)

func (d Definition) checkFilters() *Invalid {
	for _, f := range []struct{ key, value string }{{"user_filter", d.UserFilter}, {"group_filter", d.GroupFilter}} {
		if _, err := goldap.CompileFilter(f.value); err != nil {
			return &Invalid{f.key, fmt.Sprintf("%.100q is not a filter", f.value), "write one such as (objectClass=person)"}
		}
	}
	for _, a := range []struct {
		key    string
		values []string
	}{
		{"login_attributes", d.LoginAttributes}, {"id_attribute", []string{d.IDAttribute}}, {"name_attribute", []string{d.NameAttribute}},
		{"disabled_attribute", present(d.DisabledAttribute)}, {"group_name_attribute", []string{d.GroupNameAttribute}},
		{"member_attribute", []string{d.MemberAttribute}}, {"member_of_attribute", present(d.MemberOfAttribute)},
	} {
		for _, name := range a.values {
			if !attribute.MatchString(name) {
				return &Invalid{a.key, fmt.Sprintf("%.60q is not the name of an attribute", name), "write letters, digits and hyphens, such as uid"}
			}
		}
	}
	return nil
}

func present(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// An address is where a server is, and how TLS begins there.
type address struct {
	url, host, port string
	startTLS        bool
}

func parseURL(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return address{}, fmt.Errorf("%.100q is not the URL of a directory", text)
	}
	a := address{url: u.Scheme + "://" + u.Host, host: u.Hostname(), port: u.Port()}
	switch u.Scheme {
	case "ldaps":
		a.port = cmp.Or(a.port, "636")
	case "ldap":
		a.port, a.startTLS = cmp.Or(a.port, "389"), true
	default:
		return address{}, fmt.Errorf("%.100q is neither ldaps:// nor ldap://", text)
	}
	if a.host == "" {
		return address{}, fmt.Errorf("%.100q names no host", text)
	}
	return a, nil
}

func (a address) dial() string { return net.JoinHostPort(a.host, a.port) }

// lower is for names that directories compare without regard to case. Only ASCII is
// folded: of other letters, two could become one.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}
