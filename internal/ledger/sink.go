package ledger

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// sinkQueue is how many events may wait for a sink.
	sinkQueue = 16 << 10
	// sinkRetry is the time between attempts to write to a sink that fails.
	sinkRetry = time.Second
	// sinkLast is how long the end of the process waits for a sink.
	sinkLast = 2 * time.Second
	// sinkLeave is how long it waits for a write that closing should have ended.
	sinkLeave = 500 * time.Millisecond
)

// A Writer is where a Sink's events go.
type Writer interface {
	// WriteEvents writes events, in this order, and returns how many it has
	// written whole. It gives up within seconds.
	WriteEvents(events []Sealed) (int, error)
	io.Closer
}

// A Sink sends events that are in the database somewhere else as well, without
// ever holding them up: when too many wait, those that come are left out there,
// and the log says which. Safe for concurrent use.
type Sink struct {
	name string
	to   Writer
	log  *slog.Logger

	mu      sync.Mutex
	queue   []Sealed
	lost    int64 // since the last time that there was room
	first   int64 // the seq of the first of them
	failing bool

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// NewSink returns a sink that writes to w, and closes it in the end. The name
// is for the log.
func NewSink(name string, w Writer, log *slog.Logger) *Sink {
	s := &Sink{name: name, to: w, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	go s.run()
	return s
}

// Take takes events; it never waits.
func (s *Sink) Take(events []Sealed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := min(len(events), sinkQueue-len(s.queue))
	s.queue = append(s.queue, events[:room]...)
	if left := events[room:]; len(left) > 0 {
		if s.lost == 0 {
			s.first = left[0].Seq
			s.log.Error("an audit sink does not keep up: events are left out there; the database has them", "sink", s.name, "first", s.first)
		}
		s.lost += int64(len(left))
	}
	signal(s.wake)
}

// Close gives the sink a moment for what waits. A write that nothing ends is
// left behind: this is the end of the process.
func (s *Sink) Close() error {
	close(s.stop)
	select {
	case <-s.stopped:
		return s.to.Close()
	case <-time.After(sinkLast):
	}
	err := s.to.Close() // ends the write that hangs, where it can
	select {
	case <-s.stopped:
	case <-time.After(sinkLeave): // standard output is not ours to close
		s.log.Error("an audit sink hangs at the end: the last events may be missing there; the database has them", "sink", s.name)
	}
	return err
}

func (s *Sink) run() {
	defer close(s.stopped)
	for ending := false; ; {
		batch := s.take()
		if len(batch) == 0 {
			if ending {
				return
			}
			select {
			case <-s.wake:
			case <-s.stop:
				ending = true
			}
			continue
		}
		n, err := s.to.WriteEvents(batch)
		s.settle(batch[n:], err)
		if err == nil {
			continue
		}
		select {
		case <-s.stop:
			s.log.Error("audit events did not reach a sink before the end", "sink", s.name, "first", batch[n].Seq)
			return
		case <-time.After(sinkRetry):
		}
	}
}

func (s *Sink) take() []Sealed {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), 256)
	batch := s.queue[:n:n]
	s.queue = s.queue[n:]
	return batch
}

// settle puts back what was not written, and tells the log of changes.
func (s *Sink) settle(rest []Sealed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(rest, s.queue...)
	switch {
	case err != nil && !s.failing:
		s.log.Error("an audit sink fails; it is tried again", "sink", s.name, "err", err)
	case err == nil && s.failing:
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "an audit sink works again", slog.String("sink", s.name))
	}
	s.failing = err != nil
	if s.lost > 0 && len(s.queue) < sinkQueue/2 {
		s.log.Error("audit events are missing in a sink: read them from the database", "sink", s.name, "first", s.first, "events", s.lost)
		s.lost = 0
	}
}

// Lines writes events as lines to w, which it does not close.
type Lines struct{ W io.Writer }

// WriteEvents implements Writer.
func (l Lines) WriteEvents(events []Sealed) (int, error) {
	if _, err := l.W.Write(lines(events)); err != nil {
		return 0, fmt.Errorf("write audit events: %w", err)
	}
	return len(events), nil
}

// Close implements Writer.
func (Lines) Close() error { return nil }

func lines(events []Sealed) []byte {
	var out []byte
	for _, s := range events {
		out = append(append(out, s.Line()...), '\n')
	}
	return out
}
