// Package metadatatest owns real databases for tests: SQLite files, and a
// PostgreSQL server started from the machine's own programs.
package metadatatest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/metadata"
)

// SQLite returns the URL of a fresh database, which has its tables: made once for the
// test binary and copied, since that is most of the work of many a test.
func SQLite(t testing.TB) string {
	t.Helper()
	template, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "metadata.db")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// NoSQLite returns the URL of a database that does not exist yet.
func NoSQLite(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "metadata.db") }

var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sallyport-template")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "metadata.db")
	if err := makeTables("sqlite:" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func makeTables(url string) error {
	db, err := metadata.Open(context.Background(), url, metadata.Options{})
	if err != nil {
		return err
	}
	return db.Close()
}

// EachURL runs f on a fresh database of each kind.
func EachURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// EachEmptyURL runs f on a database of each kind that has no tables.
func EachEmptyURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, NoSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, EmptyPostgres(t)) })
}

// Each runs f on a fresh open database of each kind.
func Each(t *testing.T, f func(t *testing.T, db *metadata.DB)) {
	EachURL(t, func(t *testing.T, url string) { f(t, Open(t, url, metadata.Options{})) })
}

// Open opens the database at url until the test ends.
func Open(t testing.TB, url string, o metadata.Options) *metadata.DB {
	t.Helper()
	db, err := metadata.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
