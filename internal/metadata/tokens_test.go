package metadata_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

func TestSessions(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		must(t, db.Directory().AddAccounts(ctx, accountOf("alice")))
		must(t, db.Directory().AddAccounts(ctx, accountOf("bob")))
		s1, s2, s3 := sessionOf("s1", "uid-alice", ""), sessionOf("s2", "uid-alice", "k1"), sessionOf("s3", "uid-bob", "")
		s2.Created = created.Add(time.Minute)
		for _, v := range []token.Session{s1, s2, s3} {
			must(t, s.SaveSession(ctx, v, access.Proof{}, token.Room{}))
		}
		s1.Owner, s2.Owner, s3.Owner = "user:alice", "user:alice", "user:bob"
		got, err := s.SessionBySum(ctx, s2.Sum)
		must(t, err)
		if diff := cmp.Diff(s2, got); diff != "" {
			t.Error(diff)
		}
		for uid, wanted := range map[string][]token.Session{"uid-alice": {s2, s1}, "": {s2, s1, s3}, "none": nil} {
			got, err := s.ListSessions(ctx, uid, token.Place{}, 1000)
			must(t, err)
			if diff := cmp.Diff(wanted, got); diff != "" {
				t.Error(diff)
			}
		}
		must(t, s.TouchSessions(ctx, uses(created.Add(time.Hour), "s1", "s3", "none")))
		must(t, s.TouchSessions(ctx, uses(created.Add(time.Minute), "s1")))
		must(t, s.RevokeSession(ctx, "s1", created.Add(time.Hour)))
		must(t, s.RevokeSession(ctx, "s1", created.Add(2*time.Hour)))
		s1.LastUsed, s1.Revoked = uses(created.Add(time.Hour), "s1")["s1"], created.Add(time.Hour)
		got, err = s.SessionByID(ctx, "s1")
		must(t, err)
		if diff := cmp.Diff(s1, got); diff != "" {
			t.Error(diff)
		}
		want(t, s.RevokeSession(ctx, "none", created), token.ErrUnknown)
		for _, id := range []string{"", "none", "\x00", "s%"} {
			_, err = s.SessionByID(ctx, id)
			want(t, err, token.ErrUnknown)
		}
		_, err = s.SessionBySum(ctx, sha256.Sum256(nil))
		want(t, err, token.ErrUnknown)
	})
}

// A list of sessions is read in parts, wherever one ends: each session is in one,
// though many begin in one second and others end meanwhile.
func TestSessionsInParts(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		must(t, db.Directory().AddAccounts(ctx, accountOf("alice")))
		want := map[string][]string{}
		for i := range 12 {
			v := sessionOf(fmt.Sprintf("s%02d", i), "uid-alice", "")
			if i%3 == 0 {
				v = jobOf(v.ID, "main", "ci@1")
			}
			v.Created = created.Add(-time.Duration(i/4) * time.Second)
			must(t, s.SaveSession(ctx, v, access.Proof{}, token.Room{}))
			for _, uid := range []string{"", v.AccountID} {
				want[uid] = append(want[uid], v.ID)
			}
		}
		for uid, wanted := range want {
			for size := 1; size <= len(wanted)+1; size++ {
				var got []string
				for after := (token.Place{}); ; {
					part, err := s.ListSessions(ctx, uid, after, size)
					must(t, err)
					for _, v := range part {
						got = append(got, v.ID)
						at, ok := token.ParsePlace(v.Place().String())
						if after = at; !ok || at != v.Place() && !at.Created.Equal(v.Created) {
							t.Fatalf("the place of %s is %v", v.ID, at)
						}
					}
					if len(part) < size {
						break
					}
				}
				if diff := cmp.Diff(wanted, got); diff != "" {
					t.Errorf("%q by %d: %s", uid, size, diff)
				}
			}
		}
	})
}

// Those who change the signing keys come one after the other: each sees what
// the one before has made, and what is refused leaves no trace.
func TestSigningKeys(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		list := func() []token.SigningKey {
			t.Helper()
			keys, err := s.ListSigningKeys(ctx)
			must(t, err)
			return keys
		}
		if keys := list(); len(keys) != 0 {
			t.Errorf("keys %v", keys)
		}
		together(12, func(i int) bool {
			k := token.SigningKey{ID: fmt.Sprint("key", i), Private: []byte{byte(i), 0, 255}, KEK: "kek", Created: created, Activates: created}
			if err := s.ChangeSigningKeys(context.Background(), func(keys []token.SigningKey) ([]token.SigningKey, error) {
				if len(keys) > 0 {
					return keys, nil
				}
				return append(keys, k), nil
			}); err != nil {
				t.Error(err)
			}
			return true
		})
		first := list()
		if len(first) != 1 {
			t.Fatalf("%d keys", len(first))
		}
		change := func(to []token.SigningKey, refused error) {
			t.Helper()
			want(t, s.ChangeSigningKeys(ctx, func(keys []token.SigningKey) ([]token.SigningKey, error) { return to, refused }), refused)
		}
		change(nil, token.ErrUnknownKey)
		if diff := cmp.Diff(first, list()); diff != "" {
			t.Error(diff)
		}
		old, next := first[0], token.SigningKey{ID: "next", Private: []byte{7}, Created: created, Activates: created.Add(time.Hour)}
		old.Private, old.KEK, old.Retires = []byte{8}, "another", next.Activates
		change([]token.SigningKey{next, old}, nil)
		if diff := cmp.Diff([]token.SigningKey{old, next}, list()); diff != "" {
			t.Error(diff)
		}
		change([]token.SigningKey{next}, nil)
		if diff := cmp.Diff([]token.SigningKey{next}, list()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSecretsAreHashed is I-17: what a client shows is not in the files.
func TestSecretsAreHashed(t *testing.T) {
	dir := t.TempDir()
	db, err := metadata.Open(t.Context(), "sqlite:"+filepath.Join(dir, "m.db"), metadata.Options{})
	must(t, err)
	const keyCanary, sessionCanary = "sallyport_key_canary-of-a-key", "sallyport_idt_canary-of-a-session"
	must(t, db.Directory().AddAccounts(t.Context(), accountOf("alice")))
	key, session := keyOf("k1", "uid-alice"), sessionOf("s1", "uid-alice", "k1")
	key.Sum, session.Sum = sha256.Sum256([]byte(keyCanary)), sha256.Sum256([]byte(sessionCanary))
	must(t, db.Directory().AddKey(t.Context(), key))
	must(t, db.Tokens().SaveSession(t.Context(), session, access.Proof{}, token.Room{}))
	check := func() {
		sums := 0
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if strings.Contains(string(content), "canary") {
				t.Errorf("I-17 %s holds a secret", e.Name())
			}
			sums += bytes.Count(content, key.Sum[:])
			return err
		}))
		if sums == 0 {
			t.Error("I-17 the sum of the key is not found either: the search proves nothing")
		}
	}
	check()
	must(t, db.Close())
	check()
}

// TestRoomIsPartOfTheLogin: where a session cannot be begun none is ended for
// it, and nothing says that anybody logged in.
func TestRoomIsPartOfTheLogin(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		must(t, db.Directory().AddAccounts(ctx, accountOf("alice")))
		first := sessionOf("s1", "uid-alice", "")
		must(t, s.SaveSession(ctx, first, access.Proof{}, token.Room{Limit: 1, Keep: 0}))
		login := &ledger.Event{Kind: ledger.Login, Decision: ledger.Allowed}
		err := s.SaveSession(ledger.With(ctx, login), sessionOf("s2", "uid-alice", ""), access.Proof{PasswordSet: created}, token.Room{Limit: 1, Keep: 0})
		want(t, err, token.ErrUnknown)
		if login.Recorded() || login.Detail["evicted"] != "" || len(record(t, db, ledger.Query{Limit: 10})) != 0 {
			t.Errorf("recorded: %+v", login)
		}
		if v, err := s.SessionByID(ctx, "s1"); err != nil || !v.Revoked.IsZero() {
			t.Errorf("session %+v, %v", v, err)
		}
		must(t, s.SaveSession(ledger.With(ctx, login), sessionOf("s2", "uid-alice", ""), access.Proof{}, token.Room{Limit: 1, Keep: 0}))
		if v, err := s.SessionByID(ctx, "s1"); err != nil || v.Revoked.IsZero() || !login.Recorded() || login.Detail["evicted"] != "s1" {
			t.Errorf("session %+v, %v, event %+v", v, err, login)
		}
	})
}
