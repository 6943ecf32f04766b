package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/blob"
)

// DefaultGrace is how long what nothing refers to is kept. It is longer than an
// upload session lives and than any request takes.
const DefaultGrace = 24 * time.Hour

// Limits of one sweep.
const (
	batch     = 200                  // rows or blobs between two pauses
	linkBatch = 10_000               // links between two pauses: finding them is the work
	pause     = 5 * time.Millisecond // lets pushes go first

	// A sweep that would remove more than maxFree blobs and more than one in
	// maxShare of all is refused: more likely the facts are wrong than the
	// blobs unused.
	maxFree  = 1000
	maxShare = 10
)

// The reasons for not sweeping.
var (
	// ErrRunning says that this process is sweeping already.
	ErrRunning = errors.New("a sweep is running already")
	// ErrSuspicious says that a sweep would remove so much that it removed
	// nothing. The error around it gives the figures and the cure.
	ErrSuspicious = errors.New("sweep refused")
)

// Options adjust New. The zero value works.
type Options struct {
	// Grace is how long what nothing refers to is kept. It must be the one that
	// the catalog renews leases by. 0 means DefaultGrace.
	Grace  time.Duration
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// A Sweeper sweeps one catalog and its blobs. Safe for concurrent use, also
// beside sweepers of other processes on the same database: what is removed is
// decided anew in each removing transaction.
type Sweeper struct {
	catalog Catalog
	blobs   blob.Store
	grace   time.Duration
	now     func() time.Time
	log     *slog.Logger

	running sync.Mutex // held by the one sweep or dry run
}

// New returns a Sweeper of what c remembers and b keeps. It does nothing by
// itself.
func New(c Catalog, b blob.Store, o Options) *Sweeper {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sweeper{catalog: c, blobs: b, grace: o.Grace, now: o.Now, log: o.Logger}
}

// A Status says what the sweeper of this process is doing and what the newest
// finished sweep of any process did.
type Status struct {
	Running bool    // a sweep or a dry run
	Last    *Report // nil when there was none; never a dry run
}

// Status returns the present status.
func (s *Sweeper) Status(ctx context.Context) (Status, error) {
	running := !s.running.TryLock()
	if !running {
		s.running.Unlock()
	}
	last, found, err := s.catalog.LastSweep(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("read last sweep: %w", err)
	}
	if !found {
		return Status{Running: running}, nil
	}
	return Status{Running: running, Last: &last}, nil
}

// DryRun returns what Sweep would do now and changes nothing.
// Errors: as Sweep.
func (s *Sweeper) DryRun(ctx context.Context) (Report, error) {
	if !s.running.TryLock() {
		return Report{}, ErrRunning
	}
	defer s.running.Unlock()
	r := Report{Started: s.now(), DryRun: true}
	p, err := s.plan(ctx, r.Started)
	if err == nil {
		err = p.large()
	}
	return s.finish(p.report(r), err)
}

// Sweep removes what nothing refers to and no lease protects. Any error ends
// it, and nothing more is removed; the report says how far it came and is
// recorded. Cancelling ctx ends it cleanly between two removals.
// Errors: ErrRunning, ErrSuspicious, and whatever the stores answer.
func (s *Sweeper) Sweep(ctx context.Context) (Report, error) { return s.sweep(ctx, plan.large) }

// SweepLarge is Sweep for an operator who knows that much was deleted: whatever
// share of the known blobs is unused, it goes.
func (s *Sweeper) SweepLarge(ctx context.Context) (Report, error) {
	return s.sweep(ctx, func(plan) error { return nil })
}

func (s *Sweeper) sweep(ctx context.Context, check func(plan) error) (Report, error) {
	if !s.running.TryLock() {
		return Report{}, ErrRunning
	}
	defer s.running.Unlock()
	r := Report{Started: s.now()}
	p, err := s.plan(ctx, r.Started)
	if err == nil {
		err = check(p)
	}
	if err == nil && !p.empty() {
		err = s.remove(ctx, p, &r)
	}
	r, err = s.finish(r, err)
	// A sweep that was cancelled is recorded too.
	if saved := s.catalog.SaveSweep(context.WithoutCancel(ctx), r); saved != nil {
		err = errors.Join(err, fmt.Errorf("record sweep: %w", saved))
	}
	if err == nil { // the caller tells of an error
		s.log.InfoContext(ctx, "sweep finished", "uploads", r.Uploads, "links", r.Links,
			"blobs", r.Blobs, "bytes", r.Bytes, "took", r.Finished.Sub(r.Started))
	}
	return r, err
}

func (s *Sweeper) finish(r Report, err error) (Report, error) {
	r.Finished = s.now()
	if err != nil {
		r.Err = err.Error()
	}
	return r, err
}

// rest pauses between two batches, so that pushes are not starved.
func rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}
