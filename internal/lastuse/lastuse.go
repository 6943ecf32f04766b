// Package lastuse owns when and from where credentials were last used, until that
// is written down: one transaction a minute, so that a use costs no write of its
// own.
package lastuse

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// writeEvery is how often last uses are written down.
const writeEvery = time.Minute

// A Use is when, from where and with what a credential was used. The zero Time
// is never.
type Use struct {
	Time    time.Time
	Address string // of the client, or "" where it is not known
	Agent   string // what the client calls itself: printable ASCII, cut
}

// From returns a use at now from an address, which may be invalid, by a client of
// that name.
func From(now time.Time, address netip.Addr, agent string) Use {
	u := Use{Time: now, Agent: agent}
	if address.IsValid() {
		u.Address = address.String()
	}
	return u
}

// A WriteFunc records last uses by id, in one transaction; older ones than are
// known it ignores.
type WriteFunc func(ctx context.Context, used map[string]Use) error

// A Log gathers last uses. It is safe for concurrent use; Close it to write the
// rest.
type Log struct {
	write WriteFunc
	log   *slog.Logger

	mu      sync.Mutex
	pending map[string]Use

	stop    chan struct{}
	stopped chan error
	once    sync.Once
}

// New returns a Log that calls write, and tells log when that fails.
func New(write WriteFunc, log *slog.Logger) *Log {
	u := &Log{
		write: write, log: log,
		pending: make(map[string]Use),
		stop:    make(chan struct{}), stopped: make(chan error, 1),
	}
	go u.run()
	return u
}

// Touch records a use of id.
func (u *Log) Touch(id string, use Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if use.Time.After(u.pending[id].Time) {
		u.pending[id] = use
	}
}

// Latest returns the later of a use that was written and one that is not yet.
func (u *Log) Latest(id string, written Use) Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	if use := u.pending[id]; use.Time.After(written.Time) {
		return use
	}
	return written
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
	for id, use := range batch {
		if u.pending[id].Time.Equal(use.Time) {
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
