package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// connect opens a connection of the test's own.
func connect(t *testing.T, url string) *pgx.Conn {
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// explainPostgres fills the tables and returns the plans of queries.
func explainPostgres(t *testing.T, queries map[string]string) map[string]string {
	url := metadatatest.Postgres(t)
	metadatatest.Open(t, url, metadata.Options{})
	conn := connect(t, url)
	for _, text := range []string{
		`INSERT INTO repository (name, created) SELECT 'r' || i, 1 FROM generate_series(1, 10000) i`,
		`INSERT INTO blob (digest, size, leased) SELECT 'd' || i, 1, 1 FROM generate_series(1, 10) i`,
		`INSERT INTO blob_link (repository_id, digest, leased) SELECT r.id, b.digest, 1 FROM repository r, blob b`,
		`INSERT INTO manifest SELECT 1, 'm' || i, 't', 1, 'x', '', '', 1, '' FROM generate_series(1, 20000) i`,
		`INSERT INTO tag SELECT 1, 't' || lpad(i::text, 6, '0'), 'm1' FROM generate_series(1, 100000) i`,
		`ANALYZE`,
	} {
		_, err := conn.Exec(t.Context(), text)
		must(t, err)
	}
	plans := make(map[string]string)
	for name, query := range queries {
		rows, err := conn.Query(t.Context(), `EXPLAIN `+query)
		must(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		plans[name] = strings.Join(lines, "\n")
	}
	return plans
}

// blocked waits until a transaction waits for a lock.
func blocked(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for range 2000 {
		var n int
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		if n > 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("nobody waits")
}

// TestInterleavings holds one half of a race open in a transaction of its own,
// lets the other run into it, and commits.
func TestInterleavings(t *testing.T) {
	d, m := blobOf("x"), manifestOf("m", blobOf("x"))
	index := indexOf("i", m)
	const old, fresh = `1`, `1000000000000000000`
	link := `UPDATE blob_link SET leased = ` + fresh
	cases := []struct {
		name  string
		setup func(c registry.Catalog) error
		first string // what the other transaction has done
		then  func(ctx context.Context, db *metadata.DB) error
		code  oci.Code
	}{
		{"a lease is renewed, then the blob is removed", func(c registry.Catalog) error { return c.DeleteBlob(t.Context(), "a", d.Digest) },
			`UPDATE blob SET leased = ` + fresh,
			func(ctx context.Context, db *metadata.DB) error {
				removed, err := db.Sweeps().RemoveBlob(ctx, d.Digest, time.Now().Add(time.Hour), func() error { return errors.New("bytes removed") })
				return errors.Join(err, unless(!removed, "removed"))
			}, ""},
		{"a link is renewed, then dropped", nil, link,
			func(ctx context.Context, db *metadata.DB) error { return drops(ctx, db, 0) }, ""},
		{"a link is dropped, then renewed", nil, `DELETE FROM blob_link`,
			func(ctx context.Context, db *metadata.DB) error { return db.Catalog().RenewLink(ctx, "a", d.Digest) }, oci.BlobUnknown},
		{"a link is dropped, then a manifest relies on it", nil, `DELETE FROM blob_link`,
			func(ctx context.Context, db *metadata.DB) error { return save(ctx, db.Catalog(), "a", m, nil) }, oci.ManifestBlobUnknown},
		{"a blob is removed, then mounted", nil, `DELETE FROM blob_link; DELETE FROM blob`,
			func(ctx context.Context, db *metadata.DB) error {
				_, err := db.Catalog().MountBlob(ctx, "b", registry.BlobAt{Repo: "a", Digest: d.Digest})
				return err
			}, oci.BlobUnknown},
		{"a blob is removed, then leased", nil, `DELETE FROM blob_link; DELETE FROM blob`,
			func(ctx context.Context, db *metadata.DB) error {
				if err := push(ctx, db.Catalog(), "a", d); err != nil {
					return err
				}
				_, err := db.Catalog().FindBlob(ctx, "a", d.Digest)
				return err
			}, ""},
		{"a manifest is saved, then its blob is deleted", nil,
			`INSERT INTO manifest VALUES (1, 'sha256:m', 't', 1, NULL, '', '', 1, ''); INSERT INTO manifest_blob VALUES (1, 'sha256:m', '` + string(d.Digest) + `')`,
			func(ctx context.Context, db *metadata.DB) error { return db.Catalog().DeleteBlob(ctx, "a", d.Digest) }, oci.Unsupported},
		{"a manifest is saved without a renewal, then its link is dropped", nil,
			`INSERT INTO manifest VALUES (1, 'sha256:m', 't', 1, NULL, '', '', 1, ''); INSERT INTO manifest_blob VALUES (1, 'sha256:m', '` + string(d.Digest) + `')`,
			func(ctx context.Context, db *metadata.DB) error { return drops(ctx, db, 0) }, ""},
		{"an index is saved, then its child is deleted", func(c registry.Catalog) error { return save(t.Context(), c, "a", m, nil) },
			`INSERT INTO manifest VALUES (1, 'sha256:i', 't', 1, NULL, '', '', 1, ''); INSERT INTO manifest_child VALUES (1, 'sha256:i', '` + string(m.Digest) + `')`,
			func(ctx context.Context, db *metadata.DB) error {
				return db.Catalog().DeleteManifest(ctx, "a", m.Digest, registrytest.AnyTag)
			}, oci.Unsupported},
		{"a child is deleted, then an index relies on it", func(c registry.Catalog) error { return save(t.Context(), c, "a", m, nil) },
			`DELETE FROM manifest`,
			func(ctx context.Context, db *metadata.DB) error {
				return save(ctx, db.Catalog(), "a", index, nil)
			}, oci.ManifestBlobUnknown},
		{"a tag is set, then its manifest is deleted", func(c registry.Catalog) error { return save(t.Context(), c, "a", m, nil) },
			`INSERT INTO tag VALUES (1, 't', '` + string(m.Digest) + `')`,
			func(ctx context.Context, db *metadata.DB) error {
				if err := db.Catalog().DeleteManifest(ctx, "a", m.Digest, registrytest.AnyTag); err != nil {
					return err
				}
				_, err := db.Catalog().FindManifest(ctx, "a", oci.ByTag("t"))
				return err
			}, oci.ManifestUnknown},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			url := metadatatest.Postgres(t)
			db := metadatatest.Open(t, url, metadata.Options{})
			must(t, push(t.Context(), db.Catalog(), "a", d))
			if tc.setup != nil {
				must(t, tc.setup(db.Catalog()))
			}
			mine, watch := connect(t, url), connect(t, url)
			_, err := mine.Exec(t.Context(), `UPDATE blob_link SET leased = `+old+`; UPDATE blob SET leased = `+old)
			must(t, err)
			_, err = mine.Exec(t.Context(), `BEGIN`)
			must(t, err)
			_, err = mine.Exec(t.Context(), tc.first)
			must(t, err)
			done := make(chan error, 1)
			go func() { done <- tc.then(context.Background(), db) }()
			blocked(t, watch)
			_, err = mine.Exec(t.Context(), `COMMIT`)
			must(t, err)
			wantCode(t, <-done, tc.code)
		})
	}
}

func unless(ok bool, text string) error {
	if ok {
		return nil
	}
	return errors.New(text)
}

// drops drops all unused links whose lease has run out, and wants n of them.
func drops(ctx context.Context, db *metadata.DB, n int64) error {
	dropped, err := db.Sweeps().DropUnusedLinks(ctx, time.Now().Add(time.Hour), 100)
	return errors.Join(err, unless(dropped == n, fmt.Sprint("dropped ", dropped)))
}

// TestLeaseDuringRemoval: a push that asks for a lease while the bytes are
// being removed gets it afterwards, and so seals anew.
func TestLeaseDuringRemoval(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		d := blobOf("x")
		_, err := db.Sweeps().AdoptBlob(t.Context(), d, created)
		must(t, err)
		removing, leased, freed := make(chan struct{}), make(chan error, 1), false
		go func() {
			<-removing
			err := db.Catalog().LeaseBlob(context.Background(), d.Digest)
			if !freed {
				err = errors.New("leased while the bytes were still to be removed")
			}
			leased <- err
		}()
		removed, err := db.Sweeps().RemoveBlob(t.Context(), d.Digest, time.Now(), func() error {
			close(removing)
			time.Sleep(50 * time.Millisecond) // long enough for a lease that does not wait
			freed = true
			return nil
		})
		if must(t, err); !removed {
			t.Error("not removed")
		}
		must(t, <-leased)
		must(t, db.Catalog().LinkBlob(t.Context(), registry.Session{Repo: "a"}, d))
		removed, err = db.Sweeps().RemoveBlob(t.Context(), d.Digest, time.Now().Add(time.Hour), func() error { return errors.New("bytes removed") })
		if must(t, err); removed {
			t.Error("removed while linked")
		}
	})
}

// A world is a few repositories and blobs that pushes and sweeps fight over.
// Its bytes stand for the blob store.
type world struct {
	t     *testing.T
	clock *clock
	// pushing is held by every push, and by the clock to jump: pushes are
	// shorter than the grace period, and nothing else is promised.
	pushing sync.RWMutex
	mu      sync.Mutex
	bytes   map[oci.Digest]bool
}

func (w *world) stored(d oci.Digest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes[d]
}

func (w *world) store(d oci.Digest, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes[d] = there
}

// push makes one of the pushes that rely on what may be there: by HEAD, by
// mount, or by sending it again. Then a manifest must be accepted.
func (w *world) push(db *metadata.DB, n int) error {
	w.pushing.RLock()
	defer w.pushing.RUnlock()
	ctx, c := context.Background(), db.Catalog()
	repo, other := oci.RepoName(fmt.Sprint("r", rand.IntN(2))), oci.RepoName(fmt.Sprint("r", rand.IntN(2)))
	d := blobOf(fmt.Sprint("blob", rand.IntN(4)))
	if err := w.obtain(c, repo, other, d); err != nil {
		return err
	}
	m := manifestOf(fmt.Sprint("m", n), d)
	if err := save(ctx, c, repo, m, []oci.Tag{"t"}); err != nil {
		return fmt.Errorf("a push that did everything right: %w", err)
	}
	if _, err := c.FindBlob(ctx, repo, d.Digest); err != nil || !w.stored(d.Digest) {
		return fmt.Errorf("a manifest with a missing blob: %v, stored %v", err, w.stored(d.Digest))
	}
	if err := c.DeleteBlob(ctx, repo, d.Digest); !errors.Is(err, oci.Unsupported) {
		return fmt.Errorf("delete of a blob in use: %w", err)
	}
	return c.DeleteManifest(ctx, repo, m.Digest, registrytest.AnyTag)
}

func (w *world) obtain(c registry.Catalog, repo, other oci.RepoName, d oci.Descriptor) error {
	ctx := context.Background()
	switch rand.IntN(3) {
	case 0:
		if _, err := c.FindBlob(ctx, repo, d.Digest); err == nil {
			if err := c.RenewLink(ctx, repo, d.Digest); err == nil || !errors.Is(err, oci.BlobUnknown) {
				return err
			}
		}
	case 1:
		if _, err := c.MountBlob(ctx, repo, registry.BlobAt{Repo: other, Digest: d.Digest}); err == nil || !errors.Is(err, oci.BlobUnknown) {
			return err
		}
	}
	if err := c.LeaseBlob(ctx, d.Digest); err != nil {
		return err
	}
	w.store(d.Digest, true)
	return c.LinkBlob(ctx, registry.Session{ID: "id", Repo: repo}, d)
}

// sweep drops what it may.
func (w *world) sweep(db *metadata.DB) error {
	before := w.clock.now().Add(-grace)
	if _, err := db.Sweeps().DropUnusedLinks(context.Background(), before, 10); err != nil {
		return err
	}
	for d, err := range db.Sweeps().UnusedBlobs(context.Background(), before) {
		if err != nil {
			return err
		}
		if _, err := db.Sweeps().RemoveBlob(context.Background(), d.Digest, before, func() error {
			w.store(d.Digest, false)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// TestPushesAgainstSweeps runs pushes, sweeps and a jumping clock at once; on
// PostgreSQL from two processes' worth of connections.
func TestPushesAgainstSweeps(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		w := &world{t: t, clock: newClock(), bytes: make(map[oci.Digest]bool)}
		o := metadata.Options{Now: w.clock.now, Grace: grace}
		one := metadatatest.Open(t, url, o)
		two := one
		if strings.HasPrefix(url, "postgres") {
			two = metadatatest.Open(t, url, o)
		}
		stop := make(chan struct{})
		var background sync.WaitGroup
		background.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.sweep(two); err != nil {
					t.Errorf("sweep: %v", err)
					return
				}
				w.pushing.Lock()
				w.clock.advance(grace + time.Hour)
				w.pushing.Unlock()
			}
		})
		together(6, func(i int) bool {
			for n := range 50 {
				if err := w.push([]*metadata.DB{one, two}[n%2], i*1000+n); err != nil {
					t.Error(err)
					return false
				}
			}
			return true
		})
		close(stop)
		background.Wait()
		w.clock.advance(2 * grace)
		must(t, w.sweep(one))
		if n, err := one.Sweeps().CountBlobs(t.Context()); err != nil || n != 0 {
			t.Errorf("%d blobs left, %v", n, err)
		}
	})
}
