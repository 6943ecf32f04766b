package metadata

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport/sallyport/internal/oci"
)

const (
	cacheBytes   = 32 << 20
	maxCached    = 256 << 10 // bytes of one manifest
	cacheStripes = 1024
)

// A cache remembers what was found in repositories. It exists on SQLite alone,
// where every write passes through this process; a nil cache remembers nothing.
//
// Each repository has a counter (shared with others by chance). It is odd
// while a commit that touches the repository is under way, and an answer is
// kept only from a time when it was even, and used only while it is the same:
// so nobody sees an answer older than one that was already given to anybody.
type cache struct {
	seed    maphash.Seed
	stripes [cacheStripes]atomic.Uint64
	entries *otter.Cache[cacheKey, *cacheEntry]
}

type cacheKey struct {
	blob bool
	repo oci.RepoName
	ref  string // tag or digest
}

// A cacheEntry is a manifest or a blob.
type cacheEntry struct {
	stamp    uint64 // the counter when it was asked for
	manifest oci.RawManifest
	blob     oci.Descriptor
	leased   int64 // of the blob's link, at least
}

func newCache() *cache {
	return &cache{
		seed: maphash.MakeSeed(),
		entries: otter.Must(&otter.Options[cacheKey, *cacheEntry]{
			MaximumWeight: cacheBytes,
			Weigher: func(k cacheKey, e *cacheEntry) uint32 {
				return uint32(400 + 2*len(k.repo) + len(k.ref) + len(e.manifest.Bytes))
			},
			Executor: func(fn func()) { fn() },
		}),
	}
}

func (c *cache) close() {
	if c != nil {
		c.entries.StopAllGoroutines()
	}
}

func (c *cache) stripe(repo oci.RepoName) *atomic.Uint64 {
	return &c.stripes[maphash.String(c.seed, string(repo))%cacheStripes]
}

// get returns what is known under k, or nil and the stamp for put.
func (c *cache) get(k cacheKey) (*cacheEntry, uint64) {
	if c == nil {
		return nil, 0
	}
	stamp := c.stripe(k.repo).Load()
	if stamp%2 == 0 {
		if e, ok := c.entries.GetIfPresent(k); ok && e.stamp == stamp {
			return e, stamp
		}
	}
	return nil, stamp
}

// put keeps e, which was read after get gave its stamp.
func (c *cache) put(k cacheKey, e *cacheEntry) {
	if c != nil && e.stamp%2 == 0 && len(e.manifest.Bytes) <= maxCached {
		c.entries.Set(k, e)
	}
}

// changing marks the repositories that jobs touched, until the returned
// function is called. One commit runs at a time.
func (c *cache) changing(jobs []*job) (done func()) {
	marked := make(map[*atomic.Uint64]bool)
	for _, j := range jobs {
		for _, repo := range j.tx.touched {
			marked[c.stripe(repo)] = true
		}
	}
	for s := range marked {
		s.Add(1)
	}
	return func() {
		for s := range marked {
			s.Add(1)
		}
	}
}
