package metadata_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
)

func TestReopen(t *testing.T) {
	metadatatest.EachEmptyURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		var generation int64
		for round := range 3 {
			db, err := metadata.Open(ctx, url, metadata.Options{})
			must(t, err)
			if round == 0 {
				must(t, push(ctx, db.Catalog(), "a", blobOf("x")))
				must(t, save(ctx, db.Catalog(), "a", manifestOf("m", blobOf("x")), []oci.Tag{"1"}))
				must(t, db.Directory().AddAccounts(ctx, accountOf("alice")))
			}
			_, err = db.Catalog().FindManifest(ctx, "a", oci.ByTag("1"))
			must(t, err)
			g, err := db.Generation(ctx)
			if err != nil || g < 2 || round > 0 && g != generation {
				t.Errorf("generation %d, was %d, %v", g, generation, err)
			}
			generation = g
			must(t, db.Ping(ctx))
			must(t, db.Close())
			if err := db.Catalog().LeaseBlob(ctx, blobOf("y").Digest); err == nil {
				t.Error("a closed database takes writes")
			}
		}
	})
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "mysql://x", "/path", "sqlite:" + filepath.Join(t.TempDir(), "none", "x.db"),
		"postgres://user:canary-password@127.0.0.1:1/db?connect_timeout=1", "postgres://user:canary-password@%zz/"} {
		_, err := metadata.Open(t.Context(), url, metadata.Options{})
		if err == nil {
			t.Errorf("%q opens", url)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("L-01 the error shows the password: %v", err)
		}
	}
}

func TestOneProcess(t *testing.T) {
	url := metadatatest.NoSQLite(t)
	db, err := metadata.Open(t.Context(), url, metadata.Options{})
	must(t, err)
	_, err = metadata.Open(t.Context(), url, metadata.Options{})
	if err == nil || !strings.Contains(err.Error(), "held by another sallyport") || strings.Contains(err.Error(), "\n") {
		t.Errorf("second open: %v", err)
	}
	must(t, db.Close())
	db, err = metadata.Open(t.Context(), url, metadata.Options{})
	must(t, err)
	must(t, db.Close())
}

func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o777} {
		dir := t.TempDir()
		old := syscall.Umask(umask)
		db, err := metadata.Open(t.Context(), "sqlite:"+filepath.Join(dir, "a b?c#d%25.db"), metadata.Options{})
		if err == nil {
			err = push(t.Context(), db.Catalog(), "a", blobOf("x"))
		}
		syscall.Umask(old)
		must(t, err)
		found := 0
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			found++
			info, err := e.Info()
			if err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("umask %o: %s has mode %o", umask, e.Name(), info.Mode().Perm())
			}
			return err
		}))
		if found != 4 { // the database, its log, the log's index, the lock
			t.Errorf("%d files", found)
		}
		must(t, db.Close())
		left, err := filepath.Glob(filepath.Join(dir, "*-wal"))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("close leaves %q", left)
		}
	}
}

func TestNewerDatabase(t *testing.T) {
	metadatatest.EachEmptyURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := metadata.Open(ctx, url, metadata.Options{})
		must(t, err)
		must(t, db.Write(ctx, func(exec metadata.Exec) error {
			_, err := exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, $1)`, true)
			return err
		}))
		must(t, db.Close())
		_, err = metadata.Open(ctx, url, metadata.Options{})
		if err == nil || !strings.Contains(err.Error(), "newer sallyport") {
			t.Errorf("D-15 downgrade: %v", err)
		}
	})
}

func TestReplicasStartTogether(t *testing.T) {
	url := metadatatest.EmptyPostgres(t)
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			db, err := metadata.Open(t.Context(), url, metadata.Options{})
			if err != nil {
				t.Errorf("D-15 two nodes start: %v", err)
				return
			}
			if err := push(t.Context(), db.Catalog(), "a", blobOf("x")); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// TestMigrationIsAtomic: one that ends in the middle leaves nothing behind.
func TestMigrationIsAtomic(t *testing.T) {
	metadatatest.EachEmptyURL(t, func(t *testing.T, url string) {
		err := metadata.MigrateWith(t.Context(), url, map[string]string{
			"00002_bad.sql": "-- +goose Up\nCREATE TABLE half (id bigint);\nDELETE FROM generation;\nINSERT INTO nowhere VALUES (1);\n",
		})
		if err == nil {
			t.Fatal("a bad migration is applied")
		}
		db := metadatatest.Open(t, url, metadata.Options{})
		if g, err := db.Generation(t.Context()); err != nil || g != 1 {
			t.Errorf("D-15 generation %d, %v", g, err)
		}
		if _, err := db.Number(t.Context(), `SELECT count(*) FROM half`); err == nil {
			t.Error("D-15 a table of the failed migration is there")
		}
	})
}

// TestFileThatWasThere gets the right mode too.
func TestFileThatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metadata.db")
	must(t, os.WriteFile(path, nil, 0o644))
	metadatatest.Open(t, "sqlite:"+path, metadata.Options{})
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

func TestNothingStaysBehind(t *testing.T) {
	metadatatest.EachEmptyURL(t, func(t *testing.T, url string) {
		ignore := goleak.IgnoreCurrent()
		db, err := metadata.Open(t.Context(), url, metadata.Options{})
		must(t, err)
		exercise(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		for range db.Catalog().Tags(ctx, "b", "") {
			break
		}
		cancel()
		must(t, db.Close())
		goleak.VerifyNone(t, ignore)
	})
}
