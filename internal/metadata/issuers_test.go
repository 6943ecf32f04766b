package metadata_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

func storedOf(name, document string) issuer.Stored {
	return issuer.Stored{Name: name, Document: []byte(document), Author: "user:admin", Changed: created}
}

// jobOf is a session of somebody from outside, which rests on a trust.
func jobOf(id, name, trust string) token.Session {
	o := token.Outsider{Issuer: "https://idp.test", Name: name, Trust: trust, Claims: map[string]string{"ref": "a<b>é", "repository": "org/app"}}
	return token.Session{ID: id, Sum: sha256.Sum256([]byte(id)), AccountID: o.Principal().UID, Service: "r", Client: "docker/28", Created: created, Expires: created.Add(time.Hour), Outsider: &o}
}

// Definitions of issuers are changed like rights: each change is recorded with it,
// moves the generation, replaces what was seen, and ends what rested on it.
func TestIssuers(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Issuers()
		list := func(wanted ...issuer.Stored) {
			t.Helper()
			got, err := s.Issuers(ctx)
			must(t, err)
			if diff := cmp.Diff(wanted, got); diff != "" {
				t.Error(diff)
			}
		}
		gitlab, ci := storedOf("gitlab", "a: é"), storedOf("ci", "a: 1")
		jobs := []token.Session{jobOf("s1", "main", "ci@1"), jobOf("s2", "main", "ci@1"), jobOf("s3", "main", "ci2@1"), jobOf("s4", "main", "c@1"), jobOf("s5", "main", "gitlab@1")}
		for _, v := range jobs {
			must(t, db.Tokens().SaveSession(ctx, v, access.Proof{}, token.Room{}))
		}
		ended := func(ids ...string) {
			t.Helper()
			var got []string
			for _, v := range jobs {
				v, err := db.Tokens().SessionByID(ctx, v.ID)
				must(t, err)
				if !v.Revoked.IsZero() {
					got = append(got, v.ID)
				}
			}
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Error(diff)
			}
		}
		// change is made with an event; it moves the generation and is on record, or neither.
		change := func(wanted error, do func(*ledger.Event) error) *ledger.Event {
			t.Helper()
			before, err := db.Generation(ctx)
			must(t, err)
			e := &ledger.Event{Kind: ledger.Federation, Decision: ledger.Allowed}
			want(t, do(e), wanted)
			after, err := db.Generation(ctx)
			must(t, err)
			if (after != before) != (wanted == nil) || e.Recorded() != (wanted == nil) {
				t.Errorf("generation %d after %d, event %+v, for %v", after, before, e, wanted)
			}
			return e
		}
		save := func(v issuer.Stored, replaces string, wanted error) *ledger.Event {
			t.Helper()
			return change(wanted, func(e *ledger.Event) error { return s.SaveIssuer(ledger.With(ctx, e), v, replaces) })
		}
		remove := func(name string, wanted error) *ledger.Event {
			t.Helper()
			return change(wanted, func(e *ledger.Event) error { return s.RemoveIssuer(ledger.With(ctx, e), name) })
		}
		list()
		save(ci, "1234", issuer.ErrUnknown)
		save(gitlab, "", nil)
		if e := save(ci, "", nil); e.Detail["revision"] != ci.Revision() {
			t.Errorf("event %+v", e)
		}
		list(ci, gitlab)
		for _, v := range []string{"s1", "s2"} { // ended with the definition of before
			got, err := db.Tokens().SessionByID(ctx, v)
			must(t, err)
			if got.Revoked.IsZero() {
				t.Errorf("%s lives", v)
			}
		}
		save(ci, "", issuer.ErrExists)
		next := storedOf("ci", "a: 2")
		next.Author, next.Changed = "user:bob", created.Add(time.Hour)
		save(next, gitlab.Revision(), issuer.ErrChanged)
		list(ci, gitlab)
		if e := save(next, ci.Revision(), nil); e.Detail["replaced"] != ci.Revision() || e.Detail["revision"] != next.Revision() {
			t.Errorf("event %+v", e)
		}
		save(ci, ci.Revision(), issuer.ErrChanged)
		list(next, gitlab)
		ended("s1", "s2", "s5")
		remove("none", issuer.ErrUnknown)
		remove("ci", nil)
		remove("ci", issuer.ErrUnknown)
		remove("gitlab", nil)
		list()
		ended("s1", "s2", "s5")
	})
}

// Of those who replace a definition at once, one does.
func TestIssuerIsReplacedOnce(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		first := storedOf("ci", "a: 0")
		if n := together(6, func(int) bool { return db.Issuers().SaveIssuer(t.Context(), first, "") == nil }); n != 1 {
			t.Errorf("added %d times", n)
		}
		if n := together(6, func(i int) bool {
			return db.Issuers().SaveIssuer(t.Context(), storedOf("ci", "a: "+string(rune('1'+i))), first.Revision()) == nil
		}); n != 1 {
			t.Errorf("replaced %d times", n)
		}
	})
}

// Sessions of jobs have no account: they are found, listed, bounded, ended and
// forgotten by themselves, beside those of accounts.
func TestJobSessions(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		must(t, db.Directory().AddAccounts(ctx, accountOf("alice")))
		one, two, other, alice := jobOf("s1", "main", "ci@1"), jobOf("s2", "main", "ci@2"), jobOf("s3", "dev", "ci@1"), sessionOf("s4", "uid-alice", "")
		two.Outsider.Claims = nil
		for _, v := range []token.Session{one, two, other, alice} {
			must(t, s.SaveSession(ctx, v, access.Proof{}, token.Room{Limit: 2, Keep: 1}))
		}
		one.Owner, two.Owner, other.Owner, alice.Owner = "external:main (https://idp.test)", "external:main (https://idp.test)", "external:dev (https://idp.test)", "user:alice"
		for uid, wanted := range map[string][]token.Session{one.AccountID: {one, two}, other.AccountID: {other}, "uid-alice": {alice}, "": {one, two, other, alice}} {
			got, err := s.ListSessions(ctx, uid, token.Place{}, 1000)
			must(t, err)
			if diff := cmp.Diff(wanted, got); diff != "" {
				t.Error(diff)
			}
		}
		got, err := s.SessionBySum(ctx, one.Sum)
		must(t, err)
		if diff := cmp.Diff(one, got); diff != "" {
			t.Error(diff)
		}
		must(t, s.TouchSessions(ctx, uses(created.Add(time.Minute), "s2")))
		before, err := db.Generation(ctx)
		must(t, err)
		must(t, s.SaveSession(ctx, jobOf("s5", "main", "ci@1"), access.Proof{}, token.Room{Limit: 2, Keep: 1}))
		after, err := db.Generation(ctx)
		must(t, err)
		live := func(wanted ...string) {
			t.Helper()
			var ids []string
			all, err := s.ListSessions(ctx, "", token.Place{}, 1000)
			must(t, err)
			for _, v := range all {
				if v.Revoked.IsZero() {
					ids = append(ids, v.ID)
				}
			}
			if diff := cmp.Diff(wanted, ids); diff != "" {
				t.Error(diff)
			}
		}
		if live("s2", "s3", "s4", "s5"); after == before {
			t.Error("a session was ended for room, and nobody is told")
		}
		if _, err := s.SessionByID(ctx, "s1"); !errors.Is(err, token.ErrUnknown) {
			t.Errorf("a job's session that was ended for room takes room: %v", err)
		}
		if n, err := s.RevokeSessions(ctx, one.AccountID, created); err != nil || n != 2 {
			t.Errorf("%d sessions ended, %v", n, err)
		}
		live("s3", "s4")
		if n, err := s.DropSessions(ctx, created, created.Add(2*time.Hour), 10); err != nil || n != 3 {
			t.Errorf("%d sessions forgotten, %v: want those of jobs", n, err)
		}
		live("s4")
	})
}
