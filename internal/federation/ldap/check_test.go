package ldap_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

// TestExamine: each step that can go wrong is named, with its cure.
func TestExamine(t *testing.T) {
	s := slapdtest.Start(t)
	plain := script(t, "ldap")
	other, _, err := slapdtest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	alice := s.AddPerson("alice")
	s.AddPerson("gone", "description", "TRUE")
	s.AddGroup("dev", alice)
	s.AddGroup("All Staff", alice)
	s.Add("ou=more,"+slapdtest.Groups, "objectClass", "organizationalUnit", "ou", "more")
	for _, c := range []struct {
		name, user string
		change     func(*ldap.Definition)
		want       string // "STEP LEVEL TEXT" of one finding, and part of its cure
		cure       string
	}{
		{"connected", "", nil, "connection ok TLS", ""},
		{"bound", "", nil, "bind ok as " + slapdtest.BindDN, ""},
		{"people", "", nil, "people ok there are some", ""},
		{"groups", "", nil, "groups ok 2 below", ""},
		{"no groups", "", func(d *ldap.Definition) { d.GroupBase = "" }, "groups ok nobody has any", ""},
		{"authority", "", func(d *ldap.Definition) { d.CA = other }, "connection problem TLS", "ca_file"},
		{"no server", "", func(d *ldap.Definition) { d.URLs = []string{"ldaps://127.0.0.1:1"} }, "connection problem connect", "port"},
		{"other name", "", func(d *ldap.Definition) { d.URLs = []string{strings.Replace(s.URL, "127.0.0.1", "localhost", 1)} }, "connection problem TLS", "certificate is for"},
		{"no StartTLS", "", func(d *ldap.Definition) { d.URLs, d.CA = []string{plain.url}, plain.ca }, "connection problem StartTLS", "ldaps://"},
		{"bind", "", func(d *ldap.Definition) { d.BindPassword = access.NewSecret("canary") }, "bind problem as cn=registry", "bind_password_file"},
		{"base", "", func(d *ldap.Definition) { d.UserBase = "ou=none," + slapdtest.Base }, "people problem below ou=none", "correct it"},
		{"filter", "", func(d *ldap.Definition) { d.UserFilter = "(objectClass=device)" }, "people problem below ou=people", "filter"},
		{"id", "", func(d *ldap.Definition) { d.IDAttribute = "mail" }, "people problem uid=", "id_attribute"},
		{"group base", "", func(d *ldap.Definition) { d.GroupBase = "ou=none," + slapdtest.Base }, "groups problem below ou=none", "correct it"},
		{"person", "alice", nil, "person warning " + alice + " has the subject", "lower-case"},
		{"their groups", "alice", func(d *ldap.Definition) { d.GroupFilter = "(cn=dev)" }, "person ok " + alice, ""},
		{"nobody", "*", nil, "person problem no entry", "login_attributes"},
		{"disabled", "gone", func(d *ldap.Definition) { d.DisabledAttribute = "description" }, "person problem gone is disabled", ""},
		{"not allowed", "alice", func(d *ldap.Definition) { d.AllowedGroups = []string{"ops"} }, "person problem " + alice + " is in none", ""},
		{"allowed", "alice", func(d *ldap.Definition) { d.AllowedGroups = []string{"all staff"} }, "person warning " + alice, ""},
	} {
		if c.change == nil {
			c.change = func(*ldap.Definition) {}
		}
		d, _ := open(t, corp(s, c.change), ldap.Options{})
		holds(t, c.name, d.Examine(t.Context(), c.user), c.want, c.cure)
	}
	later := &clock{now: time.Now().Add(80 * 24 * time.Hour)}
	d, _ := open(t, corp(s), ldap.Options{Now: later.get})
	holds(t, "ends soon", d.Examine(t.Context(), ""), "connection warning TLS", "renew")
	s.Add("cn=Dev,ou=more,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "Dev", "member", alice)
	d, _ = open(t, corp(s), ldap.Options{})
	holds(t, "twice", d.Examine(t.Context(), ""), "groups warning cn=dev", "group_base")
}

func holds(t *testing.T, name string, found []ldap.Finding, want, cure string) {
	t.Helper()
	for _, f := range found {
		if strings.HasPrefix(fmt.Sprintf("%s %s %s", f.Step, f.Level, f.Text), want) && strings.Contains(f.Cure, cure) && (f.Cure != "") == (cure != "" || f.Level == ldap.Warning) {
			return
		}
	}
	t.Errorf("%s: found %+v, want %s (%s)", name, found, want, cure)
}
