package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// channel is where PostgreSQL announces that the generation has moved.
	channel = "sallyport_generation"
	// pollEvery bounds the time between looks when nothing is announced, or the
	// announcement is lost: a pooler may not pass it on.
	pollEvery = 250 * time.Millisecond
	// lookTimeout ends a look, or an attempt to connect, that hangs.
	lookTimeout = time.Second
	// retryAfter is the time between attempts to connect.
	retryAfter = 100 * time.Millisecond

	// A standby may be behind, and does not hear announcements: it decides nothing.
	askGeneration = `SELECT value FROM generation WHERE id = 1 AND NOT pg_is_in_recovery()`
)

// A watch keeps the generation current on PostgreSQL. It has a connection of
// its own, so that a pool whose connections are all busy does not hold it up.
// Its queries are not counted: they are not those of a request.
type watch struct {
	db     *DB
	config *pgx.ConnConfig
	cancel context.CancelFunc
	done   chan struct{}
}

// startWatch returns when the generation is known.
func startWatch(ctx context.Context, db *DB, config *pgx.ConnConfig) (*watch, error) {
	config = config.Copy()
	config.RuntimeParams["application_name"] += " watch"
	w := &watch{db: db, config: config, done: make(chan struct{})}
	conn, err := w.connect(ctx)
	if err != nil {
		return nil, classify(err)
	}
	ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go w.run(ctx, conn)
	return w, nil
}

func (w *watch) stop() {
	w.cancel()
	<-w.done
}

// run follows one connection after the other until the watch is stopped.
func (w *watch) run(ctx context.Context, conn *pgx.Conn) {
	defer close(w.done)
	for {
		err := w.follow(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		w.db.opts.Logger.WarnContext(ctx, "lost sight of changes made by other processes; connecting again", "err", err)
		if conn = w.reconnect(ctx); conn == nil {
			return
		}
		w.db.opts.Logger.InfoContext(ctx, "changes made by other processes are seen again")
	}
}

// follow looks whenever a change is announced, and at least every pollEvery,
// until the connection fails, which it then closes.
func (w *watch) follow(ctx context.Context, conn *pgx.Conn) error {
	defer hangUp(conn)
	for {
		quiet, cancel := context.WithTimeout(ctx, pollEvery)
		_, err := conn.WaitForNotification(quiet)
		announced, waited := err == nil, quiet.Err() != nil
		cancel()
		if !announced && !waited {
			return err
		}
		if err := w.look(ctx, conn); err != nil {
			return err
		}
	}
}

// reconnect returns nil when the watch is stopped.
func (w *watch) reconnect(ctx context.Context) *pgx.Conn {
	for {
		conn, err := w.connect(ctx)
		if err == nil {
			return conn
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

// connect returns a connection that has looked once, and that announcements
// come to if the server, or what is before it, lets them.
func (w *watch) connect(ctx context.Context) (*pgx.Conn, error) {
	short, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(short, w.config)
	if err != nil {
		w.db.gen.failure.Store(&err)
		return nil, err
	}
	// First listen, then look: what changes in between is announced.
	if _, err := conn.Exec(short, `LISTEN `+channel); err != nil && !conn.IsClosed() {
		w.db.opts.Logger.WarnContext(ctx, "the database server does not announce changes; asking it four times a second", "err", err)
	}
	if err := w.look(ctx, conn); err != nil {
		hangUp(conn)
		return nil, err
	}
	return conn, nil
}

func (w *watch) look(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return w.db.gen.look(func() (value int64, err error) {
		err = conn.QueryRow(ctx, askGeneration).Scan(&value)
		if err != nil {
			err = fmt.Errorf("read generation: %w", err)
		}
		return value, err
	})
}

// hangUp closes conn, which a server that hangs must not delay.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	conn.Close(ctx)
}
