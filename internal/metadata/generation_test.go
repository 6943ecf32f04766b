package metadata_test

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestWhatMovesTheGeneration has a row for every method that decides, and for
// those that must not disturb.
func TestWhatMovesTheGeneration(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		d, s := db.Directory(), db.Tokens()
		steps := []struct {
			name  string
			moves bool
			do    func(ctx context.Context) error
		}{
			{"add account", true, func(ctx context.Context) error { return d.AddAccounts(ctx, accountOf("alice")) }},
			{"add it again", false, func(ctx context.Context) error { _ = d.AddAccounts(ctx, accountOf("alice")); return nil }},
			{"add member", true, func(ctx context.Context) error { return d.AddMember(ctx, "ops", "uid-alice") }},
			{"remove member", true, func(ctx context.Context) error { return d.RemoveMember(ctx, "ops", "uid-alice") }},
			{"disable", true, func(ctx context.Context) error { return d.SetDisabled(ctx, "uid-alice", true) }},
			{"enable", true, func(ctx context.Context) error { return d.SetDisabled(ctx, "uid-alice", false) }},
			{"rehash", false, func(ctx context.Context) error {
				return d.Rehash(ctx, "uid-alice", accountOf("alice").PasswordHash, "x")
			}},
			{"password", true, func(ctx context.Context) error { return d.SetPassword(ctx, "uid-alice", "y", created) }},
			{"add key", true, func(ctx context.Context) error { return d.AddKey(ctx, keyOf("k1", "uid-alice")) }},
			{"touch key", false, func(ctx context.Context) error { return d.TouchKeys(ctx, map[string]time.Time{"k1": created}) }},
			{"save session", false, func(ctx context.Context) error {
				return s.SaveSession(ctx, sessionOf("s1", "uid-alice", "k1"), byKey)
			}},
			{"touch session", false, func(ctx context.Context) error {
				return s.TouchSessions(ctx, map[string]time.Time{"s1": created})
			}},
			{"revoke session", true, func(ctx context.Context) error { return s.RevokeSession(ctx, "s1", created) }},
			{"revoke key", true, func(ctx context.Context) error { return d.RevokeKey(ctx, "k1", created) }},
			{"policy", true, func(ctx context.Context) error {
				_, err := d.SavePolicy(ctx, account.PolicyVersion{Document: "x"}, 0)
				return err
			}},
			{"push", false, func(ctx context.Context) error { return push(ctx, db.Catalog(), "a", blobOf("x")) }},
			{"remove account", true, func(ctx context.Context) error { return d.RemoveAccount(ctx, "uid-alice") }},
		}
		last, err := db.Generation(t.Context())
		must(t, err)
		for _, step := range steps {
			must(t, step.do(t.Context()))
			now, err := db.Generation(t.Context())
			must(t, err)
			if (now > last) != step.moves || now < last {
				t.Errorf("%s: generation %d after %d", step.name, now, last)
			}
			last = now
		}
	})
}

func TestGenerationBetweenProcesses(t *testing.T) {
	url := metadatatest.Postgres(t)
	one, two := metadatatest.Open(t, url, metadata.Options{}), metadatatest.Open(t, url, metadata.Options{})
	before, err := two.Generation(t.Context())
	must(t, err)
	queries := two.Queries()
	for range 1000 {
		_, err := two.Generation(t.Context())
		must(t, err)
	}
	if n := two.Queries() - queries; n > 5 {
		t.Errorf("%d queries for 1,000 calls", n)
	}
	must(t, one.Directory().AddAccounts(t.Context(), accountOf("alice")))
	time.Sleep(metadata.GenerationAge)
	after, err := two.Generation(t.Context())
	must(t, err)
	if after <= before {
		t.Errorf("generation %d after %d", after, before)
	}
	// A burst asks once.
	time.Sleep(metadata.GenerationAge)
	queries = two.Queries()
	together(32, func(int) bool {
		_, err := two.Generation(context.Background())
		return err == nil
	})
	if n := two.Queries() - queries; n != 1 {
		t.Errorf("%d queries for a burst", n)
	}
}

func TestGenerationUnknown(t *testing.T) {
	db, err := metadata.Open(t.Context(), metadatatest.Postgres(t), metadata.Options{})
	must(t, err)
	_, err = db.Generation(t.Context())
	must(t, err)
	must(t, db.Close()) // the database is gone
	time.Sleep(metadata.GenerationAge)
	if _, err := db.Generation(t.Context()); err == nil {
		t.Error("an old generation is given out as if it were known")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Generation(ctx); err == nil {
		t.Error("a caller that has gone gets an old generation")
	}
}

// TestGenerationGoesBack: after a failover to a server that had not received
// everything, what was read before is read again.
func TestGenerationGoesBack(t *testing.T) {
	url := metadatatest.Postgres(t)
	db, conn := metadatatest.Open(t, url, metadata.Options{}), connect(t, url)
	generation := func() int64 {
		t.Helper()
		time.Sleep(metadata.GenerationAge)
		g, err := db.Generation(t.Context())
		must(t, err)
		return g
	}
	must(t, db.Directory().AddAccounts(t.Context(), accountOf("alice")))
	lagging := generation()
	must(t, db.Directory().AddAccounts(t.Context(), accountOf("bob")))
	known := generation()
	_, err := conn.Exec(t.Context(), `UPDATE generation SET value = $1`, lagging)
	must(t, err)
	if now := generation(); now == known {
		t.Errorf("generation %d still, though the server says %d", now, lagging)
	}
	must(t, db.Directory().AddAccounts(t.Context(), accountOf("carol")))
	if now, err := db.Generation(t.Context()); err != nil || now == lagging || now == known {
		t.Errorf("another change got the generation %d of one that was lost, %v", now, err)
	}
}
