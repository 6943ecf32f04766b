package ldap_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

// special is a name that is something else to whoever does not escape it.
const special = `a,b+c="d"\<e>;*(f)#`

// TestProve: who shows the right password is vouched for by what never changes; I-09
// and I-10, nothing else is a login, and what is typed is a value and no more.
func TestProve(t *testing.T) {
	s := slapdtest.Start(t)
	alice := s.AddPerson("alice", "mail", "alice@corp.test")
	s.AddPerson(special)
	s.AddPerson("without")
	s.Set("uid=without,"+slapdtest.People, "userPassword")
	s.AddGroup("dev", alice, "uid="+goldap.EscapeDN(special)+","+slapdtest.People)
	for _, url := range []string{s.URL, s.StartTLS} {
		wire := newRelay(t, url)
		scheme, _, _ := strings.Cut(url, ":")
		d, _ := open(t, corp(s, func(d *ldap.Definition) {
			d.URLs, d.LoginAttributes = []string{wire.url(scheme)}, []string{"uid", "mail"}
		}), ldap.Options{})
		o := in(t, d, "alice")
		if o.Provider != "corp" || o.Issuer != "ldap:corp" || o.Name != "alice" || len(o.Subject) != 36 || strings.Contains(o.Subject, "alice") || !o.Renewal.IsZero() {
			t.Errorf("vouches for %+v", o)
		}
		wantGroups(t, o, "dev")
		wantGroups(t, in(t, d, special), "dev")
		for _, name := range []string{"ALICE", "alice@corp.test"} {
			if again, err := prove(t, d, name, "canary-of-alice"); err != nil || again.Subject != o.Subject {
				t.Errorf("as %q: %s, %v", name, again.Subject, err)
			}
		}
		for _, password := range []string{"", "wrong", "canary-of-alicE", "canary-of-alice\x00", "\x00", strings.Repeat("x", 1025)} {
			_, err := prove(t, d, "alice", password)
			wantBad(t, err)
		}
		for _, name := range []string{
			"", "*", "a*", "nobody", "a)(|(uid=*)", "alice)(uid=*", `\2a`, `alice\00`, "alice\x00", "alice,ou=people", "cn=registry",
			slapdtest.BindDN, alice, "alice ", " alice", "ali\u00adce", "ａlice", "alice\u200b", "a\xff", "alice\n", strings.Repeat("a", 257),
			"without",
		} {
			_, err := prove(t, d, name, "canary-of-alice")
			wantBad(t, err)
		}
		if heard := wire.heard.String(); strings.Contains(heard, "canary") || strings.Contains(heard, "alice") {
			t.Errorf("%s: passwords or names on the wire in clear", scheme)
		}
	}
}

// TestOneMatch: I-11 who is found twice, or more often, is nobody; so is who is
// disabled or not found by the filter.
func TestOneMatch(t *testing.T) {
	s := slapdtest.Start(t)
	for i, name := range []string{"alice", "bob", "bob", "carol", "carol", "carol", "dave", "erin"} {
		unit := fmt.Sprintf("ou=%d,%s", i, slapdtest.People)
		s.Add(unit, "objectClass", "organizationalUnit", "ou", fmt.Sprint(i))
		s.Add("uid="+name+","+unit, "objectClass", "inetOrgPerson", "uid", name, "cn", name, "sn", name, "userPassword", "canary-of-"+name)
	}
	s.Set("uid=dave,ou=6,"+slapdtest.People, "description", "gone")
	s.Set("uid=erin,ou=7,"+slapdtest.People, "description", "FALSE")
	d, log := open(t, corp(s, func(d *ldap.Definition) { d.DisabledAttribute = "description" }), ldap.Options{})
	for _, name := range []string{"bob", "carol", "dave"} {
		_, err := prove(t, d, name, "canary-of-"+name)
		wantBad(t, err)
	}
	if strings.Count(log.String(), "several entries are one person") != 2 {
		t.Errorf("log: %s", log)
	}
	in(t, d, "alice")
	in(t, d, "erin")
	d, _ = open(t, corp(s, func(d *ldap.Definition) { d.UserFilter = "(&(objectClass=person)(!(uid=alice)))" }), ldap.Options{})
	_, err := prove(t, d, "alice", "canary-of-alice")
	wantBad(t, err)
}

// TestRenew: I-21 what is asked again is who has the subject, whatever it is called
// by then.
func TestRenew(t *testing.T) {
	s := slapdtest.Start(t)
	alice := s.AddPerson("alice")
	bob := s.AddPerson("bob")
	dev := s.AddGroup("dev", alice, bob)
	d, _ := open(t, corp(s, func(d *ldap.Definition) {
		d.AllowedGroups, d.DisabledAttribute = []string{"DEV", "ops"}, "description"
	}), ldap.Options{})
	renew := func(o access.Outside) (access.Outside, error) { return d.Renew(t.Context(), o) }
	first := in(t, d, "alice")
	s.Do(func(c *goldap.Conn) error {
		return c.ModifyDN(goldap.NewModifyDNRequest(alice, "uid=alice2", true, ""))
	})
	s.Set(dev, "member", bob, "uid=alice2,"+slapdtest.People)
	if o, err := renew(first); err != nil || o.Subject != first.Subject || o.Name != "alice2" || len(o.Groups) != 1 {
		t.Errorf("renamed: %+v, %v", o, err)
	}
	_, err := prove(t, d, "alice", "canary-of-alice")
	wantBad(t, err)
	if o, err := prove(t, d, "alice2", "canary-of-alice"); err != nil || o.Subject != first.Subject {
		t.Errorf("by the new name: %+v, %v", o, err)
	}
	again := s.AddPerson("alice") // the name is given to somebody else
	s.Set(dev, "member", bob, "uid=alice2,"+slapdtest.People, again)
	if o := in(t, d, "alice"); o.Subject == first.Subject {
		t.Error("who has the name is taken for who had it")
	}
	s.Set(dev, "member", bob)
	_, err = renew(first)
	wantBad(t, err) // in no group that may sign in
	s.Set(dev, "member", bob, "uid=alice2,"+slapdtest.People)
	s.Set("uid=alice2,"+slapdtest.People, "description", "left")
	_, err = renew(first)
	wantBad(t, err)
	s.Remove("uid=alice2," + slapdtest.People)
	_, err = renew(first)
	wantBad(t, err)
	for _, subject := range []string{"", "*", "nobody"} {
		_, err = renew(access.Outside{Subject: subject})
		wantBad(t, err)
	}
	s.Stop()
	_, err = renew(first)
	wantUndecided(t, err)
}

// TestGroups: groups in groups are found once each, also in a circle, by searching
// for members or by what people say; never by a member's name as a filter.
func TestGroups(t *testing.T) {
	s := slapdtest.Start(t)
	alice, bob := s.AddPerson("alice"), s.AddPerson("bob")
	dev := s.AddGroup("Dev", alice)
	odd := s.AddGroup(special, dev)
	top := s.AddGroup("top", odd)
	s.Set(dev, "member", alice, top) // in a circle
	s.AddGroup("other", bob)
	s.Add("cn=outside,"+slapdtest.Base, "objectClass", "groupOfNames", "cn", "outside", "member", alice)
	s.Add("cn=both,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "both", "cn", "admin", "member", alice)
	s.Add("cn=posix,"+slapdtest.Groups, "objectClass", "posixGroup", "cn", "posix", "gidNumber", "1", "memberUid", "alice", "memberUid", "*")
	odds := strings.ToLower(special)
	for _, c := range []struct {
		name   string
		change func(*ldap.Definition)
		want   []string
	}{
		{"direct", func(*ldap.Definition) {}, []string{"dev"}},
		{"nested", func(d *ldap.Definition) { d.Nested = true }, []string{odds, "dev", "top"}},
		{"memberOf", func(d *ldap.Definition) { d.MemberOfAttribute = "memberOf" }, []string{"dev"}},
		{"memberOf nested", func(d *ldap.Definition) { d.MemberOfAttribute, d.Nested = "memberOf", true }, []string{odds, "dev", "top"}},
		{"filter", func(d *ldap.Definition) { d.GroupFilter, d.Nested = "(cn=dev)", true }, []string{"dev"}},
		{"no base", func(d *ldap.Definition) { d.GroupBase = "" }, nil},
		{"posix", func(d *ldap.Definition) { d.Schema, d.UserFilter = "rfc2307", "(objectClass=person)" }, []string{"posix"}},
	} {
		d, _ := open(t, corp(s, c.change), ldap.Options{})
		if o := in(t, d, "alice"); strings.Join(o.Groups, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: groups %q, want %q", c.name, o.Groups, c.want)
		}
	}
	member := alice
	for i := range 20 {
		member = s.AddGroup(fmt.Sprintf("chain-%d", i), member)
	}
	d, _ := open(t, corp(s, func(d *ldap.Definition) { d.Nested = true }), ldap.Options{})
	_, err := prove(t, d, "alice", "canary-of-alice")
	wantUndecided(t, err)
}

// TestTrust: I-11 nobody is asked whose certificate is not good, and no server
// without TLS.
func TestTrust(t *testing.T) {
	s := slapdtest.Start(t)
	s.AddPerson("alice")
	other, _, err := slapdtest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{s.URL, s.StartTLS} {
		for _, ca := range [][]byte{other, nil} {
			wire := newRelay(t, url)
			scheme, _, _ := strings.Cut(url, ":")
			d, log := open(t, corp(s, func(d *ldap.Definition) { d.URLs, d.CA = []string{wire.url(scheme)}, ca }), ldap.Options{})
			_, err := prove(t, d, "alice", "canary-of-alice")
			wantUndecided(t, err)
			if heard := wire.heard.String(); wire.dials.Load() == 0 || strings.Contains(heard, "canary") || strings.Contains(heard, "registry") {
				t.Errorf("%s: said %q to who is not trusted", url, heard)
			}
			if !strings.Contains(log.String(), "certificate") {
				t.Errorf("log does not say why: %s", log)
			}
		}
	}
	d, _ := open(t, corp(s, func(d *ldap.Definition) { d.BindPassword = access.NewSecret("wrong") }), ldap.Options{})
	_, err = prove(t, d, "alice", "canary-of-alice")
	wantUndecided(t, err)
	d, _ = open(t, corp(s, func(d *ldap.Definition) { d.BindDN, d.BindPassword = "", access.Secret{} }), ldap.Options{})
	_, err = prove(t, d, "alice", "canary-of-alice")
	if err == nil {
		t.Error("a search without a bind finds what only bind_dn may read")
	}
}

// TestReferral: I-11 who is somewhere else is nobody, and nobody is asked there.
func TestReferral(t *testing.T) {
	s := slapdtest.Start(t)
	sink := newRelay(t, s.URL)
	s.AddPerson("alice")
	s.Add("ou=away,"+slapdtest.People, "objectClass", "referral", "objectClass", "extensibleObject", "ou", "away",
		"ref", sink.url("ldap")+"/"+slapdtest.People)
	d, _ := open(t, corp(s), ldap.Options{})
	in(t, d, "alice")
	_, err := prove(t, d, "bob", "canary-of-bob")
	wantBad(t, err)
	d, _ = open(t, corp(s, func(d *ldap.Definition) { d.UserBase = "ou=away," + slapdtest.People }), ldap.Options{})
	_, err = prove(t, d, "alice", "canary-of-alice")
	wantUndecided(t, err)
	if n := sink.dials.Load(); n != 0 {
		t.Errorf("asked %d times where it was sent", n)
	}
}

// TestFailover: the next server is asked when one is dead, and a dead one is left
// alone for a while.
func TestFailover(t *testing.T) {
	one, two := slapdtest.Start(t), slapdtest.Start(t)
	first, second := newRelay(t, one.URL), newRelay(t, two.URL)
	one.AddPerson("alice")
	two.AddPerson("alice")
	now := &clock{now: time.Now()}
	d, log := open(t, corp(one, func(d *ldap.Definition) {
		d.URLs, d.CA = []string{first.url("ldaps"), second.url("ldaps")}, append(one.CA, two.CA...)
	}), ldap.Options{Now: now.get})
	a := in(t, d, "alice").Subject
	if second.dials.Load() != 0 {
		t.Error("the second was asked although the first answers")
	}
	one.Stop()
	first.cut()
	if in(t, d, "alice").Subject == a {
		t.Error("the dead one has answered")
	}
	dials := first.dials.Load()
	for range 5 {
		in(t, d, "alice")
		second.cut() // so that each has to connect
	}
	if n := first.dials.Load(); n != dials {
		t.Errorf("a dead server was asked %d times more by 5 logins", n-dials)
	}
	two.Stop()
	second.cut()
	dials = first.dials.Load() + second.dials.Load()
	for range 5 {
		_, err := prove(t, d, "alice", "canary-of-alice")
		wantUndecided(t, err)
	}
	if n := first.dials.Load() + second.dials.Load() - dials; n > 1 {
		t.Errorf("dead servers were asked %d times more by 5 logins", n)
	}
	one.Run()
	now.pass(2 * time.Minute)
	if in(t, d, "alice").Subject != a {
		t.Error("the first, which is back, was not asked")
	}
	if !strings.Contains(log.String(), "answers again") {
		t.Errorf("log: %s", log)
	}
}

// TestLeftAlone: who did not answer is left alone longer each time, and once for all
// who asked together.
func TestLeftAlone(t *testing.T) {
	want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	for _, together := range []int{1, 4} {
		if got := ldap.LeftAlone(together, len(want)); !slices.Equal(got, want) {
			t.Errorf("%d together: %v", together, got)
		}
	}
}

// TestDeaf: a server that takes connections and says nothing is like a dead one.
func TestDeaf(t *testing.T) {
	s := slapdtest.Start(t)
	s.AddPerson("alice")
	deaf, good := newRelay(t, s.URL), newRelay(t, s.URL)
	d, _ := open(t, corp(s, func(d *ldap.Definition) { d.URLs = []string{deaf.url("ldaps"), good.url("ldaps")} }), ldap.Options{Timeout: 200 * time.Millisecond})
	deaf.deaf.Store(true)
	in(t, d, "alice")
	in(t, d, "alice")
	if n := deaf.dials.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestPool: connections are kept, are so many and no more, and are made anew when
// the server was restarted.
func TestPool(t *testing.T) {
	s := slapdtest.Start(t)
	s.AddPerson("alice")
	r := newRelay(t, s.URL)
	now := &clock{now: time.Now()}
	d, _ := open(t, corp(s, func(d *ldap.Definition) { d.URLs = []string{r.url("ldaps")} }), ldap.Options{Now: now.get, Timeout: 20 * time.Second})
	var wait sync.WaitGroup
	for range 40 {
		wait.Go(func() {
			if _, err := prove(t, d, "alice", "canary-of-alice"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := r.most.Load(); n > 8 {
		t.Errorf("%d connections at once", n)
	}
	dials := r.dials.Load()
	for range 5 {
		in(t, d, "alice")
		_, err := prove(t, d, "alice", "wrong")
		wantBad(t, err)
	}
	if n := r.dials.Load(); n != dials {
		t.Errorf("10 logins made %d connections more", n-dials)
	}
	s.Stop()
	s.Run()
	in(t, d, "alice")
	dials = r.dials.Load()
	now.pass(time.Hour)
	in(t, d, "alice")
	if n := r.dials.Load() - dials; n != 2 {
		t.Errorf("%d new connections after an hour, want one to search and one to bind", n)
	}
}

// TestInvalid: what cannot be meant is said before anybody is asked.
func TestInvalid(t *testing.T) {
	good := ldap.Definition{Name: "corp", Schema: "rfc2307bis", URLs: []string{"ldaps://ldap.corp.test"}, UserBase: "dc=corp,dc=test"}
	if bad := good.Check(); bad != nil {
		t.Fatal(bad)
	}
	for want, change := range map[string]func(*ldap.Definition){
		"schema":               func(d *ldap.Definition) { d.Schema = "openldap" },
		"urls: has 0":          func(d *ldap.Definition) { d.URLs = nil },
		"urls: has 9":          func(d *ldap.Definition) { d.URLs = make([]string, 9) },
		"neither ldaps":        func(d *ldap.Definition) { d.URLs = []string{"http://ldap.corp.test"} },
		"is not the URL":       func(d *ldap.Definition) { d.URLs = []string{"ldaps://ldap.corp.test/dc=corp"} },
		"not the URL":          func(d *ldap.Definition) { d.URLs = []string{"ldaps://u:p@ldap.corp.test"} },
		"bind_dn: and":         func(d *ldap.Definition) { d.BindDN = "cn=a" },
		`bind_dn: "nobody"`:    func(d *ldap.Definition) { d.BindDN, d.BindPassword = "nobody", access.NewSecret("x") },
		"ca_file":              func(d *ldap.Definition) { d.CA = []byte("none") },
		"user_base":            func(d *ldap.Definition) { d.UserBase = "" },
		`group_base: "x"`:      func(d *ldap.Definition) { d.GroupBase = "x" },
		"user_filter":          func(d *ldap.Definition) { d.UserFilter = "(uid=" },
		"group_filter":         func(d *ldap.Definition) { d.GroupFilter = "a)(b" },
		"login_attributes":     func(d *ldap.Definition) { d.LoginAttributes = []string{"uid)(a"} },
		"id_attribute":         func(d *ldap.Definition) { d.IDAttribute = "a;b" },
		"group_base: is":       func(d *ldap.Definition) { d.Nested = true },
		"group_base: is miss":  func(d *ldap.Definition) { d.AllowedGroups = []string{"a"} },
		"nested_groups: means": func(d *ldap.Definition) { d.Schema, d.GroupBase, d.Nested = "rfc2307", "dc=corp", true },
	} {
		d := good
		change(&d)
		if bad := d.Check(); bad == nil || !strings.Contains(bad.Error(), want) || bad.Hint() == "" {
			t.Errorf("%v, want %q", bad, want)
		}
	}
}
