// Package metadatatest owns real databases for tests: SQLite files, and a
// PostgreSQL server started from the machine's own programs.
package metadatatest

import (
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/metadata"
)

// SQLite returns the URL of a database that does not exist yet.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "metadata.db")
}

// EachURL runs f on a fresh database of each kind.
func EachURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
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
