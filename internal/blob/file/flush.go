package file

import "sync"

// A flusher shares flushes of directories. A flush makes durable every rename
// that happened before it began, so all who wait while one is running need only
// one more between them.
type flusher struct {
	sync func(dir string) error

	mu   sync.Mutex
	dirs map[string]*flushes
}

// flushes of one directory.
type flushes struct {
	running *flush // begun: too late to join
	next    *flush // not begun: whoever comes joins
}

// A flush is led by the caller that made it; the others wait for done.
type flush struct {
	done chan struct{}
	err  error // set before done is closed
}

func newFlusher(sync func(dir string) error) *flusher {
	return &flusher{sync: sync, dirs: map[string]*flushes{}}
}

// flush returns once dir has been flushed by a flush that began after the call.
// Safe for concurrent use. It cannot be cancelled: its callers have renamed
// already.
func (f *flusher) flush(dir string) error {
	f.mu.Lock()
	d := f.dirs[dir]
	if d == nil {
		d = &flushes{}
		f.dirs[dir] = d
	}
	if mine := d.next; mine != nil {
		f.mu.Unlock()
		<-mine.done
		return mine.err
	}
	mine := &flush{done: make(chan struct{})}
	d.next = mine
	if before := d.running; before != nil {
		f.mu.Unlock()
		<-before.done
		f.mu.Lock()
	}
	d.running, d.next = mine, nil
	f.mu.Unlock()

	mine.err = f.sync(dir)

	f.mu.Lock()
	if d.running = nil; d.next == nil {
		delete(f.dirs, dir)
	}
	f.mu.Unlock()
	close(mine.done)
	return mine.err
}
