package account

import (
	"context"
	"sync"
)

// flights lets those who ask the same at the same moment share one answer. The
// work ends when nobody waits for it any more.
type flights[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*flight[V]
}

type flight[V any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err are set
	value   V
	err     error
}

// do returns what fn, or that of another caller for the same key, returns.
// fn's context has the values of the first caller's.
func (f *flights[K, V]) do(ctx context.Context, key K, fn func(context.Context) (V, error)) (V, error) {
	f.mu.Lock()
	if f.running == nil {
		f.running = make(map[K]*flight[V])
	}
	this, ok := f.running[key]
	if !ok {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		this = &flight[V]{cancel: cancel, done: make(chan struct{})}
		f.running[key] = this
		go func() {
			defer cancel()
			this.value, this.err = fn(shared)
			f.mu.Lock()
			f.forget(key, this)
			f.mu.Unlock()
			close(this.done)
		}()
	}
	this.waiting++
	f.mu.Unlock()
	select {
	case <-this.done:
		return this.value, this.err
	case <-ctx.Done():
		f.leave(key, this)
		var none V
		return none, ctx.Err()
	}
}

// leave is a caller that does not wait any more. The last one ends the work, and
// who comes later begins anew.
func (f *flights[K, V]) leave(key K, this *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if this.waiting--; this.waiting == 0 {
		f.forget(key, this)
		this.cancel()
	}
}

func (f *flights[K, V]) forget(key K, this *flight[V]) {
	if f.running[key] == this {
		delete(f.running, key)
	}
}
