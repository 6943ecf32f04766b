package metadata

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// ours returns the migrations for one of the databases.
func ours(dialect goose.Dialect) (fs.FS, error) {
	return fs.Sub(migrations, map[goose.Dialect]string{goose.DialectSQLite3: "migrations/sqlite", goose.DialectPostgres: "migrations/postgres"}[dialect])
}

// migrate brings the tables up to date from the SQL files given, each of which
// happens whole or not at all. It refuses a database that knows more of them
// than we do.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS) error {
	options := []goose.ProviderOption{goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true)}
	if dialect == goose.DialectPostgres {
		options = append(options, goose.WithSessionLocker(advisoryLock{}))
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	present, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if present > known {
		return fmt.Errorf("the database is at version %d and this program knows only %d: it was used by a newer sallyport; start that one, or restore a backup from before", present, known)
	}
	return nil
}

// advisoryLock lets replicas that start together migrate one after the other.
// It waits in the database, so that the second goes on at once.
type advisoryLock struct{}

const migrationLock = 0x73616c6c79 // "sally"

func (advisoryLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrationLock)
	return err
}

func (advisoryLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, migrationLock)
	return err
}
