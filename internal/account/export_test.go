package account

import "context"

// MaxWaiting is how many checks may wait for their turn to hash.
const MaxWaiting = maxWaiting

// HoldTurn takes the turn to hash until release is called.
func (s *Service) HoldTurn() (release func()) {
	if err := s.hashing.await(context.Background(), ahead); err != nil {
		panic(err)
	}
	return s.hashing.pass
}

// Waiting is how many checks wait for their turn to hash.
func (s *Service) Waiting() int {
	s.hashing.mu.Lock()
	defer s.hashing.mu.Unlock()
	return len(s.hashing.queue[ahead]) + len(s.hashing.queue[behind])
}

// Flush writes down the last uses, as happens once a minute.
func (s *Service) Flush() error { return s.used.Flush(context.Background()) }

// CheapHashes makes hashes that cost next to nothing until restore is called,
// for tests that make many.
func CheapHashes() (restore func()) {
	before := today
	today = argon{memory: 8, passes: 1, threads: 1}
	return func() { today = before }
}
