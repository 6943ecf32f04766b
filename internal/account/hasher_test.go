package account

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Who is known hashes before strangers who came earlier.
func TestLanes(t *testing.T) {
	h := newHasher(0)
	if err := h.await(t.Context(), behind); err != nil {
		t.Fatal(err)
	}
	waiting := func(want int) {
		t.Helper()
		for n := -1; n != want; time.Sleep(time.Millisecond) {
			h.mu.Lock()
			n = len(h.queue[ahead]) + len(h.queue[behind])
			h.mu.Unlock()
		}
	}
	order := make(chan lane, 4)
	for i, l := range []lane{behind, behind, ahead, ahead} {
		go h.run(t.Context(), l, func() { order <- l })
		waiting(i + 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { gone <- h.run(ctx, ahead, func() { order <- ahead }) }()
	waiting(5)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("who does not wait got %v", err)
	}
	h.pass()
	for i, want := range []lane{ahead, ahead, behind, behind} {
		if got := <-order; got != want {
			t.Errorf("turn %d went to lane %d", i, got)
		}
	}
	if err := h.await(t.Context(), behind); err != nil { // the turn is free again
		t.Fatal(err)
	}
}

func TestDelays(t *testing.T) {
	l := limit{free: 2, first: 2 * time.Second, most: 15 * time.Second, forget: time.Minute}
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	var s strikes
	for i, want := range []time.Duration{0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second} {
		s = l.struck(l.forgotten(s, now), now)
		if got := max(s.until.Sub(now), 0); got != want {
			t.Errorf("after attempt %d: wait %s, want %s", i+1, got, want)
		}
	}
	if s = l.pardoned(s); s.count != 5 || s.until.IsZero() {
		t.Errorf("one is taken back of an attack: %+v", s)
	}
	if s = l.forgotten(s, now.Add(4*time.Minute)); s.count != 1 {
		t.Errorf("after four minutes: %+v", s)
	}
	if s = l.pardoned(s); s.count != 0 || !s.until.IsZero() {
		t.Errorf("the last one is taken back: %+v", s)
	}
}
