package account

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
)

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

// CountWork replaces what hashes by what counts its costs until restore is called,
// and returns the count. No bcrypt hash is right then.
func CountWork() (work *atomic.Int64, restore func()) {
	work = new(atomic.Int64)
	argonBefore, bcryptBefore := argonSum, compareBcrypt
	argonSum = func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte {
		work.Add(int64(passes) * int64(memory))
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d", password, salt, passes, memory))
		return sum[:size]
	}
	compareBcrypt = func(hash, _ []byte) error {
		cost, err := strconv.Atoi(string(hash[4:6]))
		work.Add(1_000_000 << cost)
		return errors.Join(err, errors.New("wrong"))
	}
	return work, func() { argonSum, compareBcrypt = argonBefore, bcryptBefore }
}
