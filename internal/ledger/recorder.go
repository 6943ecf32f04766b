package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// defaultQueue is how many events may wait to be written.
	defaultQueue = 16 << 10
	// maxBatch bounds the events of one transaction.
	maxBatch = 2048
	// defaultEvery is how long an event waits for others to share its transaction.
	defaultEvery = 100 * time.Millisecond
	// patience is how long a request waits for room in the queue.
	patience = 5 * time.Second
	// retryEvery is the time between attempts to write while that fails.
	retryEvery = 500 * time.Millisecond
)

// ErrFull is an event that could not be taken: too many wait to be written.
// The door refuses the request.
var ErrFull = errors.New("the audit record cannot keep up")

// A Store keeps events.
type Store interface {
	// Append writes events in one transaction, in this order.
	Append(ctx context.Context, events []Event) error
}

// RecorderOptions adjust NewRecorder. The zero value works.
type RecorderOptions struct {
	Queue int           // events that may wait; 0 is 16,384
	Every time.Duration // how long one waits for others; 0 is 100 ms
	// CountEvery is the time between events that tell how many others were
	// counted; 0 is 10 s.
	CountEvery time.Duration
	Now        func() time.Time // nil is time.Now
	Logger     *slog.Logger     // nil discards
}

// A Recorder takes events that happened beside any change: logins, pulls,
// refusals. They are written soon after, many at once; a process that is killed
// loses those of the last moments. Those of clients that have proved nothing are
// counted where they are many, see tally. Safe for concurrent use; Close it to
// write the rest.
type Recorder struct {
	store Store
	o     RecorderOptions

	mu      sync.Mutex
	tally   *tally
	queue   []Event
	writing int           // events taken from the queue and not yet written
	room    chan struct{} // closed when room is made
	failing bool
	closed  bool

	wake    chan struct{}
	full    chan struct{} // a batch is there: do not wait for more
	stop    chan struct{}
	stopped chan struct{}
	flush   sync.Mutex // one transaction at a time
}

// NewRecorder returns a recorder that writes to store.
func NewRecorder(store Store, o RecorderOptions) *Recorder {
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.CountEvery == 0 {
		o.CountEvery = defaultCountEvery
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{store: store, o: o, tally: newTally(o.Now()), room: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	go r.run()
	return r
}

// Record takes e. When too many events wait it waits too, for some seconds at
// most; an event of a client that has proved nothing never waits. Errors:
// ErrFull, and that of ctx.
func (r *Recorder) Record(ctx context.Context, e Event) error {
	if e.Time.IsZero() {
		e.Time = r.o.Now()
	}
	var end <-chan time.Time
	for {
		room, err := r.put(e)
		if err != nil || room == nil {
			return err
		}
		if end == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			end = timer.C
		}
		select {
		case <-room:
		case <-end:
			return ErrFull
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// put queues e, or returns what to wait for.
func (r *Recorder) put(e Event) (room <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("%w: it is closed", ErrFull)
	}
	// Half of the queue is for those who have proved something.
	waiting := len(r.queue) + r.writing
	if e.Unproven() && (waiting >= r.o.Queue/2 || !r.tally.admit(&e, r.o.Now())) {
		r.tally.count(e)
		return nil, nil
	}
	if waiting >= r.o.Queue {
		return r.room, nil
	}
	r.queue = append(r.queue, e)
	switch len(r.queue) {
	case 1:
		signal(r.wake)
	case maxBatch:
		signal(r.full)
	}
	return nil, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Flush writes what waits. After nil, all that was recorded before the call
// can be read, but for what was counted: that follows in time.
func (r *Recorder) Flush(ctx context.Context) error {
	r.flush.Lock()
	defer r.flush.Unlock()
	for {
		batch := r.take()
		if len(batch) == 0 {
			return nil
		}
		err := r.store.Append(ctx, batch)
		r.settle(batch, err)
		if err != nil {
			return fmt.Errorf("write audit events: %w", err)
		}
	}
}

func (r *Recorder) take() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), maxBatch)
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	r.writing = n
	return batch
}

// settle makes room, or puts batch back to where it was.
func (r *Recorder) settle(batch []Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing = 0
	if err != nil {
		r.queue = append(batch, r.queue...)
		if !r.failing {
			r.o.Logger.Error("audit events cannot be written; requests are refused once too many wait", "waiting", len(r.queue), "err", err)
		}
		r.failing = true
		return
	}
	if r.failing {
		r.o.Logger.Info("audit events are written again")
		r.failing = false
	}
	close(r.room)
	r.room = make(chan struct{})
}

// tell queues what was counted. When there is no room, more is counted.
func (r *Recorder) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue)+r.writing+len(r.tally.counts) <= r.o.Queue {
		r.queue = append(r.queue, r.tally.take(r.o.Now())...)
	}
	if len(r.queue) > 0 {
		signal(r.wake)
	}
}

func (r *Recorder) run() {
	defer close(r.stopped)
	counts := time.NewTicker(r.o.CountEvery)
	defer counts.Stop()
	wait := r.o.Every
	for {
		select {
		case <-r.stop:
			return
		case <-counts.C:
			r.tell()
			continue
		case <-r.wake:
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.full:
		case <-r.stop:
			timer.Stop()
			return
		}
		timer.Stop()
		wait = r.o.Every
		if r.Flush(context.Background()) != nil {
			wait = retryEvery
			signal(r.wake)
		}
	}
}

// Close takes no more events and writes those that wait.
func (r *Recorder) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	<-r.stopped
	r.mu.Lock()
	r.queue = append(r.queue, r.tally.take(r.o.Now())...)
	r.mu.Unlock()
	return r.Flush(context.Background())
}
