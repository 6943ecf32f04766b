package ldap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
)

// loginFilter finds who is called name. What is typed is a value in it, whatever
// it is.
func (d *Directory) loginFilter(name string) string {
	var of strings.Builder
	for _, a := range d.d.LoginAttributes {
		of.WriteString("(" + a + "=" + goldap.EscapeFilter(name) + ")")
	}
	return "(&" + d.d.UserFilter + "(|" + of.String() + "))"
}

// subjectFilter finds who is called subject here.
func (d *Directory) subjectFilter(subject string) (string, bool) {
	value := goldap.EscapeFilter(subject)
	if d.binaryID() {
		raw, ok := parseGUID(subject)
		if !ok {
			return "", false
		}
		value = ""
		for _, b := range raw {
			value += `\` + hex.EncodeToString([]byte{b})
		}
	}
	return "(&" + d.d.UserFilter + "(" + d.d.IDAttribute + "=" + value + "))", subject != ""
}

// Attributes of Active Directory that say whether somebody is disabled.
const (
	userAccountControl = "userAccountControl"
	accountExpires     = "accountExpires"
)

func (d *Directory) attributes() []string {
	of := append([]string{d.d.IDAttribute, d.d.NameAttribute}, d.d.LoginAttributes...)
	of = append(of, present(d.d.DisabledAttribute)...)
	of = append(of, present(d.d.MemberOfAttribute)...)
	if d.d.activeDirectory() {
		of = append(of, userAccountControl, accountExpires)
	}
	slices.Sort(of)
	return slices.Compact(of)
}

// person returns the one entry that a filter finds. Errors: access.ErrBadCredential
// when there is none, more than one, or it is disabled.
func (d *Directory) person(ctx context.Context, filter string) (*goldap.Entry, error) {
	found, err := d.search(ctx, query{d.d.UserBase, goldap.ScopeWholeSubtree, filter, d.attributes(), 2})
	many := goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) || len(found) > 1
	switch {
	case many:
		// It says so only here: whoever asks gets the answer to a wrong password.
		d.o.Logger.WarnContext(ctx, "several entries are one person", "directory", d.d.Name)
		return nil, access.ErrBadCredential
	case err != nil:
		return nil, fmt.Errorf("find a person: %w", err)
	case len(found) == 0:
		return nil, access.ErrBadCredential
	}
	disabled, err := d.disabled(found[0])
	switch {
	case err != nil:
		return nil, err
	case disabled:
		return nil, access.ErrDisabled
	}
	return found[0], nil
}

// disabled reports whether the entry is of somebody who may not log in, although
// they may be found.
func (d *Directory) disabled(e *goldap.Entry) (bool, error) {
	if a := d.d.DisabledAttribute; a != "" {
		for _, v := range e.GetEqualFoldAttributeValues(a) {
			if !strings.EqualFold(v, "false") && v != "0" {
				return true, nil
			}
		}
	}
	if !d.d.activeDirectory() {
		return false, nil
	}
	control, err := strconv.ParseInt(e.GetEqualFoldAttributeValue(userAccountControl), 10, 64)
	if err != nil {
		return false, fmt.Errorf("%s of a person cannot be read: give bind_dn the right to", userAccountControl)
	}
	const accountDisable = 0x2
	return control&accountDisable != 0 || expired(e.GetEqualFoldAttributeValue(accountExpires), d.o.Now()), nil
}

// expired reads accountExpires: units of 100 ns since 1601; 0 and the greatest are
// never.
func expired(text string, now time.Time) bool {
	if text == "" {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return true
	}
	const to1970 = 11_644_473_600 // seconds
	return n != 0 && n != math.MaxInt64 && now.Unix() >= n/10_000_000-to1970
}

func (d *Directory) binaryID() bool { return strings.EqualFold(d.d.IDAttribute, "objectGUID") }

// subject returns what tells the entry from all others, for ever.
func (d *Directory) subject(e *goldap.Entry) (string, error) {
	values := e.GetEqualFoldRawAttributeValues(d.d.IDAttribute)
	if len(values) != 1 || len(values[0]) == 0 {
		return "", fmt.Errorf("a person has %d values of %s, and must have one that bind_dn may read", len(values), d.d.IDAttribute)
	}
	if !d.binaryID() {
		return string(values[0]), nil
	}
	if len(values[0]) != 16 {
		return "", fmt.Errorf("%s has %d bytes, not 16", d.d.IDAttribute, len(values[0]))
	}
	return formatGUID(values[0]), nil
}

// A GUID is shown as Windows does: its first three parts are little-endian.
var guidOrder = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

func formatGUID(raw []byte) string {
	var b [16]byte
	for i, from := range guidOrder {
		b[i] = raw[from]
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// parseGUID reads what formatGUID writes, and nothing else.
func parseGUID(s string) ([]byte, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, false
	}
	raw := make([]byte, 16)
	for i, to := range guidOrder {
		raw[to] = b[i]
	}
	return raw, formatGUID(raw) == s
}

// A query is one search. Referrals are not followed, nor aliases: what a server
// has not itself, it does not say.
type query struct {
	base       string
	scope      int
	filter     string
	attributes []string
	limit      int // entries
}

// on makes the search on a connection; with an error what it found may be a part.
func (q query) on(c *goldap.Conn, timeout time.Duration) ([]*goldap.Entry, error) {
	seconds := max(int(timeout/time.Second), 1)
	r, err := c.Search(goldap.NewSearchRequest(q.base, q.scope, goldap.NeverDerefAliases, q.limit, seconds, false, q.filter, q.attributes, nil))
	if r == nil {
		return nil, err
	}
	return r.Entries, err
}

// search returns what is found, which with an error may be a part. Errors: those of
// pool.with.
func (d *Directory) search(ctx context.Context, q query) ([]*goldap.Entry, error) {
	var found []*goldap.Entry
	err := d.searches.with(ctx, func(c *goldap.Conn) (err error) {
		found, err = q.on(c, d.o.Timeout)
		return err
	})
	if err == nil && len(found) > q.limit {
		err = goldap.NewError(goldap.LDAPResultSizeLimitExceeded, errors.New("the server does not keep to the limit"))
	}
	return slices.Clip(found), err
}
