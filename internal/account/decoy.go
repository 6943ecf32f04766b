package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// decoysFresh is how long what was read of the stored hashes is used.
const decoysFresh = 5 * time.Minute

// decoys choose the kind of hash that is computed for a name without one, as if
// it had an account: other logins wait for it, and would see the difference. The
// choice for a name is the same in every process and after a restart, and
// changes no more than it must when the stored hashes do.
type decoys struct {
	read  time.Time
	key   []byte
	kinds map[kind]int // how many accounts have it
}

// of returns the kind for a folded name: that of the account which answers first,
// when those of each kind take a time at random, by the name.
func (d *decoys) of(name string) kind {
	choice, soonest := kind{argon: today}, math.Inf(1)
	for k, n := range d.kinds {
		m := hmac.New(sha256.New, d.key)
		fmt.Fprintf(m, "%d %d %d %d ", k.memory, k.passes, k.threads, k.bcrypt)
		io.WriteString(m, name)
		random := float64(binary.BigEndian.Uint64(m.Sum(nil))>>11+1) / (1 << 53) // above 0, at most 1
		if at := -math.Log(random) / float64(n); at < soonest {
			choice, soonest = k, at
		}
	}
	return choice
}

// decoyFor returns the kind of hash for a name without one. It asks the directory
// about all hashes, now and then, and never about the name.
func (s *Service) decoyFor(ctx context.Context, name string) (kind, error) {
	d := s.decoys.Load()
	if d == nil || s.now().Sub(d.read) >= decoysFresh {
		var err error
		if d, err = s.decoysFlight.do(ctx, struct{}{}, s.readDecoys); err != nil {
			return kind{}, err
		}
	}
	return d.of(folded(name)), nil
}

func (s *Service) readDecoys(ctx context.Context) (*decoys, error) {
	d := &decoys{read: s.now(), kinds: make(map[kind]int)}
	var err error
	if d.key, err = s.dir.DecoyKey(ctx); err == nil {
		err = s.dir.EachPasswordHash(ctx, func(hash string) {
			if k, ok := kindOf(hash); ok {
				d.kinds[k]++
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("count the kinds of password hashes: %w", err)
	}
	s.decoys.Store(d)
	return d, nil
}
