package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/token"
)

// Options configure Open. The zero value works.
type Options struct {
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
	// Grace is the sweep's grace period; zero is 24 hours. A lease younger than
	// a quarter of it is not written again where the Catalog says so.
	Grace time.Duration
	// Recorded is told of the audit events that were committed, in their order
	// within a transaction. It must not wait; nil ignores them.
	Recorded func([]ledger.Sealed)
}

// A DB is an open metadata database. Safe for concurrent use.
type DB struct {
	opts    Options
	engine  engine
	reads   *tx // statements outside any transaction
	cache   *cache
	gen     generation
	queries atomic.Int64

	auditReads chan struct{} // holds one for each Read of the record that runs
}

// An engine is what differs between the two databases.
type engine interface {
	// write runs fn as one transaction, perhaps more than once, and has made
	// its effect durable when it returns nil; the effect of soft work is only
	// visible. What fn leaves in the tx is settled after the commit.
	write(ctx context.Context, soft durability, fn func(context.Context, *tx) error) error
	// detach returns the context that statements of a read run under.
	detach(ctx context.Context) context.Context
	// announce lets other processes know, once t is committed, that it has
	// moved the generation.
	announce(ctx context.Context, t *tx) error
	close() error
}

// durability says whether a transaction waits for the disk.
type durability int

const (
	hard durability = iota
	soft
)

// Open opens the database at url, "sqlite:/path/metadata.db" or
// "postgres://…", and brings its tables up to date. A database that a newer
// program has migrated is refused. One process at a time has a SQLite
// database; a second one gets an error that says so.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Grace == 0 {
		o.Grace = 24 * time.Hour
	}
	db := &DB{opts: o, auditReads: make(chan struct{}, maxReads)}
	var err error
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case "sqlite":
		err = openSQLite(ctx, db, rest)
	case "postgres", "postgresql":
		err = openPostgres(ctx, db, url)
	default:
		err = fmt.Errorf("unknown scheme: use sqlite:/path/metadata.db or postgres://…")
	}
	if err != nil {
		return nil, fmt.Errorf("open metadata database: %w", err)
	}
	return db, nil
}

// Close ends the work that has begun, and releases the database. Nothing may
// be called after it.
func (db *DB) Close() error {
	db.cache.close()
	return db.engine.close()
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var value int64
	return wrap(db.reads.row(db.engine.detach(ctx), `SELECT value FROM generation WHERE id = 1`, nil, &value), "ask metadata database")
}

// Queries returns how many statements were sent to the database so far, those
// that begin and end transactions and those that watch for changes aside.
func (db *DB) Queries() int64 { return db.queries.Load() }

// Catalog returns what repositories hold.
func (db *DB) Catalog() registry.Catalog { return catalog{db} }

// Directory returns accounts, groups, keys and policies.
func (db *DB) Directory() account.Directory { return directory{db} }

// Tokens returns sessions and signing keys.
func (db *DB) Tokens() token.Store { return tokens{db} }

// Sweeps returns what the sweep asks.
func (db *DB) Sweeps() gc.Catalog { return sweeps{db} }

// write runs fn as one transaction. fn may run more than once, on another
// goroutine, and must not use the DB itself.
func (db *DB) write(ctx context.Context, d durability, fn func(context.Context, *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.engine.write(ctx, d, fn)
}

// now returns the present time as it is stored.
func (db *DB) now() int64 { return micros(db.opts.Now()) }

// stale returns the time before which a lease is written again.
func (db *DB) stale() int64 { return micros(db.opts.Now().Add(-db.opts.Grace / 4)) }

// micros returns t as it is stored: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the reverse of micros.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
