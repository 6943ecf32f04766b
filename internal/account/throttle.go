package account

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/access"
)

// A limit says how many attempts are free and how long the next one has to wait
// beyond them: first, then twice as long each time, up to most. One attempt is
// forgotten after each time forget.
type limit struct {
	free                int
	first, most, forget time.Duration
}

// The limits on wrong passwords. Per minute and pair of network and name that
// is 9 at first and one each 5 minutes later. A network may hold a whole
// company, and an account must not be closed to its owner for long.
var (
	pairLimit    = limit{free: 5, first: 2 * time.Second, most: 5 * time.Minute, forget: 10 * time.Minute}
	networkLimit = limit{free: 30, first: time.Second, most: 5 * time.Minute, forget: time.Minute}
	nameLimit    = limit{free: 20, first: time.Second, most: time.Minute, forget: time.Minute}
)

// maxBeyond bounds the strikes beyond the free ones, and so how long an attack
// is remembered.
const maxBeyond = 10

// maxTracked bounds each of the tables of a throttle, in entries. What is refused
// adds nothing to them: who fills one to make us forget needs thousands of
// networks, and a hash of ours for each entry.
const maxTracked = 50_000

// maxFolded bounds how much of a typed name is looked at, in bytes.
const maxFolded = 256

// A throttle counts wrong passwords by network, by name, and by both together.
// It knows names as they were typed, not accounts: what it does is the same
// whether there is such an account. Safe for concurrent use; its state is this
// process's own.
type throttle struct {
	now  func() time.Time
	seed maphash.Seed

	mu       sync.Mutex
	pairs    *otter.Cache[pair, strikes]
	networks *otter.Cache[netip.Prefix, strikes]
	names    *otter.Cache[uint64, strikes]
}

type pair struct {
	network netip.Prefix
	name    uint64
}

// strikes are attempts that were not right, or not judged yet.
type strikes struct {
	count int
	since time.Time // from when the next one is forgotten
	until time.Time // no attempt before
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{
		now: now, seed: maphash.MakeSeed(),
		pairs:    otter.Must(&otter.Options[pair, strikes]{MaximumSize: maxTracked}),
		networks: otter.Must(&otter.Options[netip.Prefix, strikes]{MaximumSize: maxTracked}),
		names:    otter.Must(&otter.Options[uint64, strikes]{MaximumSize: maxTracked}),
	}
}

// networkOf returns what counts as one client: an IPv4 address, or an IPv6 /64,
// which is what one customer gets at least. Requests of unknown origin are one
// network together.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// fold returns one number for all spellings of a name that people, or those who
// guess, would use for the same account (I-03).
func (t *throttle) fold(name string) uint64 {
	name = strings.ToLower(norm.NFKC.String(name[:min(len(name), maxFolded)]))
	return maphash.String(t.seed, strings.TrimSpace(name))
}

// An attempt is a password that was let through the throttle and counts as wrong
// until it was found to be right.
type attempt struct {
	pair
	shared bool          // it counts for the network and the name as well
	wait   time.Duration // what a stranger would have had to wait
}

// begin counts an attempt, or returns *access.Throttled. known says that the
// owner of the account has come from this network before: then only the limit
// on both together stops it, and a flood from elsewhere does not.
//
// A stranger and the owner must not be told apart by those who guess: begin
// counts alike for both, and where a stranger has to wait, a wrong password from
// the owner's network is answered with that wait too (wrong).
func (t *throttle) begin(p pair, known bool) (attempt, error) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	byPair := pairLimit.forgotten(get(t.pairs, p), now)
	byNetwork := networkLimit.forgotten(get(t.networks, p.network), now)
	byName := nameLimit.forgotten(get(t.names, p.name), now)
	shared := max(byNetwork.until.Sub(now), byName.until.Sub(now), 0)
	if shared > 0 && !known {
		return attempt{}, &access.Throttled{After: shared}
	}
	if alone := byPair.until.Sub(now); alone > 0 {
		if shared > 0 {
			alone = shared
		}
		return attempt{}, &access.Throttled{After: alone}
	}
	t.pairs.Set(p, pairLimit.struck(byPair, now))
	if shared == 0 {
		t.networks.Set(p.network, networkLimit.struck(byNetwork, now))
		t.names.Set(p.name, nameLimit.struck(byName, now))
	}
	return attempt{pair: p, shared: shared == 0, wait: shared}, nil
}

// beginNameless is begin for a secret that comes without a name.
func (t *throttle) beginNameless(network netip.Prefix) error {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := networkLimit.forgotten(get(t.networks, network), now)
	if wait := s.until.Sub(now); wait > 0 {
		return &access.Throttled{After: wait}
	}
	t.networks.Set(network, networkLimit.struck(s, now))
	return nil
}

// endNameless takes back the strike of a secret that was right.
func (t *throttle) endNameless(network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.networks.Set(network, networkLimit.pardoned(get(t.networks, network)))
}

// right takes back the strikes of an attempt. Those of the network and the name
// are others' as well: only its own go, or who has an account could wipe out
// guesses at another.
func (t *throttle) right(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pairs.Invalidate(a.pair)
	t.pardonShared(a)
}

// undecided takes back the strikes of an attempt that was not judged.
func (t *throttle) undecided(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pairs.Set(a.pair, pairLimit.pardoned(get(t.pairs, a.pair)))
	t.pardonShared(a)
}

func (t *throttle) pardonShared(a attempt) {
	if !a.shared {
		return
	}
	t.networks.Set(a.network, networkLimit.pardoned(get(t.networks, a.network)))
	t.names.Set(a.name, nameLimit.pardoned(get(t.names, a.name)))
}

// wrong returns the answer to an attempt that proved nothing.
func (t *throttle) wrong(a attempt) error {
	if a.wait > 0 {
		return &access.Throttled{After: a.wait}
	}
	return access.ErrBadCredential
}

func get[K comparable](c *otter.Cache[K, strikes], k K) strikes {
	s, _ := c.GetIfPresent(k)
	return s
}

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
