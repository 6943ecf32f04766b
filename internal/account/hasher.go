package account

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	maxWaiting = 64   // checks that wait for their turn to hash
	maxInside  = 1024 // checks that wait, hash, or sit out the failure floor
)

// A hasher computes one password hash at a time, so that a flood of guesses
// takes at most one core, and makes every failure last equally long.
type hasher struct {
	floor   time.Duration
	turn    chan struct{} // holds one token while somebody hashes
	waiting atomic.Int64
	inside  atomic.Int64
	count   atomic.Int64
}

func newHasher(floor time.Duration) *hasher {
	return &hasher{floor: floor, turn: make(chan struct{}, 1)}
}

// run calls hash when its turn comes. Errors: access.ErrBusy when too many
// wait already; the context's.
func (h *hasher) run(ctx context.Context, hash func()) error {
	if h.waiting.Add(1) > maxWaiting {
		h.waiting.Add(-1)
		return access.ErrBusy
	}
	select {
	case h.turn <- struct{}{}:
		h.waiting.Add(-1)
	case <-ctx.Done():
		h.waiting.Add(-1)
		return ctx.Err()
	}
	defer func() { <-h.turn }()
	hash()
	return nil
}

// prove calls check when its turn comes and reports its result. A negative one
// is reported no sooner than the floor after the turn came, whatever was
// checked and however long it took; meanwhile others have their turn.
func (h *hasher) prove(ctx context.Context, check func() bool) (bool, error) {
	if h.inside.Add(1) > maxInside {
		h.inside.Add(-1)
		return false, access.ErrBusy
	}
	defer h.inside.Add(-1)
	var began time.Time
	var ok bool
	err := h.run(ctx, func() {
		began = time.Now()
		ok = check()
	})
	if err != nil || ok {
		return ok, err
	}
	rest := time.NewTimer(h.floor - time.Since(began))
	defer rest.Stop()
	select {
	case <-rest.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
