package ldap_test

import (
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/federation/ldap"
)

// FuzzFilter: I-10, law: whatever stands in a name, a subject or a DN, the filter has
// the same parts, and the value in it is that, byte for byte.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"alice", "", "*", "a)(|(uid=*)", `\2a`, `\`, "\x00", "(", ")", "ä", "\xff", special, "\u200b"} {
		f.Add(s)
	}
	d, err := ldap.New(ldap.Definition{
		Name: "corp", Schema: "rfc2307bis", URLs: []string{"ldaps://corp.test"}, UserBase: "dc=corp", LoginAttributes: []string{"uid", "mail"},
	}, ldap.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		either := part(t, d.LoginFilter(s), goldap.FilterOr)
		if len(either.Children) != 2 {
			t.Fatalf("%q: %d ways to be called that", s, len(either.Children))
		}
		equal(t, either.Children[0], "uid", s)
		equal(t, either.Children[1], "mail", s)
		equal(t, part(t, d.MemberFilter(s), goldap.FilterOr).Children[0], "member", s)
		if filter, ok := d.SubjectFilter(s); ok {
			equal(t, part(t, filter, goldap.FilterEqualityMatch), "entryUUID", s)
		} else if s != "" {
			t.Errorf("%q is no subject", s)
		}
		if raw, again, ok := ldap.GUIDs(s); ok && (again != s || len(raw) != 16) {
			t.Errorf("%q is the GUID %q", s, again)
		}
	})
}

// part returns what stands behind the fixed part of a filter.
func part(t *testing.T, filter string, tag ber.Tag) *ber.Packet {
	p, err := goldap.CompileFilter(filter)
	if err != nil {
		t.Fatalf("%s: %v", filter, err)
	}
	if p.Tag != goldap.FilterAnd || len(p.Children) != 2 || p.Children[1].Tag != tag {
		t.Fatalf("%s is another filter", filter)
	}
	return p.Children[1]
}

func equal(t *testing.T, p *ber.Packet, attribute, value string) {
	if p.Tag != goldap.FilterEqualityMatch || len(p.Children) != 2 || p.Children[0].Data.String() != attribute || p.Children[1].Data.String() != value {
		t.Errorf("%q in the filter is %q %q", value, p.Children[0].Data, p.Children[1].Data)
	}
}
