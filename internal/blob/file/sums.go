package file

import (
	"hash"
	"sync"
)

// maxSums bounds the running sums that wait for their next request: some 400
// bytes each.
const maxSums = 4096

// sums remembers, between the requests of an upload, the running sha256 of what
// is staged, so that sealing need not read it again. It lives in memory alone:
// a sum on disk could outlive bytes that a power cut took. Whatever is missing
// here, after a restart or an eviction, is read again.
type sums struct {
	limit int

	mu sync.Mutex
	of map[string]sum
}

// A sum is the running sha256 of the first size bytes.
type sum struct {
	size int64
	hash hash.Hash
}

func newSums(limit int) *sums { return &sums{limit: limit, of: map[string]sum{}} }

// take removes and returns the hash of key if it covers size bytes, else nil.
func (t *sums) take(key string, size int64) hash.Hash {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[key]
	delete(t.of, key)
	if s.size != size {
		return nil
	}
	return s.hash
}

// keep remembers s. When the table is full any other goes: each is as likely
// to be needed, and costs one reading.
func (t *sums) keep(key string, s sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for victim := range t.of {
		if len(t.of) < t.limit {
			break
		}
		delete(t.of, victim)
	}
	t.of[key] = s
}
