// Package lastuse owns when credentials were last used, until that is written
// down: one transaction a minute, so that a use costs no write of its own.
package lastuse

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// writeEvery is how often last uses are written down.
const writeEvery = time.Minute

// A WriteFunc records last uses by id, in one transaction; older ones than are
// known it ignores.
type WriteFunc func(ctx context.Context, used map[string]time.Time) error

// A Log gathers last uses. It is safe for concurrent use; Close it to write the
// rest.
type Log struct {
	write WriteFunc
	log   *slog.Logger

	mu      sync.Mutex
	pending map[string]time.Time

	stop    chan struct{}
	stopped chan error
	once    sync.Once
}

// New returns a Log that calls write, and tells log when that fails.
func New(write WriteFunc, log *slog.Logger) *Log {
	u := &Log{
		write: write, log: log,
		pending: make(map[string]time.Time),
		stop:    make(chan struct{}), stopped: make(chan error, 1),
	}
	go u.run()
	return u
}

// Touch records that id was used at t.
func (u *Log) Touch(id string, t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t.After(u.pending[id]) {
		u.pending[id] = t
	}
}

// At returns the last use of id that is not yet written, or zero.
func (u *Log) At(id string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pending[id]
}

func (u *Log) run() {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := u.Flush(context.Background()); err != nil {
				u.log.Error("last uses not written", "err", err)
			}
		case <-u.stop:
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			u.stopped <- u.Flush(ctx)
			return
		}
	}
}

// Flush writes what is pending. What could not be written stays pending.
func (u *Log) Flush(ctx context.Context) error {
	u.mu.Lock()
	batch := maps.Clone(u.pending)
	u.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := u.write(ctx, batch); err != nil {
		return fmt.Errorf("write %d last uses: %w", len(batch), err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, t := range batch {
		if u.pending[id].Equal(t) {
			delete(u.pending, id)
		}
	}
	return nil
}

// Close writes what is pending and ends the writing; twice is not an error.
func (u *Log) Close() (err error) {
	u.once.Do(func() {
		close(u.stop)
		err = <-u.stopped
	})
	return err
}
