package metadata_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

var created = time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)

func accountOf(name string) account.Account {
	return account.Account{UID: "uid-" + name, Name: name, Kind: access.User, PasswordHash: "$argon2id$" + name, Created: created}
}

func keyOf(id, uid string) account.Key {
	return account.Key{ID: id, AccountID: uid, Name: "key " + id, Family: id, Sum: sha256.Sum256([]byte(id)), Created: created, Life: 90 * 24 * time.Hour, Expires: created.Add(90 * 24 * time.Hour)}
}

func sessionOf(id, uid, key string) token.Session {
	return token.Session{ID: id, Sum: sha256.Sum256([]byte(id)), AccountID: uid, KeyID: key, Service: "r", Client: "docker/28", Created: created, Expires: created.Add(time.Hour)}
}

// want fails unless err is target.
func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}

func TestAccounts(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		alice, bot := accountOf("alice"), accountOf("ci")
		bot.Kind, bot.PasswordHash, bot.Groups = access.Robot, "", []string{"builders", "ops"}
		must(t, d.AddAccounts(ctx, alice))
		must(t, d.AddAccounts(ctx, bot))
		again := accountOf("alice")
		again.UID, again.Kind = "uid-2", access.Robot
		want(t, d.AddAccounts(ctx, again), account.ErrExists)

		for _, w := range []account.Account{alice, bot} {
			got, err := d.AccountByName(ctx, w.Name)
			must(t, err)
			if diff := cmp.Diff(w, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			got, err = d.AccountByUID(ctx, w.UID)
			must(t, err)
			if diff := cmp.Diff(w, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		}
		for _, name := range []string{"", "Alice", "al_ce", "a%", "nul\x00", "\xff", "alice "} {
			_, err := d.AccountByName(ctx, name)
			want(t, err, account.ErrUnknown)
			_, err = d.AccountByUID(ctx, name)
			want(t, err, account.ErrUnknown)
			retired, err := d.IsRetired(ctx, name)
			if must(t, err); retired {
				t.Errorf("%q is retired", name)
			}
		}
		want(t, d.SetDisabled(ctx, "none", true), account.ErrUnknown)
		must(t, d.SetDisabled(ctx, alice.UID, true))
		got, err := d.AccountByName(ctx, "alice")
		if must(t, err); !got.Disabled {
			t.Error("not disabled")
		}
		for i := range 25 {
			must(t, d.AddAccounts(ctx, accountOf(fmt.Sprintf("user%02d", i))))
		}
		var listed []string
		for after := ""; ; {
			page, err := d.ListAccounts(ctx, access.User, after, 10)
			if must(t, err); len(page) == 0 {
				break
			}
			for _, a := range page {
				listed = append(listed, a.Name)
			}
			after = page[len(page)-1].Name
		}
		if len(listed) != 26 || !slices.IsSorted(listed) {
			t.Errorf("listed %q", listed)
		}
		robots, err := d.ListAccounts(ctx, access.Robot, "", 10)
		must(t, err)
		if diff := cmp.Diff([]account.Account{bot}, robots); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGroups(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		bot := accountOf("ci")
		bot.Kind = access.Robot
		must(t, d.AddAccounts(ctx, bot))
		must(t, d.AddAccounts(ctx, accountOf("alice")))
		want(t, d.AddMember(ctx, "ops", "none"), account.ErrUnknown)
		for _, uid := range []string{"uid-ci", "uid-alice", "uid-ci"} {
			must(t, d.AddMember(ctx, "ops", uid))
		}
		must(t, d.AddMember(ctx, "dev", "uid-alice"))
		want(t, d.RemoveMember(ctx, "dev", "uid-ci"), account.ErrUnknown)
		groups, err := d.ListGroups(ctx)
		must(t, err)
		if diff := cmp.Diff(map[string][]string{"ops": {"robot:ci", "user:alice"}, "dev": {"user:alice"}}, groups); diff != "" {
			t.Error(diff)
		}
		must(t, d.RemoveMember(ctx, "dev", "uid-alice"))
		a, err := d.AccountByUID(ctx, "uid-alice")
		if must(t, err); !slices.Equal(a.Groups, []string{"ops"}) {
			t.Errorf("groups %q", a.Groups)
		}
	})
}

func TestPasswords(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d, s := t.Context(), db.Directory(), db.Tokens()
		must(t, d.AddAccounts(ctx, accountOf("alice")))
		must(t, d.AddAccounts(ctx, accountOf("bob")))
		must(t, s.SaveSession(ctx, sessionOf("s1", "uid-alice", ""), access.Proof{}, token.Room{}))
		must(t, s.SaveSession(ctx, sessionOf("s2", "uid-bob", ""), access.Proof{}, token.Room{}))
		alive := func(id string) bool {
			v, err := s.SessionByID(ctx, id)
			must(t, err)
			return v.Revoked.IsZero()
		}
		hash := func() string {
			a, err := d.AccountByUID(ctx, "uid-alice")
			must(t, err)
			return a.PasswordHash
		}
		before, err := db.Generation(ctx)
		must(t, err)
		must(t, d.Rehash(ctx, "uid-alice", "$argon2id$alice", "rehashed"))
		must(t, d.Rehash(ctx, "uid-alice", "$argon2id$alice", "lost the race"))
		after, err := db.Generation(ctx)
		must(t, err)
		if hash() != "rehashed" || !alive("s1") || after != before {
			t.Error("a rehash did more, or less, than replace the hash")
		}
		must(t, d.SetPassword(ctx, "uid-alice", "new", created))
		if hash() != "new" || alive("s1") || !alive("s2") {
			t.Error("a new password ends the sessions of its account and no others")
		}
		want(t, d.SetPassword(ctx, "none", "new", created), account.ErrUnknown)
		a, err := d.AccountByUID(ctx, "uid-alice")
		if must(t, err); !a.PasswordSet.Equal(created) {
			t.Errorf("password set at %s", a.PasswordSet)
		}
		for range 2 { // at the same time, and then earlier
			last := a.PasswordSet
			must(t, d.SetPassword(ctx, "uid-alice", "newer", created))
			if a, err = d.AccountByUID(ctx, "uid-alice"); err != nil || !a.PasswordSet.After(last) {
				t.Errorf("two passwords were set at %s and %s, %v", last, a.PasswordSet, err)
			}
		}
	})
}

func TestRemoveAccount(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d, s := t.Context(), db.Directory(), db.Tokens()
		must(t, d.AddAccounts(ctx, accountOf("alice")))
		must(t, d.AddMember(ctx, "ops", "uid-alice"))
		must(t, d.AddKey(ctx, keyOf("k1", "uid-alice")))
		must(t, s.SaveSession(ctx, sessionOf("s1", "uid-alice", "k1"), access.Proof{}, token.Room{}))
		want(t, d.RemoveAccount(ctx, "none"), account.ErrUnknown)
		must(t, d.RemoveAccount(ctx, "uid-alice"))
		want(t, d.RemoveAccount(ctx, "uid-alice"), account.ErrUnknown)

		fresh := accountOf("alice") // I-16
		fresh.UID = "uid-fresh"
		must(t, d.AddAccounts(ctx, fresh))
		got, err := d.AccountByName(ctx, "alice")
		must(t, err)
		if len(got.Groups) != 0 || got.UID != "uid-fresh" {
			t.Errorf("I-16 the new alice inherits: %+v", got)
		}
		_, err = d.KeyByID(ctx, "k1")
		want(t, err, account.ErrUnknown)
		_, err = s.SessionBySum(ctx, sha256.Sum256([]byte("s1")))
		want(t, err, token.ErrUnknown)
		retired, err := d.IsRetired(ctx, "alice")
		if must(t, err); !retired {
			t.Error("the name is not retired")
		}
		if err := s.SaveSession(ctx, sessionOf("s2", "uid-alice", ""), access.Proof{}, token.Room{}); err == nil {
			t.Error("a removed account begins a session")
		}
	})
}

func TestKeys(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d, s := t.Context(), db.Directory(), db.Tokens()
		bot := accountOf("ci")
		bot.Kind = access.Robot
		must(t, d.AddAccounts(ctx, bot))
		must(t, d.AddAccounts(ctx, accountOf("alice")))
		narrowing, err := access.NewNarrowing([]string{"team-a/**"}, []string{"pull"}, nil)
		must(t, err)
		k1, k2, k3 := keyOf("k1", "uid-ci"), keyOf("k2", "uid-ci"), keyOf("k3", "uid-alice")
		k1.Narrowing, k2.Created = narrowing, created.Add(time.Minute)
		for _, k := range []account.Key{k1, k2, k3} {
			must(t, d.AddKey(ctx, k))
		}
		want(t, d.AddKey(ctx, keyOf("k4", "none")), account.ErrUnknown)
		k1.Owner, k2.Owner, k3.Owner = "robot:ci", "robot:ci", "user:alice"
		same := func(w account.Key, got account.Key, err error) {
			t.Helper()
			must(t, err)
			if diff := cmp.Diff(w, got, cmpopts.IgnoreUnexported(access.Narrowing{})); diff != "" {
				t.Error(diff)
			}
		}
		got, err := d.KeyBySum(ctx, k1.Sum)
		same(k1, got, err)
		got, err = d.KeyByID(ctx, "k2")
		same(k2, got, err)
		_, err = d.KeyBySum(ctx, sha256.Sum256(nil))
		want(t, err, account.ErrUnknown)
		_, err = d.KeyByID(ctx, "k\x00")
		want(t, err, account.ErrUnknown)
		for uid, ids := range map[string][]string{"uid-ci": {"k2", "k1"}, "uid-alice": {"k3"}, "": {"k2", "k1", "k3"}, "none": nil} {
			list, err := d.ListKeys(ctx, uid)
			must(t, err)
			var found []string
			for _, k := range list {
				found = append(found, k.ID)
			}
			if !slices.Equal(found, ids) {
				t.Errorf("keys of %q: %q, want %q", uid, found, ids)
			}
		}

		must(t, d.TouchKeys(ctx, uses(created.Add(time.Hour), "k1", "none")))
		must(t, d.TouchKeys(ctx, uses(created.Add(time.Minute), "k1")))
		k1.LastUsed = uses(created.Add(time.Hour), "k1")["k1"]
		got, err = d.KeyByID(ctx, "k1")
		same(k1, got, err)

		must(t, s.SaveSession(ctx, sessionOf("s1", "uid-ci", "k1"), access.Proof{}, token.Room{}))
		must(t, s.SaveSession(ctx, sessionOf("s2", "uid-ci", "k2"), access.Proof{}, token.Room{}))
		want(t, d.RevokeKey(ctx, "none", created), account.ErrUnknown)
		must(t, d.RevokeKey(ctx, "k1", created.Add(time.Hour)))
		must(t, d.RevokeKey(ctx, "k1", created.Add(2*time.Hour)))
		k1.Revoked = created.Add(time.Hour)
		got, err = d.KeyBySum(ctx, k1.Sum)
		same(k1, got, err)
		for id, revoked := range map[string]bool{"s1": true, "s2": false} {
			v, err := s.SessionByID(ctx, id)
			if must(t, err); v.Revoked.IsZero() == revoked {
				t.Errorf("session %s: revoked at %v", id, v.Revoked)
			}
		}
	})
}

func TestPolicies(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		_, err := d.LatestPolicy(ctx)
		want(t, err, account.ErrUnknown)
		v := account.PolicyVersion{Document: "rules: []\n# ü\n", Author: "user:admin", Reason: "why", Applied: created}
		_, err = d.SavePolicy(ctx, v, 1)
		want(t, err, account.ErrConflict)
		for base := range int64(3) {
			got, err := d.SavePolicy(ctx, v, base)
			must(t, err)
			v.Version = base + 1
			if got != v {
				t.Errorf("saved %+v, want %+v", got, v)
			}
			_, err = d.SavePolicy(ctx, v, base)
			want(t, err, account.ErrConflict)
		}
		got, err := d.LatestPolicy(ctx)
		if must(t, err); got != v {
			t.Errorf("latest %+v", got)
		}
		v.Version = 2
		got, err = d.PolicyByVersion(ctx, 2)
		if must(t, err); got != v {
			t.Errorf("version 2 is %+v", got)
		}
		_, err = d.PolicyByVersion(ctx, 4)
		want(t, err, account.ErrUnknown)
		v.Document = ""
		list, err := d.ListPolicies(ctx, 3, 1)
		if must(t, err); len(list) != 1 || list[0] != v {
			t.Errorf("before 3: %+v", list)
		}
		list, err = d.ListPolicies(ctx, math.MaxInt64, 9)
		if must(t, err); len(list) != 3 || list[0].Version != 3 || list[2].Version != 1 {
			t.Errorf("all: %+v", list)
		}
	})
}

func TestPoliciesRace(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		won := together(16, func(int) bool {
			_, err := db.Directory().SavePolicy(context.Background(), account.PolicyVersion{Document: "x"}, 0)
			if err != nil && !errors.Is(err, account.ErrConflict) {
				t.Error(err)
			}
			return err == nil
		})
		if won != 1 {
			t.Errorf("%d of 16 saved version 1", won)
		}
	})
}
