package account_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// allows reports whether the policy gives p the right a over name.
func allows(pol *access.Policy, p access.Principal, a access.Action, name string) bool {
	return pol.Decide(access.Query{Principal: p, Action: a, Name: name}).Allowed
}

func TestNamesOfAccountsAndGroups(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		for _, tt := range []struct{ id, name string }{
			{"I-12", "Admin"}, {"I-12", "аdmin"}, {"I-12", "admin\u200b"}, {"I-12", "admin "}, {"I-12", "ⓐdmin"},
			{"I-15", "a:b"}, {"I-15", "a\nb"}, {"I-15", "a/"}, {"I-15", `a"b`}, {"I-15", "a\u202eb"},
			{"I-15", strings.Repeat("a", 300)}, {"S-11", "*"}, {"S-11", "a,b"}, {"S-11", "${x}"}, {"S-34", "group:admins"}, {"", ""},
		} {
			_, err := f.s.AddUser(f.ctx(), tt.name, access.NewSecret("some old horse battery"))
			wantInvalid(t, err, "name")
			_, err = f.s.AddRobot(f.ctx(), tt.name)
			wantInvalid(t, err, "name")
			wantInvalid(t, f.s.AddMember(f.ctx(), tt.name, user("alice")), "name")
			_, err = f.s.Find(f.ctx(), user(tt.name))
			wantError(t, err, account.ErrUnknown)
		}
	})
}

func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		f.user("bob", "bob keeps a horse")
		_, err := f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		_, err = f.s.AddRobot(f.ctx(), "alice")
		wantError(t, err, account.ErrExists)
		_, err = f.s.AddUser(f.ctx(), "ci", access.NewSecret("some old horse battery"))
		wantError(t, err, account.ErrExists)

		f.ok(f.s.AddMember(f.ctx(), "dev", user("alice")))
		f.ok(f.s.AddMember(f.ctx(), "dev", robot("ci")))
		f.ok(f.s.AddMember(f.ctx(), "dev", robot("ci")))
		wantError(t, f.s.AddMember(f.ctx(), "dev", user("ci")), account.ErrUnknown)
		wantError(t, f.s.AddMember(f.ctx(), "dev", user("nobody")), account.ErrUnknown)
		wantError(t, f.s.RemoveMember(f.ctx(), "dev", user("bob")), account.ErrUnknown)
		groups, err := f.s.ListGroups(f.ctx())
		f.ok(err)
		if diff := cmp.Diff(map[string][]string{"dev": {"robot:ci", "user:alice"}}, groups); diff != "" {
			t.Error(diff)
		}
		users, err := f.s.List(f.ctx(), access.User, "", 100)
		f.ok(err)
		if len(users) != 2 || users[0].Name != "alice" || users[1].Name != "bob" || users[0].PasswordHash != "" {
			t.Errorf("users: %+v", users)
		}
		page, err := f.s.List(f.ctx(), access.User, "alice", 1)
		f.ok(err)
		if len(page) != 1 || page[0].Name != "bob" {
			t.Errorf("page after alice: %+v", page)
		}
		a, err := f.s.Find(f.ctx(), user("alice"))
		f.ok(err)
		if diff := cmp.Diff([]string{"dev"}, a.Groups); diff != "" || a.PasswordHash != "" {
			t.Errorf("alice: %+v %s", a, diff)
		}
		wantError(t, f.s.Disable(f.ctx(), user("ci")), account.ErrUnknown)
		wantError(t, f.s.Remove(f.ctx(), robot("alice")), account.ErrUnknown)
		wantError(t, f.s.SetPassword(f.ctx(), "ci", access.NewSecret("some old horse battery")), account.ErrUnknown)
		f.ok(f.s.RemoveMember(f.ctx(), "dev", user("alice")))
		f.ok(f.s.RemoveMember(f.ctx(), "dev", robot("ci")))
		if groups, err := f.s.ListGroups(f.ctx()); err != nil || len(groups) != 0 {
			t.Errorf("groups without members: %v, %v", groups, err)
		}
	})
}

// What is resolved follows each change at once, and costs no query otherwise.
func TestResolve(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		a := f.user("alice", "alice keeps a horse")
		k, _ := f.key(user("alice"), account.NewKey{Life: time.Hour, Narrowing: access.Narrowing{Actions: []access.Action{access.Pull}}})
		byPassword := access.Proof{Method: "password"}
		byKey := access.Proof{Method: "key", KeyID: k.ID}
		get := func(proof access.Proof) access.Identity {
			t.Helper()
			id, err := f.s.Resolve(f.ctx(), a.UID, proof)
			f.ok(err)
			return id
		}
		gone := func(what, uid string, proof access.Proof) {
			t.Helper()
			if _, err := f.s.Resolve(f.ctx(), uid, proof); !errors.Is(err, access.ErrBadCredential) {
				t.Errorf("%s: %v, want ErrBadCredential", what, err)
			}
		}
		if id := get(byPassword); id.Principal.String() != "user:alice" || id.Proof != byPassword || !id.Narrowing.IsZero() || !id.Expires.IsZero() {
			t.Errorf("by password: %+v", id)
		}
		if id := get(byKey); id.Proof != byKey || id.Narrowing.Allows(access.Push, "x", access.Origin{}) || !id.Narrowing.Allows(access.Pull, "x", access.Origin{}) || !id.Expires.Equal(k.Expires) {
			t.Errorf("by key: %+v", id)
		}
		before := f.db.Queries()
		for range 100 {
			get(byPassword)
			get(byKey)
		}
		if n := f.db.Queries() - before; n != 0 {
			t.Errorf("%d queries in steady state", n)
		}

		f.ok(f.s.AddMember(f.ctx(), "dev", user("alice")))
		if id := get(byPassword); !cmp.Equal(id.Principal.Groups, []string{"dev"}) {
			t.Errorf("groups after joining: %v", id.Principal.Groups)
		}
		f.ok(f.s.RemoveMember(f.ctx(), "dev", user("alice")))
		if id := get(byKey); len(id.Principal.Groups) != 0 {
			t.Errorf("groups after leaving: %v", id.Principal.Groups)
		}
		f.user("bob", "bob keeps a horse")
		bob, err := f.s.Find(f.ctx(), user("bob"))
		f.ok(err)
		gone("another's key", bob.UID, byKey)
		gone("no such key", a.UID, access.Proof{Method: "key", KeyID: "nokey"})
		gone("no such account", "nobody", byPassword)

		f.ok(f.s.SetPassword(f.ctx(), "alice", access.NewSecret("another password")))
		gone("I-19 password replaced", a.UID, byPassword)
		get(byKey)
		id, err := f.login("alice", "another password")
		f.ok(err)
		byPassword = id.Proof
		get(byPassword)

		f.ok(f.s.Disable(f.ctx(), user("alice")))
		gone("I-19 disabled", a.UID, byPassword)
		gone("I-19 disabled, by key", a.UID, byKey)
		f.ok(f.s.Enable(f.ctx(), user("alice")))
		get(byKey)
		gone("I-19 enabled again, proven before", a.UID, byPassword)
		id, err = f.login("alice", "another password")
		f.ok(err)
		byPassword = id.Proof
		f.pass(time.Hour)
		gone("expired key", a.UID, byKey)
		get(byPassword)
		f.ok(f.s.Remove(f.ctx(), user("alice")))
		gone("I-16 removed", a.UID, byPassword)
		f.user("alice", "alice keeps a horse")
		gone("I-16 removed and made again", a.UID, byPassword)
	})
}

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, err := f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		k, secret := f.key(robot("ci"), account.NewKey{Name: "the build"})
		if !access.KeySecret.Valid(secret.Reveal()) || !k.Expires.Equal(f.clock().Add(90*24*time.Hour)) || k.Owner != "robot:ci" {
			t.Errorf("key %+v", k)
		}
		id, err := f.present(secret)
		if err != nil || id.Principal.String() != "robot:ci" || id.Proof.KeyID != k.ID || id.Proof.Method != "key" {
			t.Fatalf("present: %+v, %v", id, err)
		}
		for _, tt := range []struct {
			n    account.NewKey
			want string
		}{
			{account.NewKey{Life: 367 * 24 * time.Hour}, "at most 366 days"},
			{account.NewKey{Life: time.Second}, "at least a minute"},
			{account.NewKey{Life: -time.Hour}, "at least a minute"},
			{account.NewKey{Name: strings.Repeat("x", 201)}, "name of an access key"},
			{account.NewKey{Name: "a\nb"}, "name of an access key"},
			{account.NewKey{Name: "\xff"}, "name of an access key"},
			{account.NewKey{Narrowing: access.Narrowing{Actions: []access.Action{"write"}}}, "write"},
			{account.NewKey{Narrowing: access.Narrowing{Repositories: []string{"../x"}}}, "../x"},
		} {
			_, _, err := f.s.CreateKey(f.ctx(), robot("ci"), tt.n)
			wantInvalid(t, err, tt.want)
		}
		_, _, err = f.s.CreateKey(f.ctx(), user("ci"), account.NewKey{})
		wantError(t, err, account.ErrUnknown)

		keys, err := f.s.ListKeys(f.ctx(), id.Principal.UID)
		f.ok(err)
		if len(keys) != 1 || !keys[0].LastUsed.Time.Equal(f.clock()) || keys[0].Name != "the build" {
			t.Errorf("keys: %+v", keys)
		}
		f.ok(f.s.RevokeKey(f.ctx(), k.ID))
		_, err = f.present(secret)
		wantError(t, err, access.ErrBadCredential)
		wantError(t, f.s.RevokeKey(f.ctx(), "nosuchkey"), account.ErrUnknown)
		wantError(t, f.s.RevokeKey(f.ctx(), "not\x00an id"), account.ErrUnknown)
		_, err = f.s.Key(f.ctx(), "Not An ID")
		wantError(t, err, account.ErrUnknown)
	})
}

// I-18: a key that was mistyped costs no query; one that is well made and
// unknown, one. A key in use costs none, and no write per use.
func TestKeyQueries(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		k, secret := f.key(user("alice"), account.NewKey{})
		text := secret.Reveal()
		_, err := f.present(secret)
		f.ok(err)
		count := func(what string, most int64, secrets ...access.Secret) {
			t.Helper()
			before := f.db.Queries()
			for _, s := range secrets {
				f.pass(time.Second)
				if _, err := f.present(s); err != nil && !errors.Is(err, access.ErrBadCredential) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if n := f.db.Queries() - before; n > most {
				t.Errorf("%s: %d queries, want at most %d", what, n, most)
			}
		}
		var mistyped, used []access.Secret
		for i := range text {
			for _, c := range []byte{'x', 'Q', '7'} {
				if text[i] != c {
					mistyped = append(mistyped, access.NewSecret(text[:i]+string(c)+text[i+1:]))
				}
			}
			used = append(used, secret)
		}
		count("I-18 mistyped", 0, append(mistyped, access.NewSecret(""), access.NewSecret(text+"x"))...)
		count("in use", 0, used...)
		unknown, err := access.KeySecret.New(strings.NewReader(strings.Repeat("abcdefgh", 8)))
		f.ok(err)
		count("unknown", 1, unknown)

		before := f.db.Queries()
		f.ok(f.s.Flush())
		if n := f.db.Queries() - before; n != 1 {
			t.Errorf("last use written by %d queries, want 1", n)
		}
		stored, err := f.db.Directory().KeyByID(f.ctx(), k.ID)
		if err != nil || stored.LastUsed.Time.IsZero() {
			t.Errorf("stored last use %v, %v", stored.LastUsed.Time, err)
		}
		f.ok(f.s.Flush()) // nothing more to write
	})
}

func TestBootstrap(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		if policy, err := f.s.Current(f.ctx()); err != nil || allows(policy, access.Principal{}, access.Admin, "") {
			t.Fatalf("policy before the first: %v", err)
		}
		_, err := f.s.Bootstrap(f.ctx(), access.NewSecret("short"))
		wantInvalid(t, err, "at least 12")
		admin := f.bootstrap()
		policy, err := f.s.Current(f.ctx())
		f.ok(err)
		if !allows(policy, admin, access.Admin, "") || !allows(policy, admin, access.Push, "any/thing") || allows(policy, access.Principal{}, access.Pull, "any/thing") {
			t.Error("the first policy does not give the administrator everything and others nothing")
		}
		created, err := f.s.Bootstrap(f.ctx(), access.NewSecret("the second of two horses"))
		if err != nil || created {
			t.Errorf("second Bootstrap = %t, %v", created, err)
		}
		if _, err := f.login("admin", "the second of two horses"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("the second of two horses: %v", err)
		}
		v, err := f.s.ShowPolicy(f.ctx())
		if err != nil || v.Version != 1 || v.Author != "user:admin" {
			t.Errorf("ShowPolicy = %+v, %v", v, err)
		}
	})
}

// I-27: of several at once exactly one succeeds, and its password counts; a
// start that was cut off before the policy is made up for.
func TestBootstrapAtOnceAndAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("admin", "left behind by a start that was cut off")
		passwords := []string{"one horse in the barn", "two horses in the barn", "three horses in the barn", "four horses in the barn"}
		won := make([]bool, len(passwords))
		var starts sync.WaitGroup
		for i, p := range passwords {
			starts.Go(func() {
				var err error
				if won[i], err = f.s.Bootstrap(t.Context(), access.NewSecret(p)); err != nil {
					t.Errorf("Bootstrap: %v", err)
				}
			})
		}
		starts.Wait()
		winners := 0
		for i, p := range passwords {
			_, err := f.login("admin", p)
			if won[i] {
				winners++
			}
			if (err == nil) != won[i] {
				t.Errorf("%s: won %t, login %v", p, won[i], err)
			}
		}
		if winners != 1 {
			t.Errorf("%d winners", winners)
		}
	})
}

const teamPolicy = `version: 1
rules:
  - who: ["group:admins"]
    may: [admin]
  - who: ["user:alice"]
    what: ["team-a/**"]
    may: [pull, push]
`

func TestApplyPolicy(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		admin := f.bootstrap()
		apply := func(document string, base int64) error {
			_, err := f.s.ApplyPolicy(f.ctx(), account.PolicyChange{Document: document, Base: base}, access.Authority{Identity: access.Identity{Principal: admin}})
			return err
		}
		wantInvalid(t, apply("version: 1\nrules:\n  - who: [\"user:alice\"]\n    what: [\"x\"]\n    may: [write]\n", 1), "line 5")
		wantInvalid(t, apply(strings.Replace(teamPolicy, "[admin]", "[pull]\n    what: [x]", 1), 1), "user:admin")
		wantError(t, apply(teamPolicy, 0), account.ErrConflict)
		wantError(t, apply(teamPolicy, 2), account.ErrConflict)
		f.ok(apply(teamPolicy, 1))
		wantError(t, apply(teamPolicy, 1), account.ErrConflict)

		alice := f.user("alice", "alice keeps a horse").Principal()
		policy, err := f.s.Current(f.ctx())
		f.ok(err)
		if !allows(policy, alice, access.Push, "team-a/app") || allows(policy, alice, access.Push, "team-b/app") || allows(policy, admin, access.Pull, "team-a/app") {
			t.Error("the policy applied is not the one in force")
		}
		before := f.db.Queries()
		again, err := f.s.Current(f.ctx())
		if err != nil || again != policy || f.db.Queries() != before {
			t.Errorf("the policy was read again: %v", err)
		}
	})
}

// A stored policy that cannot be read gives nobody anything.
func TestUnreadablePolicyFailsClosed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.bootstrap()
		_, err := f.db.Directory().SavePolicy(f.ctx(), account.PolicyVersion{Document: "version: 99", Author: "user:admin", Applied: f.clock()}, 1)
		f.ok(err)
		if policy, err := f.s.Current(f.ctx()); err == nil || policy != nil {
			t.Errorf("Current = %v, %v", policy, err)
		}
	})
}

// I-16: a name that the policy still gives something to is not given away.
func TestRetiredNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		admin := f.bootstrap()
		_, err := f.s.ApplyPolicy(f.ctx(), account.PolicyChange{Document: teamPolicy, Base: 1}, access.Authority{Identity: access.Identity{Principal: admin}})
		f.ok(err)
		f.user("alice", "alice keeps a horse")
		_, secret := f.key(user("alice"), account.NewKey{})
		f.ok(f.s.AddMember(f.ctx(), "dev", user("alice")))
		f.ok(f.s.Remove(f.ctx(), user("alice")))
		_, err = f.present(secret)
		wantError(t, err, access.ErrBadCredential)

		_, err = f.s.AddUser(f.ctx(), "alice", access.NewSecret("another horse of hers"))
		wantError(t, err, account.ErrRetired)
		_, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader("alice:$2y$10$"+strings.Repeat("a", 53)), anybody)
		if bad, ok := errors.AsType[*account.ImportError](err); !ok || bad.Lines[0].Line != 1 {
			t.Errorf("import of a retired name: %v", err)
		}
		_, err = f.s.ApplyPolicy(f.ctx(), account.PolicyChange{Document: strings.Replace(teamPolicy, "user:alice", "user:bob", 1), Base: 2}, access.Authority{Identity: access.Identity{Principal: admin}})
		f.ok(err)
		a := f.user("alice", "another horse of hers")
		if found, err := f.s.Find(f.ctx(), user("alice")); err != nil || found.UID != a.UID || len(found.Groups) != 0 {
			t.Errorf("the new alice: %+v, %v", found, err)
		}
		_, err = f.present(secret)
		wantError(t, err, access.ErrBadCredential)
	})
}

// I-17: nothing that is stored is a secret.
func TestOnlySumsAreStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "canary-of-a-password")
		k, secret := f.key(user("alice"), account.NewKey{})
		_, err := f.login("alice", "canary-of-a-password")
		f.ok(err)
		_, err = f.present(secret)
		f.ok(err)
		a, err := f.db.Directory().AccountByName(f.ctx(), "alice")
		f.ok(err)
		stored, err := f.db.Directory().KeyByID(f.ctx(), k.ID)
		f.ok(err)
		if strings.Contains(a.PasswordHash, "canary") || stored.Sum != secret.Sum() {
			t.Errorf("stored %+v %+v", a, stored)
		}
		if strings.Contains(f.log.String(), "canary") || strings.Contains(f.log.String(), secret.Reveal()) {
			t.Errorf("L-01: the log says %s", f.log.String())
		}
	})
}
