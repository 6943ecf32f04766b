package account

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// flushEvery is how often last uses are written down.
const flushEvery = time.Minute

// lastUse gathers when keys were used and writes that in one transaction a
// minute, so that a use costs no write of its own.
type lastUse struct {
	write func(context.Context, map[string]time.Time) error
	log   *slog.Logger

	mu      sync.Mutex
	pending map[string]time.Time

	stop    chan struct{}
	stopped chan error
	once    sync.Once
}

func newLastUse(write func(context.Context, map[string]time.Time) error, log *slog.Logger) *lastUse {
	u := &lastUse{
		write: write, log: log,
		pending: make(map[string]time.Time),
		stop:    make(chan struct{}), stopped: make(chan error, 1),
	}
	go u.run()
	return u
}

// touch records that id was used at t.
func (u *lastUse) touch(id string, t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t.After(u.pending[id]) {
		u.pending[id] = t
	}
}

// at returns the last use of id that is not yet written, or zero.
func (u *lastUse) at(id string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pending[id]
}

func (u *lastUse) run() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := u.flush(context.Background()); err != nil {
				u.log.Error("last uses not written", "err", err)
			}
		case <-u.stop:
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			u.stopped <- u.flush(ctx)
			return
		}
	}
}

// flush writes what is pending. What could not be written stays pending.
func (u *lastUse) flush(ctx context.Context) error {
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

func (u *lastUse) close() (err error) {
	u.once.Do(func() {
		close(u.stop)
		err = <-u.stopped
	})
	return err
}
