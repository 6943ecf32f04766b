package metadata

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

const (
	// changesBound is how long ago the look may have begun that a generation
	// given out was read by. It is what operators are promised.
	changesBound = time.Second
	// patience is how long a request waits for the next look when the last one
	// is too old: a server that is restarted costs time before it costs errors.
	patience = 5 * time.Second
)

// A generation is the number in the database as this process knows it.
type generation struct {
	value  atomic.Int64
	pinned bool // nobody else writes the database
	// looked is when the newest look that succeeded began, in real time,
	// whatever Options.Now says; nil before the first.
	looked  atomic.Pointer[time.Time]
	next    atomic.Pointer[chan struct{}] // closed by the next look
	failure atomic.Pointer[error]         // why the last look failed, if it did
}

// pin reads the value once; from then on only publish moves it.
func (g *generation) pin(ctx context.Context, t *tx) error {
	g.pinned = true
	var value int64
	if err := t.row(ctx, `SELECT value FROM generation WHERE id = 1`, nil, &value); err != nil {
		return err
	}
	g.publish(value)
	return nil
}

// publish makes known what a transaction of this process has committed. It
// never goes back: transactions may come here in another order than they were
// committed.
func (g *generation) publish(value int64) {
	for {
		old := g.value.Load()
		if value <= old || g.value.CompareAndSwap(old, value) {
			return
		}
	}
}

// look takes over what ask reads from the database. One look runs at a time.
func (g *generation) look(ask func() (int64, error)) error {
	begun, before := time.Now(), g.value.Load()
	value, err := ask()
	if err != nil {
		g.failure.Store(&err)
		return err
	}
	if value < before {
		// The server was replaced by one that had not received everything. What
		// was published meanwhile is newer than this answer.
		g.value.CompareAndSwap(before, value)
	} else {
		g.publish(value)
	}
	g.looked.Store(&begun)
	g.failure.Store(nil)
	wait := make(chan struct{})
	if old := g.next.Swap(&wait); old != nil {
		close(*old)
	}
	return nil
}

// current returns the value if it is young enough to decide by.
func (g *generation) current() (int64, bool) {
	// The value comes second: it is then at least as new as the time says.
	at := g.looked.Load()
	value := g.value.Load()
	return value, g.pinned || at != nil && time.Since(*at) < changesBound
}

// Generation implements access.Changes. It asks nobody: on PostgreSQL a watch
// keeps the value current. When that could not look for longer than a second
// the caller waits for the next look, and after some more is refused.
func (db *DB) Generation(ctx context.Context) (int64, error) {
	g := &db.gen
	if value, ok := g.current(); ok {
		return value, nil
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		next := g.next.Load()
		if value, ok := g.current(); ok {
			return value, nil
		}
		select {
		case <-*next:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-deadline.C:
			return 0, g.unknown()
		}
	}
}

// unknown is the error when no look succeeds.
func (g *generation) unknown() error {
	err := oci.Errorf(oci.Unavailable, "the registry's database does not answer; try again")
	if cause := g.failure.Load(); cause != nil {
		return fmt.Errorf("%w: %w", err, *cause)
	}
	return err
}
