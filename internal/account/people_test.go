package account_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

const (
	corp  = "https://idp.corp.test"
	other = "https://idp.other.test"
)

// plainSealer shows what it seals.
type plainSealer struct{}

func (plainSealer) ID() string                            { return "kek" }
func (plainSealer) Seal(name string, plain []byte) []byte { return []byte("sealed " + string(plain)) }
func (plainSealer) Open(_, _ string, b []byte) ([]byte, error) {
	return []byte(strings.TrimPrefix(string(b), "sealed ")), nil
}

// A voucher answers as it is told.
type voucher struct {
	mu     sync.Mutex
	asked  []string
	answer func(o access.Outside) (access.Outside, error)
}

func (v *voucher) Renew(_ context.Context, o access.Outside) (access.Outside, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, o.Renewal.Reveal())
	return v.answer(o)
}

// people makes the fixture's service one with two providers.
func (f *fixture) people(v account.Voucher) {
	f.s = f.service(account.Options{FailureFloor: floor, Sealer: plainSealer{}, Providers: []account.Provider{
		{Name: "corp", Issuer: corp, CreateAccounts: true, Recheck: time.Hour, MaxAge: 12 * time.Hour, Voucher: v},
		{Name: "other", Issuer: other, Recheck: time.Hour, MaxAge: 12 * time.Hour},
	}})
}

func outside(subject, name string, groups ...string) access.Outside {
	return access.Outside{Provider: "corp", Issuer: corp, Subject: subject, Name: name, Groups: groups}
}

// mark is what a name gets that had to be made to fit.
func mark(subject string) string {
	sum := sha256.Sum256([]byte(corp + "\x00" + subject))
	return hex.EncodeToString(sum[:4])
}

func (f *fixture) signIn(o access.Outside) access.Identity {
	f.t.Helper()
	id, err := f.s.SignIn(f.ctx(), o)
	f.ok(err)
	return id
}

func (f *fixture) generation() int64 {
	g, err := f.db.Generation(f.ctx())
	f.ok(err)
	return g
}

// TestSignIn: I-13 and F-12, an account is found by issuer and subject alone, and
// its name is one that nobody has or had.
func TestSignIn(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		local := f.user("alice", "horses and batteries")
		first := f.signIn(outside("1", "alice"))
		if p := first.Principal; p.String() != "user:corp/alice" || p.UID == local.UID || first.Proof.Method != "sso" {
			t.Errorf("signed in as %s by %s", p, first.Proof.Method)
		}
		for _, c := range []struct{ subject, name, want string }{
			{"1", "renamed", "corp/alice"},
			{"2", "alice", "corp/alice-2"},
			{"3", "Alice", "corp/alice-" + mark("3")},
			{"4", "a.b@corp.test", "corp/a.b-corp.test-" + mark("4")},
			{"5", "../admin", "corp/admin-" + mark("5")},
			{"6", "", "corp/6"},
			{"7", "a/b", "corp/a-b-" + mark("7")},
			{"…", "…", "corp/user-" + mark("…")},
			{"…2", "", "corp/user-" + mark("…2")},
			{"8", strings.Repeat("x", 500), "corp/" + strings.Repeat("x", access.MaxName-len("corp/-12345678-1000")) + "-" + mark("8")},
			{"9", "..", "corp/user-" + mark("9")},
		} {
			if got := f.signIn(outside(c.subject, c.name)).Principal.Name; got != c.want {
				t.Errorf("%q called %q is %s, want %s", c.subject, c.name, got, c.want)
			}
		}
		f.ok(f.s.Remove(f.ctx(), user("corp/alice")))
		if again := f.signIn(outside("1", "alice")).Principal; again.Name != "corp/alice-3" || again.UID == first.Principal.UID {
			t.Errorf("I-16 back as %s", again)
		}
		_, err := f.s.SignIn(f.ctx(), access.Outside{Provider: "other", Issuer: other, Subject: "1", Name: "alice"})
		wantError(t, err, account.ErrNoAccount)
		for _, o := range []access.Outside{
			{Provider: "corp", Issuer: other, Subject: "1"}, {Provider: "none", Issuer: "https://none.test", Subject: "1"}, {},
		} {
			_, err := f.s.SignIn(f.ctx(), o)
			wantError(t, err, access.ErrBadCredential)
		}
		for _, subject := range []string{"", "a\x00", "a\nb", strings.Repeat("s", 513)} {
			_, err := f.s.SignIn(f.ctx(), outside(subject, "alice"))
			wantInvalid(t, err, "subject")
		}
	})
}

// TestSignInTogether: of many first sign-ins of one person one makes the account.
func TestSignInTogether(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		uids := make([]string, 8)
		var wait sync.WaitGroup
		for i := range uids {
			wait.Go(func() {
				if id, err := f.s.SignIn(f.ctx(), outside("1", "alice", "dev")); err == nil {
					uids[i] = id.Principal.UID
				} else {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if all, err := f.s.List(f.ctx(), access.User, "", 10); err != nil || len(all) != 1 || len(slices.Compact(uids)) != 1 {
			t.Errorf("%d accounts (%v), identities of %v", len(all), err, uids)
		}
	})
}

// TestOutsideGroups: I-21 the provider's groups are what it says now, beside local
// ones, and only a change of them moves the generation.
func TestOutsideGroups(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		f.signIn(outside("1", "alice", "dev", "ops"))
		f.ok(f.s.AddMember(f.ctx(), "admins", user("corp/alice")))
		for _, c := range []struct {
			groups []string
			want   string
			moves  bool
		}{
			{[]string{"ops", "dev", "dev"}, "admins corp/dev corp/ops", false},
			{[]string{"dev"}, "admins corp/dev", true},
			{[]string{"Dev", "dev ", "../dev", "", "de/v", "dev"}, "admins corp/de/v corp/dev", true},
			{[]string{"admins"}, "admins corp/admins", true},
			{nil, "admins", true},
			{nil, "admins", false},
		} {
			before := f.generation()
			id := f.signIn(outside("1", "alice", c.groups...))
			if got := strings.Join(id.Principal.Groups, " "); got != c.want {
				t.Errorf("groups %q give %s, want %s", c.groups, got, c.want)
			}
			if moved := f.generation() != before; moved != c.moves {
				t.Errorf("groups %q: generation moved %t", c.groups, moved)
			}
			now, err := f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
			if got := strings.Join(now.Principal.Groups, " "); err != nil || got != c.want {
				t.Errorf("groups %q are %s (%v), want %s", c.groups, got, err, c.want)
			}
		}
		wantInvalid(t, f.s.AddMember(f.ctx(), "corp/dev", user("corp/alice")), "provider")
		wantInvalid(t, f.s.RemoveMember(f.ctx(), "corp/dev", user("corp/alice")), "provider")
		var many []string
		for i := range account.MaxGroups {
			many = append(many, fmt.Sprintf("g%d", i))
		}
		_, err := f.s.SignIn(f.ctx(), outside("1", "alice", many...))
		wantInvalid(t, err, "more than 1000 groups")
	})
}

// TestDisabledPerson: I-19 and I-20.
func TestDisabledPerson(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		id := f.signIn(outside("1", "alice"))
		f.ok(f.s.Disable(f.ctx(), user("corp/alice")))
		_, err := f.s.SignIn(f.ctx(), outside("1", "alice"))
		wantError(t, err, access.ErrDisabled)
		_, err = f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
		wantError(t, err, access.ErrDisabled)
		f.ok(f.s.Enable(f.ctx(), user("corp/alice")))
		_, err = f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
		wantError(t, err, access.ErrBadCredential)
		f.signIn(outside("1", "alice"))
	})
}

// TestNoPassword: who signs in with a provider has no password and gets none.
func TestNoPassword(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		f.signIn(outside("1", "alice"))
		wantInvalid(t, f.s.SetPassword(f.ctx(), "corp/alice", access.NewSecret("horses and batteries")), "signs in with the provider corp")
		_, _, err := f.s.ResetPassword(f.ctx(), "corp/alice")
		wantInvalid(t, err, "signs in with the provider corp")
		_, err = f.login("corp/alice", "")
		wantError(t, err, access.ErrBadCredential)
		for _, name := range []string{"corp", "corp/zoe", "other/x/y"} {
			_, err := f.s.AddUser(f.ctx(), name, access.NewSecret("horses and batteries"))
			wantInvalid(t, err, "provider")
			_, err = f.s.AddRobot(f.ctx(), name)
			wantInvalid(t, err, "provider")
			_, err = f.s.Invite(f.ctx(), name)
			wantInvalid(t, err, "provider")
		}
		f.user("corporate", "horses and batteries")
	})
}

// TestTrespassers: what is there already does not become the provider's.
func TestTrespassers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.ok(f.s.CheckProviders(f.ctx()))
		a := f.user("corp/alice", "horses and batteries")
		f.ok(f.s.AddMember(f.ctx(), "other/dev", user("corp/alice")))
		f.people(nil)
		wantInvalid(t, f.s.CheckProviders(f.ctx()), "user:corp/alice")
		f.ok(f.db.Directory().AddLink(f.ctx(), account.Link{AccountID: a.UID, Provider: "corp", Issuer: corp, Subject: "1"}))
		wantInvalid(t, f.s.CheckProviders(f.ctx()), "other/dev")
		f.ok(f.db.Directory().RemoveMember(f.ctx(), "other/dev", a.UID))
		f.signIn(outside("1", "alice", "dev"))
		f.ok(f.s.CheckProviders(f.ctx()))
	})
}

// TestGoneProvider: what a provider said means nothing where it is configured no more.
func TestGoneProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		f.signIn(outside("1", "alice", "dev"))
		f.ok(f.s.AddMember(f.ctx(), "dev", user("corp/alice")))
		before := f.generation()
		f.ok(f.s.CheckProviders(f.ctx()))
		if f.generation() != before {
			t.Error("the generation moved although nothing changed")
		}
		f.s = f.service(account.Options{FailureFloor: floor})
		f.ok(f.s.CheckProviders(f.ctx()))
		a, err := f.s.Find(f.ctx(), user("corp/alice"))
		if err != nil || strings.Join(a.Groups, " ") != "dev" || f.generation() == before {
			t.Errorf("without the provider: groups %v (%v), generation %d after %d", a.Groups, err, f.generation(), before)
		}
	})
}

// TestLink: an administrator links by issuer and subject, and by nothing else.
func TestLink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		alice := f.user("alice", "horses and batteries")
		f.user("bob", "horses and batteries")
		f.ok(f.s.Link(f.ctx(), "alice", corp, "1"))
		f.ok(f.s.Link(f.ctx(), "alice", corp, "1"))
		wantError(t, f.s.Link(f.ctx(), "bob", corp, "1"), account.ErrLinked)
		wantError(t, f.s.Link(f.ctx(), "nobody", corp, "2"), account.ErrUnknown)
		wantInvalid(t, f.s.Link(f.ctx(), "bob", "https://evil.test", "1"), "login.providers")
		wantInvalid(t, f.s.Link(f.ctx(), "bob", corp, ""), "subject")
		id := f.signIn(outside("1", "mallory", "dev"))
		if id.Principal.UID != alice.UID || strings.Join(id.Principal.Groups, " ") != "corp/dev" {
			t.Errorf("signed in as %s in %v", id.Principal, id.Principal.Groups)
		}
		found, err := f.s.Find(f.ctx(), user("alice"))
		if err != nil || len(found.Links) != 1 || found.Links[0].Provider != "corp" || found.Links[0].Subject != "1" {
			t.Errorf("links %+v (%v)", found.Links, err)
		}
		if _, err := f.login("alice", "horses and batteries"); err != nil {
			t.Errorf("the password ended: %v", err)
		}
		wantError(t, f.s.Unlink(f.ctx(), "bob", corp, "1"), account.ErrUnknown)
		f.ok(f.s.Unlink(f.ctx(), "alice", corp, "1"))
		_, err = f.s.Resolve(f.ctx(), alice.UID, id.Proof)
		wantError(t, err, access.ErrBadCredential)
		if a, err := f.s.Find(f.ctx(), user("alice")); err != nil || len(a.Groups)+len(a.Links) != 0 {
			t.Errorf("unlinked account has groups %v, links %v (%v)", a.Groups, a.Links, err)
		}
		f.signIn(outside("2", "zoe"))
		wantInvalid(t, f.s.Unlink(f.ctx(), "corp/zoe", corp, "2"), "no other identity of it")
		f.ok(f.s.Link(f.ctx(), "corp/zoe", other, "2"))
		wantInvalid(t, f.s.Unlink(f.ctx(), "corp/zoe", corp, "2"), "no other identity of it") // the name would be a stranger's
		f.ok(f.s.Unlink(f.ctx(), "corp/zoe", other, "2"))
		f.ok(f.s.CheckProviders(f.ctx()))
	})
}

// TestNamedByPolicy: nobody who comes first becomes the one whom the policy names;
// an administrator says who that is.
func TestNamedByPolicy(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		admin := f.bootstrap()
		f.people(nil)
		_, err := f.s.ApplyPolicy(f.ctx(), account.PolicyChange{Document: `version: 1
rules:
  - {who: ["group:admins"], may: [admin]}
  - {who: ["user:corp/alice", "user:corp/bob-2"], what: ["**"], may: [pull]}
`, Base: 1}, access.Authority{Identity: access.Identity{Principal: admin}})
		f.ok(err)
		_, err = f.s.SignIn(f.ctx(), outside("1", "alice"))
		wantInvalid(t, err, "sallyport user link corp/alice --issuer "+corp+" --subject 1")
		f.ok(f.s.Link(f.ctx(), "corp/alice", corp, "2"))
		_, err = f.s.SignIn(f.ctx(), outside("1", "alice"))
		if err != nil {
			t.Errorf("another alice: %v", err)
		}
		if id := f.signIn(outside("2", "zoe", "dev")); id.Principal.Name != "corp/alice" || strings.Join(id.Principal.Groups, " ") != "corp/dev" {
			t.Errorf("who was linked is %s in %v", id.Principal, id.Principal.Groups)
		}
		f.signIn(outside("3", "bob"))
		_, err = f.s.SignIn(f.ctx(), outside("4", "bob"))
		wantInvalid(t, err, "user:corp/bob-2")
		wantError(t, f.s.Link(f.ctx(), "other/zoe", corp, "5"), account.ErrUnknown)
		wantInvalid(t, f.s.Link(f.ctx(), "corp/Zoe", corp, "5"), "name")
		f.ok(f.s.Remove(f.ctx(), user("corp/alice")))
		wantError(t, f.s.Link(f.ctx(), "corp/alice", corp, "2"), account.ErrRetired)
	})
}

// TestUnlinkTogether: of two who take away the last two identities one fails.
func TestUnlinkTogether(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		_, err := f.s.Invite(f.ctx(), "bob")
		f.ok(err)
		for range 5 {
			f.ok(f.s.Link(f.ctx(), "bob", corp, "1"))
			f.ok(f.s.Link(f.ctx(), "bob", other, "1"))
			var wait sync.WaitGroup
			var errs [2]error
			for i, issuer := range []string{corp, other} {
				wait.Go(func() { errs[i] = f.s.Unlink(f.ctx(), "bob", issuer, "1") })
			}
			wait.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("unlinked: %v, %v", errs[0], errs[1])
			}
			wantInvalid(t, errors.Join(errs[:]...), "with this identity alone")
		}
	})
}

// A step of a life with a provider.
type step struct {
	pass   time.Duration
	answer func(access.Outside) (access.Outside, error)
	want   error
	asked  string // all that it was asked with so far
	groups string
}

// TestRecheck: who the provider vouches for no more is out within the stated time.
func TestRecheck(t *testing.T) {
	refuse := func(access.Outside) (access.Outside, error) { return access.Outside{}, access.ErrBadCredential }
	down := func(access.Outside) (access.Outside, error) { return access.Outside{}, errors.New("no answer") }
	with := func(renewal string, groups ...string) func(access.Outside) (access.Outside, error) {
		return func(o access.Outside) (access.Outside, error) {
			o.Groups, o.Renewal = groups, access.NewSecret(renewal)
			return o, nil
		}
	}
	half := func(renewal string) func(access.Outside) (access.Outside, error) {
		return func(o access.Outside) (access.Outside, error) {
			o.Renewal = access.NewSecret(renewal)
			return o, errors.New("no userinfo")
		}
	}
	var many []string
	for i := range account.MaxGroups + 1 {
		many = append(many, fmt.Sprint("g", i))
	}
	stranger := func(o access.Outside) (access.Outside, error) { o.Subject = "2"; return o, nil }
	each(t, func(t *testing.T, f *fixture) {
		for _, c := range []struct {
			name  string
			steps []step
		}{
			{"fresh", []step{{59 * time.Minute, refuse, nil, "", "corp/dev"}}},
			{"renewed", []step{
				{time.Hour, with("r2", "dev", "ops"), nil, "r1", "corp/dev corp/ops"},
				{59 * time.Minute, refuse, nil, "r1", "corp/dev corp/ops"},
				{time.Minute, with("r3"), nil, "r1 r2", ""},
			}},
			{"refused", []step{
				{time.Hour, refuse, access.ErrRevoked, "r1", ""},
				{0, refuse, access.ErrExpired, "r1", ""},
			}},
			{"down after it gave another renewal", []step{
				{time.Hour, half("r2"), nil, "r1", "corp/dev"},
				{30 * time.Second, with("r3", "dev"), nil, "r1 r2", "corp/dev"},
			}},
			{"in too many groups", []step{{time.Hour, with("r2", many...), access.ErrRevoked, "r1", ""}}},
			{"for somebody else", []step{{time.Hour, stranger, access.ErrRevoked, "r1", ""}}},
			{"down", []step{
				{time.Hour, down, nil, "r1", "corp/dev"},
				{time.Second, down, nil, "r1", "corp/dev"}, // somebody has just asked
				{time.Minute, down, nil, "r1 r1", "corp/dev"},
				{11 * time.Hour, down, access.ErrExpired, "r1 r1 r1", "corp/dev"},
				{time.Hour, with("r2", "dev"), nil, "r1 r1 r1 r1", "corp/dev"},
			}},
		} {
			f.recheckSteps(c.name, c.steps)
		}
	})
}

func (f *fixture) recheckSteps(name string, steps []step) {
	t, v := f.t, &voucher{}
	f.people(v)
	who := strings.ReplaceAll(name, " ", "-")
	o := outside(who, who, "dev")
	o.Renewal = access.NewSecret("r1")
	if id := f.signIn(o); !id.Expires.IsZero() {
		t.Errorf("%s: ends at %s although it can be renewed", name, id.Expires)
	}
	for i, s := range steps {
		f.pass(s.pass)
		v.answer = s.answer
		if err := f.s.Recheck(f.ctx(), corp, who); !errors.Is(err, s.want) || s.want == nil && err != nil {
			t.Errorf("%s, step %d: %v, want %v", name, i, err, s.want)
		}
		if got := strings.Join(v.asked, " "); got != s.asked {
			t.Errorf("%s, step %d: asked with %q, want %q", name, i, got, s.asked)
		}
		a, err := f.s.Find(f.ctx(), user("corp/"+who))
		if got := strings.Join(a.Groups, " "); err != nil || got != s.groups {
			t.Errorf("%s, step %d: groups %q (%v), want %q", name, i, got, err, s.groups)
		}
	}
}

// TestWithoutRenewal: what cannot be asked again ends.
func TestWithoutRenewal(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.people(&voucher{})
		id := f.signIn(outside("1", "alice"))
		if want := f.clock().Add(12 * time.Hour); !id.Expires.Equal(want) {
			t.Errorf("ends at %s, want %s", id.Expires, want)
		}
		f.pass(12*time.Hour - 1)
		f.ok(f.s.Recheck(f.ctx(), corp, "1"))
		f.pass(time.Microsecond)
		wantError(t, f.s.Recheck(f.ctx(), corp, "1"), access.ErrExpired)
		wantError(t, f.s.Recheck(f.ctx(), corp, "2"), access.ErrBadCredential)
		wantError(t, f.s.Recheck(f.ctx(), "https://gone.test", "1"), access.ErrBadCredential)
	})
}

// TestWithdrawn: all that came of the provider's word ends with it.
func TestWithdrawn(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		v := &voucher{answer: func(access.Outside) (access.Outside, error) { return access.Outside{}, access.ErrBadCredential }}
		f.people(v)
		o := outside("1", "alice", "dev")
		o.Renewal = access.NewSecret("r1")
		id := f.signIn(o)
		f.pass(time.Hour)
		wantError(t, f.s.Recheck(f.ctx(), corp, "1"), access.ErrRevoked)
		_, err := f.s.Resolve(f.ctx(), id.Principal.UID, id.Proof)
		wantError(t, err, access.ErrBadCredential)
		again := f.signIn(o)
		if _, err := f.s.Resolve(f.ctx(), again.Principal.UID, again.Proof); err != nil {
			t.Errorf("signed in anew: %v", err)
		}
	})
}

// TestKeysOfPeople: an access key outlives a sign-in, but not the provider's word.
func TestKeysOfPeople(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		left := func(access.Outside) (access.Outside, error) { return access.Outside{}, access.ErrBadCredential }
		still := func(o access.Outside) (access.Outside, error) { return o, nil }
		v := &voucher{answer: still}
		f.people(v)
		f.user("bob", "horses and batteries")
		f.ok(f.s.Link(f.ctx(), "bob", corp, "2"))
		o := outside("1", "alice")
		o.Renewal = access.NewSecret("r1")
		f.signIn(o)
		f.signIn(outside("3", "carol"))
		_, alice := f.key(user("corp/alice"), account.NewKey{})
		_, bob := f.key(user("bob"), account.NewKey{})
		_, carol := f.key(user("corp/carol"), account.NewKey{})
		for _, c := range []struct {
			name              string
			pass              time.Duration
			answer            func(access.Outside) (access.Outside, error)
			alice, bob, carol error
		}{
			{"at first", 0, left, nil, nil, nil},
			{"still there", time.Hour, still, nil, nil, nil},
			{"too old to be believed", 11 * time.Hour, still, nil, nil, access.ErrExpired},
			{"left", time.Hour, left, access.ErrRevoked, nil, access.ErrExpired},
			{"still left", 0, still, access.ErrExpired, nil, access.ErrExpired},
		} {
			f.pass(c.pass)
			v.answer = c.answer
			for secret, want := range map[*access.Secret]error{&alice: c.alice, &bob: c.bob, &carol: c.carol} {
				if _, err := f.present(*secret); !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("%s: %v, want %v", c.name, err, want)
				}
			}
		}
		f.signIn(o)
		if _, err := f.present(alice); err != nil {
			t.Errorf("after a new sign-in: %v", err)
		}
	})
}

// TestClockAhead: a check of the future counts as one that never was.
func TestClockAhead(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.people(nil)
		f.signIn(outside("1", "alice"))
		f.pass(-30 * time.Second)
		f.ok(f.s.Recheck(f.ctx(), corp, "1"))
		f.pass(-time.Hour)
		wantError(t, f.s.Recheck(f.ctx(), corp, "1"), access.ErrExpired)
	})
}

// TestHangingProvider: nobody waits long for a provider whose old word still counts.
func TestHangingProvider(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		release := make(chan struct{})
		v := &voucher{answer: func(o access.Outside) (access.Outside, error) { <-release; return o, nil }}
		f.people(v)
		o := outside("1", "alice")
		o.Renewal = access.NewSecret("r1")
		f.signIn(o)
		f.pass(time.Hour)
		began := time.Now()
		f.ok(f.s.Recheck(f.ctx(), corp, "1"))
		if took := time.Since(began); took > 20*time.Second { // it takes 30 for the provider to be given up
			t.Errorf("waited for %s", took)
		}
		f.ok(f.s.Recheck(f.ctx(), corp, "1")) // somebody asks already
		f.pass(11 * time.Hour)
		wantError(t, f.s.Recheck(f.ctx(), corp, "1"), access.ErrExpired)
		close(release)
	})
}
