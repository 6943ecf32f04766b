package metadata

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	maxConnections = 16 // for each process
	maxAttempts    = 8  // of a transaction that lost against another one

	// connectTimeout and statementTimeout hold unless the URL, or the
	// environment that libpq would read, says otherwise. A statement's time
	// includes what it waits for locks.
	connectTimeout   = 5 * time.Second
	statementTimeout = 30 * time.Second
)

// postgres is a pool and a watch; the server does the rest.
type postgres struct {
	db    *DB
	pool  *sql.DB
	watch *watch
}

// openPostgres makes db one on the server at url. Everything here is written
// for READ COMMITTED, so the session says so.
func openPostgres(ctx context.Context, db *DB, url string) error {
	config, err := postgresConfig(url)
	if err != nil {
		return err
	}
	if err := migratePostgres(ctx, *config); err != nil {
		return err
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(maxConnections)
	pool.SetMaxIdleConns(maxConnections)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	watch, err := startWatch(ctx, db, config)
	if err != nil {
		return errors.Join(err, pool.Close())
	}
	db.engine = &postgres{db: db, pool: pool, watch: watch}
	db.reads = &tx{db: db, to: pool}
	db.warnIfNotDurable(ctx)
	return nil
}

// postgresConfig reads url and adds what it leaves out.
func postgresConfig(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the postgres URL cannot be read") // the cause would hold the password
	}
	if config.ConnectTimeout == 0 && !strings.Contains(url, "connect_timeout=0") {
		config.ConnectTimeout = connectTimeout
	}
	params := config.RuntimeParams
	params["default_transaction_isolation"] = "read committed"
	if params["application_name"] == "" {
		params["application_name"] = "sallyport"
	}
	if params["statement_timeout"] == "" && !strings.Contains(params["options"], "statement_timeout") {
		params["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	}
	return config, nil
}

// migratePostgres takes the time it takes: a change of a large table is slow,
// and so is waiting for another replica that makes it.
func migratePostgres(ctx context.Context, config pgx.ConnConfig) error {
	files, err := ours(goose.DialectPostgres)
	if err != nil {
		return err
	}
	config.RuntimeParams = maps.Clone(config.RuntimeParams)
	config.RuntimeParams["statement_timeout"] = "0"
	pool := stdlib.OpenDB(config)
	return errors.Join(migrate(ctx, goose.DialectPostgres, pool, files), pool.Close())
}

// warnIfNotDurable tells the operator of a server that loses what it has
// acknowledged.
func (db *DB) warnIfNotDurable(ctx context.Context) {
	for _, name := range []string{"fsync", "synchronous_commit"} {
		var value string
		if err := db.reads.row(ctx, `SELECT current_setting($1)`, args{name}, &value); err == nil && value == "off" {
			db.opts.Logger.WarnContext(ctx, "the database server is set to lose acknowledged pushes when it crashes", "setting", name)
		}
	}
}

func (p *postgres) detach(ctx context.Context) context.Context { return ctx }

// announce comes with the transaction: a change that is rolled back is never
// announced, and one that is announced can be read.
func (p *postgres) announce(ctx context.Context, t *tx) error {
	_, err := t.exec(ctx, `SELECT pg_notify($1, '')`, args{channel})
	return err
}

func (p *postgres) close() error {
	p.watch.stop()
	return p.pool.Close()
}

// write tries again when another transaction was in the way. A reference that
// vanished counts: fn then finds out itself what is missing.
func (p *postgres) write(ctx context.Context, level durability, fn func(context.Context, *tx) error) error {
	for attempt := 1; ; attempt++ {
		err := p.once(ctx, level, fn)
		if err == nil || attempt == maxAttempts || !(isConflict(err) || isForeignKey(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(rand.IntN(attempt*5_000)) * time.Microsecond):
		}
	}
}

func (p *postgres) once(ctx context.Context, level durability, fn func(context.Context, *tx) error) error {
	sqlTx, err := p.pool.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer sqlTx.Rollback() // after a commit it does nothing
	if level == soft {
		if _, err := sqlTx.ExecContext(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return classify(err)
		}
	}
	t := &tx{db: p.db, to: sqlTx}
	if err := fn(ctx, t); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return classify(err)
	}
	p.db.settle(t)
	return nil
}
