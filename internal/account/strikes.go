package account

import (
	"time"

	"github.com/maypok86/otter/v2"
)

// A limit says how many attempts are free and how long the next one has to wait
// beyond them: first, then twice as long each time, up to most. One attempt is
// forgotten after each time forget.
type limit struct {
	free                int
	first, most, forget time.Duration
}

// maxBeyond bounds the strikes beyond the free ones, and so how long an attack
// is remembered.
const maxBeyond = 10

// maxTracked bounds each of the tables of a throttle, in entries. What is refused
// adds nothing to them: who fills one to make us forget needs thousands of
// networks, and a hash of ours for each entry.
const maxTracked = 50_000

// strikes are attempts that were not right, or not judged yet.
type strikes struct {
	count int
	since time.Time // from when the next one is forgotten
	until time.Time // no attempt before
}

// A table counts strikes under one limit. It is not safe for concurrent use.
type table[K comparable] struct {
	limit limit
	seen  *otter.Cache[K, strikes]
}

func newTable[K comparable](l limit) table[K] {
	return table[K]{l, otter.Must(&otter.Options[K, strikes]{MaximumSize: maxTracked})}
}

func (t table[K]) get(k K) strikes {
	s, _ := t.seen.GetIfPresent(k)
	return s
}

// wait returns how long the next attempt has to wait, or 0.
func (t table[K]) wait(k K, now time.Time) time.Duration {
	return max(t.get(k).until.Sub(now), 0)
}

func (t table[K]) strike(k K, now time.Time) {
	t.seen.Set(k, t.limit.struck(t.limit.forgotten(t.get(k), now), now))
}

func (t table[K]) pardon(k K) { t.seen.Set(k, t.limit.pardoned(t.get(k))) }

func (t table[K]) clear(k K) { t.seen.Invalidate(k) }

// forgotten returns s without the strikes whose time has passed.
func (l limit) forgotten(s strikes, now time.Time) strikes {
	n := int(now.Sub(s.since) / l.forget)
	if n <= 0 {
		return s
	}
	s.count = max(s.count-n, 0)
	s.since = s.since.Add(time.Duration(n) * l.forget)
	return s
}

// struck returns s with one strike more.
func (l limit) struck(s strikes, now time.Time) strikes {
	if s.count == 0 {
		s.since = now
	}
	s.count = min(s.count+1, l.free+maxBeyond)
	if beyond := s.count - l.free; beyond >= 0 {
		s.until = now.Add(l.delay(beyond))
	}
	return s
}

// pardoned returns s with one strike less, and without the wait that it brought.
func (l limit) pardoned(s strikes) strikes {
	s.count = max(s.count-1, 0)
	if s.count < l.free {
		s.until = time.Time{}
	}
	return s
}

// delay returns first × 2^n, at most most.
func (l limit) delay(n int) time.Duration {
	d := l.first
	for range n {
		if d *= 2; d >= l.most {
			return l.most
		}
	}
	return d
}
