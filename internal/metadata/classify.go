package metadata

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sallyport/sallyport/internal/oci"
)

// classify gives a database's error the code that a client may see, if there
// is one. The database's own text stays in the chain for the log.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch {
	case isFull(err):
		return fmt.Errorf("%w: %w", oci.Errorf(oci.StorageFull, "the registry's database has no space left"), err)
	case isAway(err):
		return fmt.Errorf("%w: %w", oci.Errorf(oci.Unavailable, "the registry's database does not answer; try again"), err)
	}
	return err
}

// pgCode and sqliteCode return the database's own code, or "" and 0.
func pgCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}

func isUnique(err error) bool {
	code := sqliteCode(err)
	return pgCode(err) == "23505" || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

func isForeignKey(err error) bool {
	return pgCode(err) == "23503" || sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// isConflict: PostgreSQL gave up one of two transactions.
func isConflict(err error) bool {
	code := pgCode(err)
	return code == "40001" || code == "40P01"
}

func isFull(err error) bool {
	code := sqliteCode(err)
	return pgCode(err) == "53100" || code&0xff == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_IOERR_SHMSIZE
}

// isAway: the server cannot be reached, is going down, takes nobody, or did
// not answer within the time set for a statement or a lock.
func isAway(err error) bool {
	code := pgCode(err)
	if strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "08") || code == "53300" || code == "57014" || code == "55P03" {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) ||
		sqliteCode(err)&0xff == sqlite3.SQLITE_BUSY
}
