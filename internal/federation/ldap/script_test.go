package ldap_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

// A scripted answers as it is told: as Active Directory, which cannot run here, and
// as no good server would.
type scripted struct {
	url   string
	ca    []byte
	wait  sync.WaitGroup
	mu    sync.Mutex
	binds []string // DNs
	// bind and search return a result code; search is told base and filter.
	bind   func(dn string) int64
	search func(base, filter string) ([]entry, int64)
}

// An entry is a DN and attributes, each followed by a value.
type entry []string

func script(t *testing.T, scheme string) *scripted {
	t.Helper()
	cert, key, err := slapdtest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{url: scheme + "://" + l.Addr().String(), ca: cert, bind: func(string) int64 { return 0 }}
	if scheme == "ldaps" {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	s.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() { s.serve(c) })
		}
	})
	// Those of the directory end before: it is closed later than it was opened.
	t.Cleanup(func() {
		l.Close()
		s.wait.Wait()
	})
	return s
}

func (s *scripted) serve(c net.Conn) {
	defer c.Close()
	for {
		p, err := ber.ReadPacket(c)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, op := p.Children[0].Value.(int64), p.Children[1]
		s.mu.Lock()
		switch op.Tag {
		case goldap.ApplicationBindRequest:
			dn := string(op.Children[1].ByteValue)
			s.binds = append(s.binds, dn)
			c.Write(message(id, goldap.ApplicationBindResponse, s.bind(dn)))
		case goldap.ApplicationSearchRequest:
			filter, _ := goldap.DecompileFilter(op.Children[6])
			entries, code := s.search(string(op.Children[0].ByteValue), filter)
			for _, e := range entries {
				c.Write(e.message(id))
			}
			c.Write(message(id, goldap.ApplicationSearchResultDone, code))
		case goldap.ApplicationExtendedRequest:
			c.Write(message(id, goldap.ApplicationExtendedResponse, goldap.LDAPResultProtocolError))
		default:
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func sequence(of ...*ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, c := range of {
		p.AppendChild(c)
	}
	return p
}

func operation(id int64, tag ber.Tag, of ...*ber.Packet) []byte {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	for _, c := range of {
		op.AppendChild(c)
	}
	return sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""), op).Bytes()
}

func message(id int64, tag ber.Tag, code int64) []byte {
	return operation(id, tag, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), text(""), text(""))
}

func (e entry) message(id int64) []byte {
	attributes := sequence()
	for i := 1; i < len(e); i += 2 {
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		values.AppendChild(text(e[i+1]))
		attributes.AppendChild(sequence(text(e[i]), values))
	}
	return operation(id, goldap.ApplicationSearchResultEntry, text(e[0]), attributes)
}

const (
	windowsBase = "DC=corp,DC=test"
	windowsDN   = `CN=Alice\, A. (x),OU=Staff,` + windowsBase
	guid        = "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	people      = "(&(&(objectClass=user)(!(objectClass=computer)))"
	inGroups    = "(&(&(objectClass=group)(groupType:1.2.840.113556.1.4.803:=2147483648))(|(member"
)

func windows(s *scripted) ldap.Definition {
	return ldap.Definition{
		Name: "corp", Schema: "active-directory", URLs: []string{s.url}, CA: s.ca, BindDN: "CN=registry," + windowsBase, BindPassword: access.NewSecret("canary"),
		UserBase: windowsBase, GroupBase: windowsBase,
	}
}

// TestActiveDirectory: what Active Directory is asked, and what its answers mean.
func TestActiveDirectory(t *testing.T) {
	s := script(t, "ldaps")
	member := "=" + strings.NewReplacer(`\`, `\5c`, "(", `\28`, ")", `\29`).Replace(windowsDN)
	alice := entry{windowsDN, "objectGUID", guid, "sAMAccountName", "Alice", "userAccountControl", "512"}
	found := map[string][]entry{}
	s.search = func(_, filter string) ([]entry, int64) {
		e, known := found[filter]
		if !known {
			t.Errorf("asked for %s", filter)
		}
		return e, 0
	}
	found[people+"(|(sAMAccountName=alice)))"] = []entry{alice}
	found[people+"(objectGUID=3\"\x11"+`\00UDwf\88\99\aa\bb\cc\dd\ee\ff))`] = []entry{alice}
	found[inGroups+member+")))"] = []entry{{"CN=1," + windowsBase, "sAMAccountName", "Registry-Admins"}}
	found[inGroups+":1.2.840.113556.1.4.1941:"+member+")))"] = []entry{
		{"CN=1," + windowsBase, "sAMAccountName", "Registry-Admins"}, {"CN=2," + windowsBase, "sAMAccountName", "Domain Users"}, {"CN=3," + windowsBase},
	}
	d, _ := open(t, windows(s), ldap.Options{})
	o := in(t, d, "alice")
	if o.Subject != "00112233-4455-6677-8899-aabbccddeeff" || o.Name != "Alice" {
		t.Errorf("vouches for %+v", o)
	}
	wantGroups(t, o, "registry-admins")
	again, err := d.Renew(t.Context(), o)
	if err != nil || again.Subject != o.Subject {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	_, err = d.Renew(t.Context(), access.Outside{Subject: strings.ToUpper(o.Subject)})
	wantBad(t, err)
	nested := windows(s)
	nested.Nested = true
	d, _ = open(t, nested, ldap.Options{})
	wantGroups(t, in(t, d, "alice"), "domain users", "registry-admins")
	for _, c := range []struct {
		name    string
		more    entry
		refused bool
		bad     bool
	}{
		{"disabled", entry{"userAccountControl", "514"}, true, true},
		{"unreadable", entry{}, true, false},
		{"expired", entry{"userAccountControl", "512", "accountExpires", "133000000000000000"}, true, true},
		{"expires later", entry{"userAccountControl", "512", "accountExpires", "933000000000000000"}, false, false},
		{"never expires", entry{"userAccountControl", "66048", "accountExpires", "9223372036854775807"}, false, false},
		{"never expires either", entry{"userAccountControl", "512", "accountExpires", "0"}, false, false},
	} {
		found[people+"(|(sAMAccountName=alice)))"] = []entry{append(entry{windowsDN, "objectGUID", guid, "sAMAccountName", "Alice"}, c.more...)}
		switch _, err := prove(t, d, "alice", "secret"); {
		case c.refused && c.bad:
			wantBad(t, err)
		case c.refused:
			wantUndecided(t, err)
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestStrangeAnswers: whatever a server answers but yes is no, or nothing; and what
// it has not to decide is not taken from it.
func TestStrangeAnswers(t *testing.T) {
	s := script(t, "ldaps")
	alice := entry{windowsDN, "objectGUID", guid, "sAMAccountName", "alice", "userAccountControl", "512"}
	var person, groups []entry
	var searched, bound int64
	s.search = func(_, filter string) ([]entry, int64) {
		if strings.HasPrefix(filter, people) {
			return person, searched
		}
		return groups, 0
	}
	s.bind = func(dn string) int64 {
		if dn == windowsDN {
			return bound
		}
		return 0
	}
	many := make([]entry, 1001)
	for i := range many {
		many[i] = entry{fmt.Sprintf("CN=%d,%s", i, windowsBase)}
	}
	type row struct {
		name          string
		person        []entry
		groups        []entry
		search, bind  int64
		refused, good bool
	}
	rows := []row{
		{name: "good", person: []entry{alice}, good: true},
		{name: "a group with a name of 300 bytes", person: []entry{alice}, groups: []entry{{"CN=1", "sAMAccountName", strings.Repeat("g", 300)}}, good: true},
		{name: "three where two were asked for", person: []entry{alice, alice, alice}, refused: true},
		{name: "two, and more", person: []entry{alice, alice}, search: goldap.LDAPResultSizeLimitExceeded, refused: true},
		{name: "an entry without a DN", person: []entry{append(entry{""}, alice[1:]...)}, refused: true},
		{name: "somebody else", person: []entry{{windowsDN, "objectGUID", guid, "sAMAccountName", "bob", "userAccountControl", "512"}}, refused: true},
		{name: "nobody, and elsewhere", search: goldap.LDAPResultReferral},
		{name: "somebody, and elsewhere", person: []entry{alice}, search: goldap.LDAPResultReferral},
		{name: "no such base", search: goldap.LDAPResultNoSuchObject},
		{name: "too long", person: []entry{alice}, search: goldap.LDAPResultTimeLimitExceeded},
		{name: "without an id", person: []entry{{windowsDN, "sAMAccountName", "alice", "userAccountControl", "512"}}},
		{name: "a short id", person: []entry{{windowsDN, "objectGUID", "short", "sAMAccountName", "alice", "userAccountControl", "512"}}},
		{name: "too many groups", person: []entry{alice}, groups: many},
		{name: "more than 4 MiB", person: []entry{append(alice[:7:7], "description", strings.Repeat("x", 5<<20))}},
	}
	for _, code := range []int64{49, 48, 53, 19, 32, 10, 50, 8, 13, 34} {
		rows = append(rows, row{name: goldap.LDAPResultCodeMap[uint16(code)], person: []entry{alice}, bind: code, refused: true})
	}
	for _, code := range []int64{1, 2, 51, 52, 80} {
		rows = append(rows, row{name: goldap.LDAPResultCodeMap[uint16(code)], person: []entry{alice}, bind: code})
	}
	for _, c := range rows {
		s.mu.Lock()
		person, groups, searched, bound, s.binds = c.person, c.groups, c.search, c.bind, nil
		s.mu.Unlock()
		d, _ := open(t, windows(s), ldap.Options{})
		_, err := prove(t, d, "alice", "secret")
		switch {
		case c.good && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.refused:
			wantBad(t, err)
		case !c.good:
			wantUndecided(t, err)
		}
		if err == nil != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
		s.mu.Lock()
		for _, dn := range s.binds {
			if dn != windowsDN && dn != "CN=registry,"+windowsBase {
				t.Errorf("%s: bound as %q", c.name, dn)
			}
		}
		s.mu.Unlock()
	}
}

// TestStripped: I-11 a server that will not begin TLS is told nothing.
func TestStripped(t *testing.T) {
	s := script(t, "ldap")
	s.search = func(_, filter string) ([]entry, int64) {
		t.Errorf("searched in clear: %s", filter)
		return nil, 0
	}
	d, _ := open(t, windows(s), ldap.Options{})
	_, err := prove(t, d, "alice", "secret")
	wantUndecided(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.binds) > 0 {
		t.Errorf("bound in clear as %s", s.binds)
	}
}
