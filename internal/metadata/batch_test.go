package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
)

const (
	insertName = `INSERT INTO retired_name (name) VALUES ($1)`
	countNames = `SELECT count(*) FROM retired_name`
)

// A crowd is transactions that queue while another one holds the writer.
type crowd struct {
	t       *testing.T
	db      *metadata.DB
	release chan struct{}
	group   sync.WaitGroup
	size    int
}

// newCrowd holds the writer.
func newCrowd(t *testing.T, db *metadata.DB) *crowd {
	c := &crowd{t: t, db: db, release: make(chan struct{})}
	held := make(chan struct{})
	c.group.Go(func() {
		if err := db.Write(context.Background(), func(metadata.Exec) error {
			close(held)
			<-c.release
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	<-held
	return c
}

// join queues f's transaction and returns when it is queued.
func (c *crowd) join(f func()) {
	c.group.Go(f)
	for c.size++; c.db.Queued() < c.size; {
		runtime.Gosched()
	}
}

// go lets all of them run, and waits.
func (c *crowd) run() {
	close(c.release)
	c.group.Wait()
}

func sqliteDB(t testing.TB) *metadata.DB {
	return metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
}

func TestBatchSharesACommit(t *testing.T) {
	db := sqliteDB(t)
	c := newCrowd(t, db)
	errFails := errors.New("on purpose")
	errs, seen, panicked := make([]error, 20), make([]int64, 20), make([]any, 20)
	for i := range errs {
		c.join(func() {
			defer func() { panicked[i] = recover() }()
			errs[i] = db.Write(context.Background(), func(exec metadata.Exec) error {
				var err error
				if seen[i], err = db.Number(context.Background(), countNames); err != nil { // what is committed
					return err
				}
				if _, err := exec(insertName, fmt.Sprint("n", i)); err != nil {
					return err
				}
				switch i {
				case 7:
					return errFails
				case 8:
					_, err := exec(insertName, "n0") // taken
					return err
				case 9:
					panic("on purpose")
				}
				return nil
			})
		})
	}
	c.run()
	for i, err := range errs {
		if seen[i] != 0 {
			t.Errorf("job %d ran after another of its batch had been committed", i)
		}
		switch i {
		case 7:
			want(t, err, errFails)
		case 8:
			if err == nil {
				t.Error("a constraint is not enforced in a batch")
			}
		case 9:
			if panicked[i] != "on purpose" {
				t.Errorf("H-14 the panic did not reach its caller: %v", panicked[i])
			}
		default:
			must(t, err)
		}
	}
	n, err := db.Number(t.Context(), countNames)
	if must(t, err); n != 17 {
		t.Errorf("%d rows, want 17", n)
	}
	must(t, db.Write(t.Context(), func(exec metadata.Exec) error { _, err := exec(insertName, "after"); return err }))
}

func TestBatchIsBounded(t *testing.T) {
	db := sqliteDB(t)
	c := newCrowd(t, db)
	var mu sync.Mutex
	batches := make(map[int64]int) // rows committed before → jobs
	for i := range 150 {
		c.join(func() {
			err := db.Write(context.Background(), func(exec metadata.Exec) error {
				before, err := db.Number(context.Background(), countNames)
				if err != nil {
					return err
				}
				mu.Lock()
				batches[before]++
				mu.Unlock()
				_, err = exec(insertName, fmt.Sprint("n", i))
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	c.run()
	if batches[0] != 64 || batches[64] != 64 || batches[128] != 22 {
		t.Errorf("batches %v", batches)
	}
}

func TestBatchOutlivesACaller(t *testing.T) {
	db := sqliteDB(t)
	c := newCrowd(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, 4)
	for i := range errs {
		mine := context.Background()
		if i == 1 {
			mine = ctx
		}
		c.join(func() {
			errs[i] = db.Write(mine, func(exec metadata.Exec) error {
				if i == 2 {
					// A context that ends midway must not end the batch.
					cancel()
				}
				_, err := exec(insertName, fmt.Sprint("n", i))
				return err
			})
		})
	}
	c.run()
	for i, err := range errs {
		if err != nil {
			t.Errorf("job %d: %v", i, err)
		}
	}

	// One that is still in the queue goes with its caller.
	c = newCrowd(t, db)
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error)
	c.join(func() {
		done <- db.Write(ctx, func(exec metadata.Exec) error { _, err := exec(insertName, "never"); return err })
	})
	cancel()
	want(t, <-done, context.Canceled)
	c.run()
	n, err := db.Number(t.Context(), countNames)
	if must(t, err); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
	want(t, db.Write(ctx, func(metadata.Exec) error { return nil }), context.Canceled)
}

// TestFullDisk: SQLite rolls a batch back as a whole when the disk is full.
func TestFullDisk(t *testing.T) {
	db := sqliteDB(t)
	must(t, push(t.Context(), db.Catalog(), "a", blobOf("x")))
	pages, err := db.Number(t.Context(), `SELECT page_count FROM pragma_page_count`)
	must(t, err)
	must(t, db.Pragma(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+20)))
	c := newCrowd(t, db)
	errs := make([]error, 10)
	for i := range errs {
		c.join(func() {
			size := 10
			if i == 4 {
				size = 1 << 20
			}
			errs[i] = db.Write(context.Background(), func(exec metadata.Exec) error {
				_, err := exec(insertName, strings.Repeat(fmt.Sprint(i), size))
				return err
			})
		})
	}
	c.run()
	for i, err := range errs {
		if i == 4 {
			wantCode(t, err, oci.StorageFull, "space")
		} else {
			must(t, err)
		}
	}
	_, err = db.Catalog().FindBlob(t.Context(), "a", blobOf("x").Digest) // pulls go on
	must(t, err)
	must(t, db.Pragma(t.Context(), `PRAGMA max_page_count = 1000000`))
	big := manifestOf(strings.Repeat("x", 1<<20), blobOf("x"))
	must(t, save(t.Context(), db.Catalog(), "a", big, nil))
}

// TestDurability: work that is soft throughout commits without a flush, and
// nothing else does.
func TestDurability(t *testing.T) {
	const normal, full = 1, 2
	db := sqliteDB(t)
	level := func(name string, want int) {
		t.Helper()
		got, err := db.Synchronous(t.Context())
		if must(t, err); got != want {
			t.Errorf("%s: committed at level %d, want %d", name, got, want)
		}
	}
	level("at first", full)
	c, d := db.Catalog(), blobOf("x")
	must(t, c.LeaseBlob(t.Context(), d.Digest))
	level("lease", normal)
	must(t, push(t.Context(), c, "a", d))
	level("link", full)
	must(t, c.DropUpload(t.Context(), "id"))
	level("drop of an upload", normal)
	must(t, save(t.Context(), c, "a", manifestOf("m", d), nil))
	level("manifest", full)

	crowd := newCrowd(t, db)
	for i := range 4 {
		crowd.join(func() {
			write := db.WriteSoft
			if i == 3 {
				write = db.Write
			}
			if err := write(context.Background(), func(exec metadata.Exec) error { _, err := exec(insertName, fmt.Sprint("n", i)); return err }); err != nil {
				t.Error(err)
			}
		})
	}
	crowd.run()
	level("mixed batch", full)
}

// TestCloseWaits: what was accepted is committed, what comes later refused.
func TestCloseWaits(t *testing.T) {
	url := metadatatest.SQLite(t)
	db, err := metadata.Open(t.Context(), url, metadata.Options{})
	must(t, err)
	c := newCrowd(t, db)
	c.join(func() {
		if err := db.Write(context.Background(), func(exec metadata.Exec) error { _, err := exec(insertName, "n"); return err }); err != nil {
			t.Error(err)
		}
	})
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	c.run()
	must(t, <-closed)
	db = metadatatest.Open(t, url, metadata.Options{})
	n, err := db.Number(t.Context(), countNames)
	if must(t, err); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// TestFailingRollback: a transaction that can be neither committed nor rolled
// back costs the connection, not the writer.
func TestFailingRollback(t *testing.T) {
	db := sqliteDB(t)
	must(t, db.Write(t.Context(), func(exec metadata.Exec) error { _, err := exec(insertName, "before"); return err }))
	must(t, db.BreakRollback(t.Context()))
	errFails := errors.New("on purpose")
	want(t, db.Write(t.Context(), func(exec metadata.Exec) error {
		if _, err := exec(insertName, "half"); err != nil {
			return err
		}
		return errFails
	}), errFails)
	for _, name := range []string{"after", "half"} {
		must(t, db.Write(t.Context(), func(exec metadata.Exec) error { _, err := exec(insertName, name); return err }))
	}
	n, err := db.Number(t.Context(), countNames)
	if must(t, err); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
	level, err := db.Synchronous(t.Context())
	if must(t, err); level != 2 {
		t.Errorf("the new connection commits at level %d, want 2", level)
	}
	must(t, db.WriteSoft(t.Context(), func(exec metadata.Exec) error { _, err := exec(insertName, "soft"); return err }))
	if level, err = db.Synchronous(t.Context()); err != nil || level != 1 {
		t.Errorf("soft work commits at level %d, %v", level, err)
	}
	// The database is closed in that state without an error.
	must(t, db.BreakRollback(t.Context()))
	want(t, db.Write(t.Context(), func(metadata.Exec) error { return errFails }), errFails)
}
