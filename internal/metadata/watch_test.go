package metadata_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
)

// watches selects the connections that watch for changes of this database.
const watches = ` FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sallyport watch'`

// shadow puts a function before one of PostgreSQL's own, for all who come to
// the database later.
func shadow(t *testing.T, conn *pgx.Conn, signature, body string) {
	t.Helper()
	for _, text := range []string{
		`CREATE SCHEMA IF NOT EXISTS shadow`,
		`CREATE OR REPLACE FUNCTION shadow.` + signature + ` LANGUAGE sql AS '` + body + `'`,
		`DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = public, shadow, pg_catalog'; END $$`,
	} {
		_, err := conn.Exec(t.Context(), text)
		must(t, err)
	}
}

// change makes a change that decides, another one for each name.
func change(t *testing.T, db *metadata.DB, name string) {
	t.Helper()
	must(t, db.Directory().AddAccounts(t.Context(), accountOf(name)))
}

// known returns the generation, which can be known.
func known(t *testing.T, db *metadata.DB) int64 {
	t.Helper()
	g, err := db.Generation(t.Context())
	must(t, err)
	return g
}

// S-33: a change is known to every process when the bound has passed, however
// the news of it is hindered.
func TestChangesAreSeen(t *testing.T) {
	for _, way := range []struct {
		name    string
		prepare func(t *testing.T, conn *pgx.Conn) // before the processes come
		hinder  func(t *testing.T, conn *pgx.Conn) // before each change
	}{
		{name: "announced"},
		{name: "not announced", prepare: func(t *testing.T, conn *pgx.Conn) {
			shadow(t, conn, `pg_notify(text, text) RETURNS void`, `SELECT`)
		}},
		{name: "connection cut", hinder: func(t *testing.T, conn *pgx.Conn) {
			_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid)`+watches)
			must(t, err)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			url := metadatatest.Postgres(t)
			conn := connect(t, url)
			if way.prepare != nil {
				way.prepare(t, conn)
			}
			var dbs []*metadata.DB
			for range 3 {
				dbs = append(dbs, metadatatest.Open(t, url, metadata.Options{}))
			}
			for i := range 4 {
				if way.hinder != nil {
					way.hinder(t, conn)
				}
				var before []int64
				for _, db := range dbs {
					before = append(before, known(t, db))
				}
				change(t, dbs[0], fmt.Sprint("user", i))
				if known(t, dbs[0]) == before[0] {
					t.Fatal("a change is not seen where it was made")
				}
				time.Sleep(metadata.ChangesBound)
				for j, db := range dbs[1:] {
					if g := known(t, db); g == before[j+1] {
						t.Fatalf("S-33 change %d: generation %d still", i, g)
					}
				}
			}
		})
	}
}

// TestAnnouncement: a change is announced when it is committed, and the watch
// looks then: two looks come closer than the poll would bring them.
func TestAnnouncement(t *testing.T) {
	url := metadatatest.Postgres(t)
	db, conn := metadatatest.Open(t, url, metadata.Options{}), connect(t, url)
	_, err := conn.Exec(t.Context(), `LISTEN sallyport_generation`)
	must(t, err)
	for i := range 100 {
		last := db.Looked()
		change(t, db, fmt.Sprint("user", i))
		_, err := conn.WaitForNotification(t.Context())
		must(t, err)
		for db.Looked().Equal(last) {
			time.Sleep(time.Millisecond)
		}
		if db.Looked().Sub(last) < metadata.PollEvery {
			return
		}
	}
	t.Error("the watch looks when it polls, not when a change is announced")
}

// TestGenerationIsFree: nobody asks the database because of a request.
func TestGenerationIsFree(t *testing.T) {
	db := metadatatest.Open(t, metadatatest.Postgres(t), metadata.Options{})
	queries := db.Queries()
	for begun := time.Now(); time.Since(begun) < 2*metadata.PollEvery; {
		known(t, db)
	}
	if n := db.Queries() - queries; n != 0 {
		t.Errorf("%d queries to know the generation", n)
	}
}

// TestGenerationUnknown: a process that cannot look refuses, whether the server
// is gone, takes nobody, hangs or is a standby; and goes on when it can.
func TestGenerationUnknown(t *testing.T) {
	refused := func(t *testing.T, db *metadata.DB) {
		t.Helper()
		time.Sleep(metadata.ChangesBound)
		ctx, cancel := context.WithTimeout(t.Context(), 2*metadata.Patience)
		defer cancel()
		g, err := db.Generation(ctx)
		if err == nil {
			t.Errorf("an old generation %d is given out as if it were known", g)
			return
		}
		wantCode(t, err, oci.Unavailable)
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := db.Generation(gone); err == nil {
			t.Error("a caller that has gone gets an old generation")
		}
	}
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		db, err := metadata.Open(t.Context(), metadatatest.Postgres(t), metadata.Options{})
		must(t, err)
		known(t, db)
		must(t, db.Close())
		refused(t, db)
	})
	t.Run("takes nobody", func(t *testing.T) {
		t.Parallel()
		url := metadatatest.Postgres(t)
		conn := connect(t, url)
		db := metadatatest.Open(t, url, metadata.Options{})
		name := conn.Config().Database
		elsewhere := connect(t, strings.Replace(url, "/"+name+"?", "/postgres?", 1))
		allow := func(yes bool) {
			_, err := elsewhere.Exec(t.Context(), fmt.Sprintf(`ALTER DATABASE %s ALLOW_CONNECTIONS %v`, name, yes))
			must(t, err)
		}
		allow(false)
		_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid)`+watches)
		must(t, err)
		refused(t, db)
		allow(true)
		known(t, db)
	})
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		url := metadatatest.Postgres(t)
		conn := connect(t, url)
		db := metadatatest.Open(t, url, metadata.Options{})
		// The lock makes every new look hang too.
		tx, err := conn.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), `LOCK TABLE generation IN ACCESS EXCLUSIVE MODE`)
		must(t, err)
		refused(t, db)
		must(t, tx.Rollback(t.Context()))
		known(t, db)
	})
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		url := metadatatest.Postgres(t)
		conn := connect(t, url)
		db := metadatatest.Open(t, url, metadata.Options{})
		before := known(t, db)
		var pid int
		must(t, conn.QueryRow(t.Context(), `SELECT pid`+watches).Scan(&pid))
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
		defer syscall.Kill(pid, syscall.SIGCONT)
		// Only the watch's own connection is frozen: another takes its place.
		change(t, metadatatest.Open(t, url, metadata.Options{}), "alice")
		time.Sleep(metadata.ChangesBound)
		if known(t, db) == before {
			t.Error("an old generation is given out as if it were known")
		}
	})
	t.Run("standby", func(t *testing.T) {
		t.Parallel()
		url := metadatatest.Postgres(t)
		conn := connect(t, url)
		shadow(t, conn, `pg_is_in_recovery() RETURNS boolean`, `SELECT true`)
		_, err := metadata.Open(t.Context(), url, metadata.Options{})
		if err == nil {
			t.Error("a standby is trusted")
		}
	})
}

// TestGenerationGoesBack: after a failover to a server that had not received
// everything, what was read before is read again.
func TestGenerationGoesBack(t *testing.T) {
	url := metadatatest.Postgres(t)
	db, conn := metadatatest.Open(t, url, metadata.Options{}), connect(t, url)
	generation := func() int64 {
		t.Helper()
		time.Sleep(metadata.ChangesBound)
		return known(t, db)
	}
	change(t, db, "alice")
	lagging := generation()
	change(t, db, "bob")
	before := generation()
	_, err := conn.Exec(t.Context(), `UPDATE generation SET value = $1`, lagging)
	must(t, err)
	if now := generation(); now == before {
		t.Errorf("generation %d still, though the server says %d", now, lagging)
	}
	change(t, db, "carol")
	if now := known(t, db); now == lagging || now == before {
		t.Errorf("another change got the generation %d of one that was lost", now)
	}
}
