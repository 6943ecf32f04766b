package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
)

// A Level says how a finding is to be taken.
type Level string

// The levels. Nobody can log in, or not as they should, where one is Bad.
const (
	Good    Level = "ok"
	Warning Level = "warning"
	Bad     Level = "problem"
)

// A Finding is what one step of a check found.
type Finding struct {
	Server string `json:"server,omitempty"` // its URL; "" for what is asked of the first that answers
	Step   string `json:"step"`             // "connection", "bind", "people", "groups", "person"
	Level  Level  `json:"level"`
	Text   string `json:"text"`
	Cure   string `json:"cure,omitempty"`
}

// soon is how long before its end a certificate is warned about.
const soon = 14 * 24 * time.Hour

// Examine goes through every step at each server, and with a name looks at what that
// person would be here. It asks for no password.
func (d *Directory) Examine(ctx context.Context, name string) []Finding {
	var out []Finding
	for _, s := range d.servers {
		e := &examination{d: d, server: s}
		e.run(ctx)
		out = append(out, e.found...)
	}
	if name != "" {
		out = append(out, d.examinePerson(ctx, name))
	}
	return out
}

// An examination is of one server.
type examination struct {
	d      *Directory
	server *server
	found  []Finding
}

func (e *examination) say(step string, l Level, cure, format string, args ...any) {
	e.found = append(e.found, Finding{e.server.url, step, l, fmt.Sprintf(format, args...), cure})
}

func (e *examination) run(ctx context.Context) {
	d := e.d
	c, err := d.dial(ctx, e.server)
	if err != nil {
		e.say("connection", Bad, e.cureOfDial(err), "%s", err)
		return
	}
	defer c.Close()
	e.connected(c)
	if d.d.BindDN != "" {
		err := c.do(ctx, d.o.Timeout, func(l *goldap.Conn) error { return l.Bind(d.d.BindDN, d.d.BindPassword.Reveal()) })
		if err != nil {
			e.say("bind", Bad, "compare bind_dn and bind_password_file with what the directory has", "as %s: %s", d.d.BindDN, err)
			return
		}
		e.say("bind", Good, "", "as %s", d.d.BindDN)
	}
	e.people(ctx, c)
	if d.d.GroupBase == "" {
		e.say("groups", Good, "", "nobody has any: group_base is not set")
		return
	}
	e.groups(ctx, c)
}

func (e *examination) connected(c *conn) {
	state, _ := c.TLSConnectionState()
	if len(state.PeerCertificates) == 0 {
		e.say("connection", Bad, "", "the server shows no certificate")
		return
	}
	level, cure, end := Good, "", state.PeerCertificates[0].NotAfter
	if end.Sub(e.d.o.Now()) < soon {
		level, cure = Warning, "renew the server's certificate"
	}
	e.say("connection", level, cure, "TLS, with a certificate that is good until %s", end.UTC().Format("2006-01-02 15:04Z"))
}

func (e *examination) cureOfDial(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the certificate of its authority in ca_file"
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return "write into urls the name that its certificate is for: " + strings.Join(name.Certificate.DNSNames, ", ")
	}
	if goldap.IsErrorAnyOf(err, goldap.LDAPResultProtocolError, goldap.LDAPResultUnavailable, goldap.LDAPResultUnwillingToPerform) {
		return "the server has no StartTLS: write ldaps:// into urls, or give it a certificate"
	}
	return "check host and port in urls, and what lies between"
}

// ask is a search on the connection that is examined.
func (e *examination) ask(ctx context.Context, c *conn, q query) ([]*goldap.Entry, error) {
	var found []*goldap.Entry
	err := c.do(ctx, e.d.o.Timeout, func(l *goldap.Conn) (err error) {
		found, err = q.on(l, e.d.o.Timeout)
		return err
	})
	if goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) {
		err = nil // there are more
	}
	return found, err
}

// searched says why a search was no good, and reports whether it was.
func (e *examination) searched(step, base, filter string, found []*goldap.Entry, err error) bool {
	switch {
	case goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject):
		e.say(step, Bad, "correct it, or give bind_dn the right to read it", "below %s: there is no such entry", base)
	case err != nil:
		e.say(step, Bad, "see what the directory's log says", "below %s: %s", base, err)
	case len(found) == 0:
		e.say(step, Bad, "compare base and filter with the directory, and give bind_dn the right to read it", "below %s: nothing matches %s", base, filter)
	}
	return err == nil && len(found) > 0
}

func (e *examination) people(ctx context.Context, c *conn) {
	d := e.d
	found, err := e.ask(ctx, c, query{d.d.UserBase, goldap.ScopeWholeSubtree, d.d.UserFilter, d.attributes(), 1})
	if !e.searched("people", d.d.UserBase, d.d.UserFilter, found, err) {
		return
	}
	if _, err := d.subject(found[0]); err != nil {
		e.say("people", Bad, "set id_attribute to one that every person has, and give bind_dn the right to read it", "%s: %s", found[0].DN, err)
		return
	}
	if _, err := d.disabled(found[0]); err != nil {
		e.say("people", Bad, "", "%s: %s", found[0].DN, err)
		return
	}
	e.say("people", Good, "", "there are some below %s", d.d.UserBase)
}

func (e *examination) groups(ctx context.Context, c *conn) {
	d := e.d.d
	found, err := e.ask(ctx, c, query{d.GroupBase, goldap.ScopeWholeSubtree, d.GroupFilter, []string{d.GroupNameAttribute}, maxGroups})
	if !e.searched("groups", d.GroupBase, d.GroupFilter, found, err) {
		return
	}
	names := map[string]string{} // → DN
	for _, g := range found {
		name := lower(g.GetEqualFoldAttributeValue(d.GroupNameAttribute))
		if other, twice := names[name]; twice && name != "" {
			e.say("groups", Warning, "narrow group_base or group_filter, or choose another group_name_attribute", "%s and %s are one group here, %s/%s", other, g.DN, d.Name, name)
			return
		}
		names[name] = g.DN
	}
	e.say("groups", Good, "", "%d below %s", len(found), d.GroupBase)
}

// examinePerson says what somebody would be here.
func (d *Directory) examinePerson(ctx context.Context, name string) Finding {
	f := Finding{Step: "person", Level: Bad}
	ctx, cancel := d.within(ctx)
	defer cancel()
	e, err := d.person(ctx, d.loginFilter(name))
	switch {
	case errors.Is(err, access.ErrDisabled):
		f.Text = name + " is disabled"
		return f
	case errors.Is(err, access.ErrBadCredential), err == nil && !d.isCalled(e, name):
		f.Text, f.Cure = "no entry, or more than one, is "+name, "compare user_base, user_filter and login_attributes with the entry"
		return f
	case err != nil:
		f.Text = err.Error()
		return f
	}
	o, err := d.vouch(ctx, e)
	switch {
	case errors.Is(err, access.ErrBadCredential):
		f.Text = e.DN + " is in none of allowed_groups"
		return f
	case err != nil:
		f.Text = e.DN + ": " + err.Error()
		return f
	}
	var groups, others []string
	for _, g := range o.Groups {
		if full := d.d.Name + "/" + g; access.ValidName(full) == nil {
			groups = append(groups, "group:"+full)
		} else {
			others = append(others, fmt.Sprintf("%q", g))
		}
	}
	f.Level, f.Text = Good, fmt.Sprintf("%s has the subject %s and the groups [%s]", e.DN, o.Subject, strings.Join(groups, ", "))
	if len(others) > 0 {
		f.Level, f.Cure = Warning, "give groups that the policy is to name a name of lower-case letters, digits and . _ -"
		f.Text += "; no names here: " + strings.Join(others, ", ")
	}
	return f
}
