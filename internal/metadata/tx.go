package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
)

// errNone says that no row matched.
var errNone = errors.New("no such row")

// A querier is a pool, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A tx sends statements: those of one transaction, or single reads. It gathers
// what has to happen around the commit.
type tx struct {
	db         *DB
	to         querier
	touched    []oci.RepoName // repositories whose cached answers end
	generation int64          // the value that this transaction has set, or 0
	sealed     []ledger.Sealed
	pending    *ledger.Event // the one of sealed that a caller waits to see recorded, or nil
}

// args makes the call sites short.
type args = []any

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, query string, a args) (int64, error) {
	if !storable(a) {
		return 0, errors.New("text holds NUL or is not UTF-8")
	}
	t.db.queries.Add(1)
	result, err := t.to.ExecContext(ctx, query, a...)
	if err != nil {
		return 0, classify(err)
	}
	n, err := result.RowsAffected()
	return n, classify(err)
}

// row reads one row into dest. Errors: errNone.
func (t *tx) row(ctx context.Context, query string, a args, dest ...any) error {
	found := false
	err := t.rows(ctx, query, a, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(dest...)
	})
	if err == nil && !found {
		return errNone
	}
	return err
}

// rows calls scan for each row.
func (t *tx) rows(ctx context.Context, query string, a args, scan func(*sql.Rows) error) error {
	if !storable(a) {
		return nil // no row can hold it, and PostgreSQL would refuse to look
	}
	t.db.queries.Add(1)
	rows, err := t.to.QueryContext(ctx, query, a...)
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return classify(err)
		}
	}
	return classify(rows.Err())
}

// touch ends the cached answers about repo.
func (t *tx) touch(repo oci.RepoName) { t.touched = append(t.touched, repo) }

// advance moves the generation. On PostgreSQL it also makes writers of what
// decides wait for each other, so it comes first in a transaction. The value is
// the time, or the next number if that is not later: so a change that was lost
// in a failover and one made after it do not share one.
func (t *tx) advance(ctx context.Context) error {
	if err := t.row(ctx, `UPDATE generation SET value = CASE WHEN value < $1 THEN $1 ELSE value + 1 END WHERE id = 1 RETURNING value`,
		args{t.db.now()}, &t.generation); err != nil {
		return err
	}
	return t.db.engine.announce(ctx, t)
}

// storable reports whether both databases can hold every text in a: UTF-8
// without NUL.
func storable(a args) bool {
	for _, v := range a {
		if s, ok := v.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return false
		}
	}
	return true
}

// wrap adds what was being done to an error; nil stays nil.
func wrap(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, a...), err)
}

// prepared keeps every statement it has seen ready, since SQLite parses slowly.
// There are as many as this package has texts.
type prepared struct {
	on interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	stmts sync.Map // query → *sql.Stmt
	mu    sync.Mutex
}

func (p *prepared) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := p.stmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.stmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := p.on.PrepareContext(ctx, query)
	if err == nil {
		p.stmts.Store(query, s)
	}
	return s, err
}

// close lets go of the statements. database/sql would not close those of a
// single connection, and SQLite keeps its log as long as one is open.
func (p *prepared) close() {
	p.stmts.Range(func(_, s any) bool {
		s.(*sql.Stmt).Close()
		return true
	})
}

func (p *prepared) ExecContext(ctx context.Context, query string, a ...any) (sql.Result, error) {
	s, err := p.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, a...)
}

func (p *prepared) QueryContext(ctx context.Context, query string, a ...any) (*sql.Rows, error) {
	s, err := p.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, a...)
}
