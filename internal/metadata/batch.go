package metadata

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// maxBatch bounds how many transactions share one commit.
const maxBatch = 64

// errClosed says that the database was closed.
var errClosed = errors.New("the metadata database is closed")

// A batchWriter lets transactions that arrive together share one commit, and
// so one flush. There is no goroutine of its own: whoever finds nobody writing
// leads, runs what is queued, answers, and hands the lead to the next in the
// queue. A transaction that comes alone waits for nobody.
type batchWriter struct {
	db   *DB
	pool *sql.DB // of one connection
	conn *sql.Conn
	to   *prepared
	soft bool // the connection is set to commit without a flush
	lost bool // a transaction could not be rolled back: begin needs another connection

	mu     sync.Mutex
	idle   sync.Cond
	queue  []*job
	busy   bool // somebody leads
	closed bool
}

// A job is a transaction on its way.
type job struct {
	ctx      context.Context // the caller's, for the time until the job begins
	fn       func(context.Context, *tx) error
	level    durability
	taken    bool      // begun, or made leader; guarded by batchWriter.mu
	wake     chan bool // true: lead; false: done
	tx       *tx
	err      error
	panicked any
}

func newBatchWriter(db *DB, pool *sql.DB, conn *sql.Conn) *batchWriter {
	w := &batchWriter{db: db, pool: pool, conn: conn, to: &prepared{on: conn}}
	w.idle.L = &w.mu
	return w
}

// write queues fn and waits until it is committed. A caller that goes away
// takes its transaction along as long as that has not begun.
func (w *batchWriter) write(ctx context.Context, level durability, fn func(context.Context, *tx) error) error {
	j := &job{ctx: ctx, fn: fn, level: level, wake: make(chan bool, 1)}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, j)
	lead := !w.busy
	if lead {
		w.busy, j.taken = true, true
	}
	w.mu.Unlock()
	if !lead {
		var gone bool
		if lead, gone = w.await(j); gone {
			return ctx.Err()
		}
	}
	if lead {
		w.lead()
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// await waits until j leads or is done, or its caller has gone before it began.
func (w *batchWriter) await(j *job) (lead, gone bool) {
	select {
	case lead = <-j.wake:
		return lead, false
	case <-j.ctx.Done():
	}
	w.mu.Lock()
	if !j.taken {
		w.queue = slices.DeleteFunc(w.queue, func(q *job) bool { return q == j })
		w.mu.Unlock()
		return false, true
	}
	w.mu.Unlock()
	return <-j.wake, false
}

// lead runs one batch, the caller's job first, and passes the lead on.
func (w *batchWriter) lead() {
	w.mu.Lock()
	n := min(len(w.queue), maxBatch)
	batch := append([]*job(nil), w.queue[:n]...)
	w.queue = slices.Delete(w.queue, 0, n)
	for _, j := range batch {
		j.taken = true
	}
	w.mu.Unlock()

	w.run(batch)

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range batch[1:] {
		j.wake <- false
	}
	if len(w.queue) > 0 {
		w.queue[0].taken = true
		w.queue[0].wake <- true
		return
	}
	w.busy = false
	w.idle.Broadcast()
}

// stop refuses further transactions and waits for those that were accepted.
func (w *batchWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.busy {
		w.idle.Wait()
	}
}

// run commits batch. When the batch as a whole fails, say because one of its
// transactions filled the disk, each is run again alone.
func (w *batchWriter) run(batch []*job) {
	live := batch[:0:0]
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err == nil {
			live = append(live, j)
		}
	}
	if len(live) == 0 {
		return
	}
	err := w.commit(live)
	if err == nil {
		return
	}
	if len(live) == 1 {
		live[0].err = err
		return
	}
	for _, j := range live {
		j.err = nil
		if err := w.commit([]*job{j}); err != nil {
			j.err = err
		}
	}
}

// commit runs batch in one transaction. Its error is about the whole batch; a
// job's own is in the job.
func (w *batchWriter) commit(batch []*job) error {
	if err := w.begin(batch); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			w.rollback()
		}
	}()
	var good []*job
	for _, j := range batch {
		if err := w.step(j, len(batch) > 1); err != nil {
			return err
		}
		if j.err == nil && j.panicked == nil {
			good = append(good, j)
		}
	}
	if len(good) == 0 {
		return nil
	}
	unlock := w.db.cache.changing(good)
	defer unlock()
	if err := w.sql(`COMMIT`); err != nil {
		return err
	}
	done = true
	for _, j := range good {
		w.db.settle(j.tx)
	}
	return nil
}

// rollback ends a transaction that is not to be committed.
func (w *batchWriter) rollback() {
	err := w.sql(`ROLLBACK`)
	// Nothing is active when SQLite has rolled back by itself.
	if w.lost = err != nil && !strings.Contains(err.Error(), "no transaction is active"); w.lost {
		w.db.opts.Logger.Error("transaction not rolled back; the connection is replaced", "err", err)
	}
}

// replace gives up the connection, and with it the transaction that it may
// still be in, for a new one.
func (w *batchWriter) replace() error {
	w.to.close()
	// How database/sql is told to close a connection instead of keeping it.
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	conn, err := w.pool.Conn(context.Background())
	if err != nil {
		return err
	}
	w.conn, w.to, w.soft, w.lost = conn, &prepared{on: conn}, false, false
	return nil
}

// begin sets how the batch commits and begins it. The setting is sent as plain
// text each time, since SQLite obeys this pragma when it parses it.
func (w *batchWriter) begin(batch []*job) error {
	if w.lost {
		if err := w.replace(); err != nil {
			return classify(err)
		}
	}
	level := soft
	for _, j := range batch {
		level = min(level, j.level)
	}
	if wantSoft := level == soft; wantSoft != w.soft {
		text := `PRAGMA synchronous = FULL`
		if wantSoft {
			text = `PRAGMA synchronous = NORMAL`
		}
		if _, err := w.conn.ExecContext(context.Background(), text); err != nil {
			return classify(err)
		}
		w.soft = wantSoft
	}
	return w.sql(`BEGIN IMMEDIATE`)
}

// step runs one job, inside a savepoint when others share the transaction.
func (w *batchWriter) step(j *job, shared bool) error {
	if shared {
		if err := w.sql(`SAVEPOINT job`); err != nil {
			return err
		}
	}
	j.tx = &tx{db: w.db, to: w.to}
	j.call()
	if !shared {
		return nil
	}
	if j.err != nil || j.panicked != nil {
		// This fails when SQLite has rolled back the whole transaction.
		if err := w.sql(`ROLLBACK TO job`); err != nil {
			return fmt.Errorf("roll back one of a batch: %w", err)
		}
	}
	return w.sql(`RELEASE job`)
}

// call runs the function on the leader's goroutine; a panic is the caller's.
// A context that ended would make SQLite give up the whole batch.
func (j *job) call() {
	defer func() { j.panicked = recover() }()
	j.err = j.fn(context.WithoutCancel(j.ctx), j.tx)
}

func (w *batchWriter) sql(text string) error {
	_, err := w.to.ExecContext(context.Background(), text)
	return classify(err)
}
