package metadatatest

import (
	"database/sql"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// Exec sends a statement to the database at url from outside, as somebody who
// can write it would.
func Exec(t testing.TB, url, text string) {
	t.Helper()
	driver, source := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
	if err == nil {
		defer db.Close()
		_, err = db.ExecContext(t.Context(), text)
	}
	if err != nil {
		t.Fatal(err)
	}
}
