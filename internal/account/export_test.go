package account

import "context"

// MaxWaiting is how many checks may wait for their turn to hash.
const MaxWaiting = maxWaiting

// HoldTurn takes the turn to hash until release is called.
func (s *Service) HoldTurn() (release func()) {
	s.hashing.turn <- struct{}{}
	return func() { <-s.hashing.turn }
}

// Waiting is how many checks wait for their turn to hash.
func (s *Service) Waiting() int64 { return s.hashing.waiting.Load() }

// Flush writes down the last uses, as happens once a minute.
func (s *Service) Flush() error { return s.used.Flush(context.Background()) }
