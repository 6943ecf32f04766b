package metadata

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
)

// An Exec sends a statement in a transaction.
type Exec func(query string, a ...any) (int64, error)

// Write runs fn as a hard transaction beside those of the package.
func (db *DB) Write(ctx context.Context, fn func(Exec) error) error {
	return db.write(ctx, hard, execs(fn))
}

// WriteSoft runs fn as a soft transaction.
func (db *DB) WriteSoft(ctx context.Context, fn func(Exec) error) error {
	return db.write(ctx, soft, execs(fn))
}

func execs(fn func(Exec) error) func(context.Context, *tx) error {
	return func(ctx context.Context, t *tx) error {
		return fn(func(query string, a ...any) (int64, error) { return t.exec(ctx, query, a) })
	}
}

// Number reads one number outside any transaction.
func (db *DB) Number(ctx context.Context, query string, a ...any) (int64, error) {
	var n int64
	err := db.reads.row(ctx, query, a, &n)
	return n, err
}

// Synchronous returns the level at which the SQLite writer commits now. Only
// for when nobody writes.
func (db *DB) Synchronous(ctx context.Context) (level int, err error) {
	err = db.engine.(*sqlite).conn.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&level)
	return level, err
}

// BreakRollback makes every ROLLBACK of the SQLite writer's present connection
// fail.
func (db *DB) BreakRollback(ctx context.Context) error {
	p := db.engine.(*sqlite).to
	overflow, err := p.on.PrepareContext(ctx, `SELECT abs(-9223372036854775807 - 1)`)
	p.stmts.Store(`ROLLBACK`, overflow)
	return err
}

// Pragma sends text to the SQLite writer.
func (db *DB) Pragma(ctx context.Context, text string) error {
	_, err := db.engine.(*sqlite).conn.ExecContext(ctx, text)
	return err
}

// Queued returns how many transactions wait for the SQLite writer.
func (db *DB) Queued() int {
	w := db.engine.(*sqlite).batchWriter
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// Statements returns every text that the SQLite connections have prepared.
func (db *DB) Statements() []string {
	var texts []string
	for _, p := range []*prepared{db.reads.to.(*prepared), db.engine.(*sqlite).to} {
		p.stmts.Range(func(text, _ any) bool {
			texts = append(texts, text.(string))
			return true
		})
	}
	return texts
}

// Plan returns how SQLite would run a statement, one step a line.
func (db *DB) Plan(ctx context.Context, text string) (steps []string, err error) {
	var a args
	for strings.Contains(text, fmt.Sprint("$", len(a)+1)) {
		a = append(a, nil)
	}
	err = db.reads.rows(ctx, `EXPLAIN QUERY PLAN `+text, a, func(rows *sql.Rows) error {
		var id, parent, unused int
		var step string
		err := rows.Scan(&id, &parent, &unused, &step)
		steps = append(steps, step)
		return err
	})
	return steps, err
}

var (
	Bound          = bound
	Span           = span
	PostgresConfig = postgresConfig
)

// Looked returns when the newest look for changes began.
func (db *DB) Looked() time.Time { return *db.gen.looked.Load() }

const (
	PollEvery    = pollEvery
	ChangesBound = changesBound
	Patience     = patience
)

// MigrateWith applies our migrations and then more.
func MigrateWith(ctx context.Context, url string, more map[string]string) error {
	dialect, driver, name := goose.DialectPostgres, "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		dialect, driver, name = goose.DialectSQLite3, "sqlite", path
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return err
	}
	defer db.Close()
	files, err := ours(dialect)
	if err != nil {
		return err
	}
	first, err := fs.ReadFile(files, "00001_init.sql")
	if err != nil {
		return err
	}
	all := fstest.MapFS{"00001_init.sql": {Data: first}}
	for name, text := range more {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return migrate(ctx, dialect, db, all)
}
