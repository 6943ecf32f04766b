package account

import (
	"context"
	"errors"
	"math/rand/v2"
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
			n = h.waitingIn(ahead) + h.waitingIn(behind)
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

// Laws of the lanes, whoever comes when: nobody is lost; within a lane who came
// first is first; who is known goes first, but while a stranger waits at most
// maxAhead turns in a row.
func TestLanesAreFair(t *testing.T) {
	type waiter struct {
		lane   lane
		number int
	}
	for seed := range uint64(15) {
		random := rand.New(rand.NewPCG(seed, 1))
		h := newHasher(0)
		if err := h.await(t.Context(), ahead); err != nil {
			t.Fatal(err)
		}
		var came [lanes]int
		done := make(chan waiter)
		enter := func(l lane) {
			w := waiter{l, came[l]}
			came[l]++
			want := h.waitingIn(l) + 1
			go func() {
				if h.await(t.Context(), l) == nil {
					done <- w // holds the turn until the loop below passes it
				}
			}()
			for h.waitingIn(l) != want {
				time.Sleep(10 * time.Microsecond)
			}
		}
		var went [lanes]int
		inARow := 0
		for turn := 0; ; turn++ {
			for range random.IntN(4) {
				if turn < 60 {
					enter([]lane{ahead, ahead, ahead, behind}[random.IntN(4)])
				}
			}
			strangers, known := h.waitingIn(behind), h.waitingIn(ahead)
			h.pass()
			if strangers+known == 0 {
				if turn < 60 {
					if err := h.await(t.Context(), ahead); err != nil {
						t.Fatal(err)
					}
					continue
				}
				break
			}
			w := <-done
			if w.number != went[w.lane] {
				t.Fatalf("seed %d: number %d of lane %d had turn %d", seed, w.number, w.lane, went[w.lane])
			}
			went[w.lane]++
			switch {
			case w.lane == ahead && strangers > 0:
				if inARow++; inARow > maxAhead {
					t.Fatalf("seed %d: %d turns in a row past a stranger", seed, inARow)
				}
			case w.lane == behind && known > 0 && inARow < maxAhead:
				t.Fatalf("seed %d: a stranger went first after %d turns", seed, inARow)
			default:
				inARow = 0
			}
		}
		if went != came {
			t.Errorf("seed %d: %v came, %v had a turn", seed, came, went)
		}
	}
}

// The floor of a failure begins before its turn, by what was spent on it already.
func TestFloorCoversWhatCameBefore(t *testing.T) {
	h := newHasher(time.Hour)
	ok, err := h.prove(t.Context(), behind, 2*time.Hour, func() bool { return false })
	if ok || err != nil {
		t.Errorf("prove = %t, %v", ok, err)
	}
}

func (h *hasher) waitingIn(l lane) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue[l])
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
