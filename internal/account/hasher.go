package account

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	maxWaiting = 64   // checks of one lane that wait for their turn to hash
	maxInside  = 1024 // checks that wait, hash, or sit out the failure floor
	maxRefused = 1024 // refused checks that sit out the failure floor
)

// maxAhead is how many turns in a row lane ahead has while somebody waits behind:
// those who are known, and may come again and again, starve nobody.
const maxAhead = 3

// A lane is a queue for the turn to hash.
type lane int

const (
	ahead  lane = iota // first: who is proven, or comes from where the account came from before
	behind             // for strangers
	lanes
)

// A hasher computes one password hash at a time, so that a flood of guesses
// takes at most one core, and makes every failure last equally long.
type hasher struct {
	floor   time.Duration
	count   atomic.Int64
	inside  atomic.Int64
	refused atomic.Int64

	mu    sync.Mutex
	busy  bool // somebody hashes
	queue [lanes][]chan struct{}
	past  int // turns that lane ahead has had since somebody waits behind
}

func newHasher(floor time.Duration) *hasher { return &hasher{floor: floor} }

// run calls hash when its turn comes. Errors: access.ErrBusy when too many
// wait already; the context's.
func (h *hasher) run(ctx context.Context, l lane, hash func()) error {
	if err := h.await(ctx, l); err != nil {
		return err
	}
	defer h.pass()
	hash()
	return nil
}

// await returns when it is our turn. Errors: as run.
func (h *hasher) await(ctx context.Context, l lane) error {
	h.mu.Lock()
	if !h.busy {
		h.busy = true
		h.mu.Unlock()
		return nil
	}
	if len(h.queue[l]) >= maxWaiting {
		h.mu.Unlock()
		return access.ErrBusy
	}
	turn := make(chan struct{})
	h.queue[l] = append(h.queue[l], turn)
	h.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !h.leave(l, turn) {
		h.pass() // it was our turn at the same moment
	}
	return ctx.Err()
}

// leave takes turn out of its queue. It returns false when it has come already.
func (h *hasher) leave(l lane, turn chan struct{}) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.queue[l], turn)
	if i < 0 {
		return false
	}
	h.queue[l] = slices.Delete(h.queue[l], i, i+1)
	return true
}

// pass gives our turn to the one who waits longest in the lane that is next.
func (h *hasher) pass() {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, strangers := ahead, len(h.queue[behind])
	if strangers > 0 && (len(h.queue[ahead]) == 0 || h.past >= maxAhead) {
		l = behind
	}
	h.past++
	if l == behind || strangers == 0 {
		h.past = 0
	}
	if len(h.queue[l]) == 0 {
		h.busy = false
		return
	}
	close(h.queue[l][0])
	h.queue[l] = slices.Delete(h.queue[l], 0, 1)
}

// prove calls check when its turn comes and reports its result. A negative one
// is reported no sooner than the floor after the turn came, whatever was
// checked and however long it took, and spent before; meanwhile others have
// their turn.
func (h *hasher) prove(ctx context.Context, l lane, spent time.Duration, check func() bool) (bool, error) {
	if h.inside.Add(1) > maxInside {
		h.inside.Add(-1)
		return false, access.ErrBusy
	}
	defer h.inside.Add(-1)
	var began time.Time
	var ok bool
	err := h.run(ctx, l, func() {
		began = time.Now().Add(-spent)
		ok = check()
	})
	if err != nil || ok {
		return ok, err
	}
	return false, pause(ctx, h.floor-time.Since(began))
}

// refuse returns err after the floor: as late as a check would have failed, and
// so that a client that goes on asking costs little. Under a flood from very
// many at once it returns at once.
func (h *hasher) refuse(ctx context.Context, err error) error {
	defer h.refused.Add(-1)
	if h.refused.Add(1) > maxRefused {
		return err
	}
	if gone := pause(ctx, h.floor); gone != nil {
		return gone
	}
	return err
}

// pause waits for d. Errors: the context's.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
