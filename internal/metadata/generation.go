package metadata

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// generationAge is how old the known generation may be before it is asked
// again.
const generationAge = 500 * time.Millisecond

// A generation is the number in the database as this process knows it.
type generation struct {
	value  atomic.Int64
	asked  atomic.Pointer[time.Time] // when the value was last asked for; nil at first
	pinned bool                      // nobody else writes the database
	flight singleflight.Group
}

// pin reads the value once; from then on only publish moves it.
func (g *generation) pin(ctx context.Context, t *tx) error {
	g.pinned = true
	return g.read(ctx, t)
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

func (g *generation) read(ctx context.Context, t *tx) error {
	var value int64
	before := g.value.Load()
	if err := t.row(ctx, `SELECT value FROM generation WHERE id = 1`, nil, &value); err != nil {
		return err
	}
	if value < before {
		// The server was replaced by one that had not received everything. What
		// was published meanwhile is newer than this answer.
		g.value.CompareAndSwap(before, value)
		return nil
	}
	g.publish(value)
	return nil
}

// Generation implements access.Changes. A value older than half a second is
// asked for again, once for all who want it.
func (db *DB) Generation(ctx context.Context) (int64, error) {
	g := &db.gen
	if g.pinned {
		return g.value.Load(), nil
	}
	// Real time, whatever Options.Now says: it bounds the age of an answer.
	if at := g.asked.Load(); at != nil && time.Since(*at) < generationAge {
		return g.value.Load(), nil
	}
	answer := g.flight.DoChan("", func() (any, error) {
		begun := time.Now()
		// Those who wait must not lose it with the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := g.read(ctx, db.reads); err != nil {
			return nil, err
		}
		g.asked.Store(&begun)
		return nil, nil
	})
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case r := <-answer:
		return g.value.Load(), wrap(r.Err, "read generation")
	}
}
