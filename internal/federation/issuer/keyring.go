package issuer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// When the keys of an issuer are fetched.
const (
	fetchEvery = time.Minute      // at most, whatever tokens come (F-05)
	renewAfter = 15 * time.Minute // so that a key the issuer took back ends
	maxBackOff = 10 * time.Minute
	maxStale   = 24 * time.Hour // last good keys of an issuer that is down (F-08)
	maxFetch   = 10 * time.Second
	maxWait    = 5 * time.Second
	maxWaiting = 64 // requests for one issuer
)

var errUnknownKey = refuse("see that the token is of this issuer, and that sallyport issuer check finds its keys", "it is signed with a key that the issuer does not show")

// A keyring keeps the keys of one issuer. Nobody waits for another issuer's.
type keyring struct {
	fetch func(ctx context.Context) (document []byte, err error)
	read  func(document []byte) (*keySet, []string, error)
	run   func(func(ctx context.Context)) bool // in the background; false: no more
	now   func() time.Time

	mu       sync.Mutex
	set      *keySet // last good one
	fetched  time.Time
	next     time.Time     // when it may be fetched again
	failures int           // in a row
	problem  error         // of the last fetch
	flight   chan struct{} // closed when the fetch ends; nil: there is none
	waiting  int
}

// stands reports whether what was verified with set needs no second look: a key
// that the issuer took back does not count for long.
func (k *keyring) stands(set *keySet) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.usable() == set && k.young()
}

func (k *keyring) young() bool { return k.now().Sub(k.fetched) <= renewAfter }

func (k *keyring) usable() *keySet {
	if k.set == nil || k.now().Sub(k.fetched) > maxStale {
		return nil
	}
	return k.set
}

// find returns the keys that have the key of a token. It waits for a fetch if
// they are not here or are old, and that not for ever: while the issuer cannot be
// asked, old ones count. Errors: a refusal; access.ErrBusy.
func (k *keyring) find(ctx context.Context, h header) (*keySet, error) {
	k.mu.Lock()
	set := k.usable()
	_, known := set.find(h)
	if known && k.young() {
		k.mu.Unlock()
		return set, nil
	}
	flight := k.start()
	full := k.waiting >= maxWaiting
	switch {
	case (flight == nil || full) && known:
		k.mu.Unlock()
		return set, nil
	case flight == nil, full:
		// Where there are keys, whoever comes with one that is not among them is
		// refused like with a token of nobody's: the answer does not tell who is
		// trusted, and no stranger makes this registry busy for others.
		err := k.missing(set)
		k.mu.Unlock()
		return nil, err
	}
	k.waiting++
	k.mu.Unlock()
	wait(ctx, flight)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting--
	if set := k.usable(); set != nil {
		if _, ok := set.find(h); ok {
			return set, nil
		}
	}
	return nil, k.missing(k.usable())
}

// missing says why a key is not here.
func (k *keyring) missing(set *keySet) error {
	if set == nil {
		if k.problem != nil {
			return fmt.Errorf("%w: the issuer's keys are not known: %w", access.ErrBusy, k.problem)
		}
		return fmt.Errorf("%w: the issuer's keys are not known yet", access.ErrBusy)
	}
	return errUnknownKey
}

func wait(ctx context.Context, done <-chan struct{}) {
	t := time.NewTimer(maxWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// start begins a fetch if it may, and returns the end of the one under way, nil
// if there is none.
func (k *keyring) start() chan struct{} {
	if k.flight != nil || k.now().Before(k.next) {
		return k.flight
	}
	done := make(chan struct{})
	k.flight, k.next = done, k.now().Add(fetchEvery)
	if !k.run(func(ctx context.Context) { k.renew(ctx, done) }) {
		k.flight = nil
	}
	return k.flight
}

// renew fetches the keys, and keeps the last good ones if that fails.
func (k *keyring) renew(ctx context.Context, done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(ctx, maxFetch)
	defer cancel()
	document, err := k.fetch(ctx)
	var set *keySet
	if err == nil {
		set, _, err = k.read(document)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flight, k.problem = nil, err
	if err != nil {
		k.failures++
		k.next = k.now().Add(min(fetchEvery<<min(k.failures-1, 8), maxBackOff))
		return
	}
	k.failures, k.fetched = 0, k.now()
	if k.set == nil || k.set.sum != set.sum { // else what it verified stays so
		k.set = set
	}
}

var errClosed = errors.New("the server ends")
