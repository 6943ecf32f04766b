package account

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/access"
)

// The limits on wrong passwords. Per minute and pair of network and name that
// is 9 at first and one each 5 minutes later. A network may hold a whole
// company, and an account must not be closed to its owner for long: where the
// owner has come from before it is 10 at first and 3 later, whoever sits there.
var (
	pairLimit    = limit{free: 5, first: 2 * time.Second, most: 5 * time.Minute, forget: 10 * time.Minute}
	homeLimit    = limit{free: 5, first: 2 * time.Second, most: 20 * time.Second, forget: time.Minute}
	networkLimit = limit{free: 30, first: time.Second, most: 5 * time.Minute, forget: time.Minute}
	nameLimit    = limit{free: 20, first: time.Second, most: time.Minute, forget: time.Minute}
	// ownLimit is on the current password, from whoever has a token of the account.
	ownLimit = pairLimit
)

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
	pairs    table[pair]
	homes    table[pair] // of those that are no strangers
	networks table[netip.Prefix]
	names    table[uint64]
	own      table[string] // by name of account
}

type pair struct {
	network netip.Prefix
	name    uint64
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{
		now: now, seed: maphash.MakeSeed(),
		pairs: newTable[pair](pairLimit), homes: newTable[pair](homeLimit),
		networks: newTable[netip.Prefix](networkLimit), names: newTable[uint64](nameLimit),
		own: newTable[string](ownLimit),
	}
}

// fold returns one number for all spellings of a name that people, or those who
// guess, would use for the same account (I-03).
func (t *throttle) fold(name string) uint64 { return maphash.String(t.seed, folded(name)) }

func folded(name string) string {
	return strings.TrimSpace(strings.ToLower(norm.NFKC.String(name[:min(len(name), maxFolded)])))
}

// A standing is what is known of who presents a password, before it is checked.
type standing int

const (
	stranger standing = iota
	local             // on this machine, whatever the name
	known             // where the owner of the account has come from before
)

// An attempt is a password that was let through the throttle and counts as wrong
// until it was found to be right.
type attempt struct {
	pair
	standing standing
	wait     time.Duration // what a stranger would have had to wait
}

// begin counts an attempt, or returns *access.Throttled. What stops strangers
// does not stop who is known, but for homeLimit: neither a flood from elsewhere
// nor a neighbour in the same network closes an account to its owner. Who is
// local passes a flood against the name, not one from this machine.
//
// Those who guess must not see by the answers who they are taken for: what stops
// strangers is counted alike for all, and where a stranger has to wait, a wrong
// password is answered with that wait, checked or not (wrong).
func (t *throttle) begin(p pair, by standing) (attempt, error) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	byNetwork := t.networks.wait(p.network, now)
	wait := max(byNetwork, t.names.wait(p.name, now))
	wait = cmp.Or(wait, t.pairs.wait(p, now))
	if wait > 0 && (by == stranger || by == local && byNetwork > 0 || t.homes.wait(p, now) > 0) {
		return attempt{}, &access.Throttled{After: wait}
	}
	if by != stranger {
		t.homes.strike(p, now)
	}
	if wait == 0 {
		t.pairs.strike(p, now)
		t.networks.strike(p.network, now)
		t.names.strike(p.name, now)
	}
	return attempt{pair: p, standing: by, wait: wait}, nil
}

// beginNameless is begin for a secret that comes without a name.
func (t *throttle) beginNameless(network netip.Prefix) error {
	return begin(t, t.networks, network)
}

// endNameless takes back the strike of a secret that was right.
func (t *throttle) endNameless(network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.networks.pardon(network)
}

// beginOwn is begin for the current password of an account whose token the
// caller has. It counts by account alone: a stolen token guesses no more from
// many networks than from one, and strangers do not stop the owner.
func (t *throttle) beginOwn(name string) error { return begin(t, t.own, name) }

// endOwn takes back the strikes of a password that was right, or the one of a
// password that was not judged.
func (t *throttle) endOwn(name string, judged bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if judged {
		t.own.clear(name)
	} else {
		t.own.pardon(name)
	}
}

// begin counts an attempt under one limit, or returns *access.Throttled.
func begin[K comparable](t *throttle, in table[K], k K) error {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := in.wait(k, now); wait > 0 {
		return &access.Throttled{After: wait}
	}
	in.strike(k, now)
	return nil
}

// right takes back the strikes of an attempt. Those of the network and the name
// are others' as well: only its own go, or who has an account could wipe out
// guesses at another.
func (t *throttle) right(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pairs.clear(a.pair)
	t.homes.clear(a.pair)
	t.pardonShared(a)
}

// undecided takes back the strikes of an attempt that was not judged.
func (t *throttle) undecided(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.standing != stranger {
		t.homes.pardon(a.pair)
	}
	if a.wait == 0 {
		t.pairs.pardon(a.pair)
	}
	t.pardonShared(a)
}

func (t *throttle) pardonShared(a attempt) {
	if a.wait == 0 {
		t.networks.pardon(a.network)
		t.names.pardon(a.name)
	}
}

// wrong returns the answer to an attempt that proved nothing.
func (t *throttle) wrong(a attempt) error {
	if a.wait > 0 {
		return &access.Throttled{After: a.wait}
	}
	return access.ErrBadCredential
}
