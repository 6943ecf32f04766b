package ledger

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// What clients that have proved nothing may leave as events of their own: in a
// burst and then for each second, a network, and all together. Beyond that they
// are counted: anybody could else fill the disk, and have everybody wait for
// that.
const (
	networkBurst = 100
	networkRate  = 1
	allBurst     = 2000
	allRate      = 20
	// maxNetworks bounds the networks that have a budget each; others share one.
	maxNetworks = 4096
	// maxCounts bounds the counts for a network each; others are counted together.
	maxCounts = 256
	// defaultCountEvery is the time between events that tell counts.
	defaultCountEvery = 10 * time.Second
)

// Unproven reports whether e is of a client that has proved nothing, who can
// have as many of them as it sends requests.
func (e *Event) Unproven() bool {
	anonymous := e.Principal == access.Principal{}.String()
	switch e.Kind {
	case Login:
		return e.Decision == Denied
	case Token:
		return e.Decision != Allowed || anonymous
	}
	return e.Decision != Allowed && anonymous // a one-time code for a new password that is wrong
}

// A tally decides which of these events stand by themselves, and counts the
// others. Nothing is lost: the counts are written, too.
type tally struct {
	networks map[netip.Prefix]*budget
	shared   budget // of the networks that found no place
	all      budget
	counts   map[counted]*count
}

func newTally(now time.Time) *tally {
	return &tally{
		networks: map[netip.Prefix]*budget{}, counts: map[counted]*count{},
		shared: budget{left: networkBurst, at: now}, all: budget{left: allBurst, at: now},
	}
}

// A budget is refilled with time.
type budget struct {
	left float64
	at   time.Time
}

func (b *budget) refill(now time.Time, burst, rate float64) {
	b.left, b.at = min(b.left+max(now.Sub(b.at).Seconds(), 0)*rate, burst), now
}

// counted is what events have in common that are counted together.
type counted struct {
	network    netip.Prefix
	kind       Kind
	action     string
	decision   Decision
	reason     string
	credential string
}

// A count is one event for many. What is not the same in all of them it does
// not say.
type count struct {
	event Event
	n     int64
	first time.Time
}

// admit reports whether e may stand by itself.
func (t *tally) admit(e *Event, now time.Time) bool {
	network := networkOf(e)
	b := t.networks[network]
	switch {
	case b != nil:
	case len(t.networks) < maxNetworks:
		b = &budget{left: networkBurst, at: now}
		t.networks[network] = b
	default:
		b = &t.shared
	}
	b.refill(now, networkBurst, networkRate)
	t.all.refill(now, allBurst, allRate)
	if b.left < 1 || t.all.left < 1 {
		return false
	}
	b.left, t.all.left = b.left-1, t.all.left-1
	return true
}

// networkOf returns what counts as one client, as for wrong passwords.
func networkOf(e *Event) netip.Prefix {
	a, err := netip.ParseAddr(e.Address)
	if err != nil {
		return netip.Prefix{}
	}
	return access.Network(a)
}

// count counts e.
func (t *tally) count(e Event) {
	e = e.Normal()
	key := counted{networkOf(&e), e.Kind, e.Action, e.Decision, e.Reason, e.Credential}
	if t.counts[key] == nil && len(t.counts) >= maxCounts {
		// Of these there are few, whatever clients send.
		key = counted{kind: e.Kind, action: e.Action, decision: e.Decision}
	}
	c := t.counts[key]
	if c == nil {
		c = &count{event: e, first: e.Time}
		t.counts[key] = c
	}
	c.add(e, key.network)
}

func (c *count) add(e Event, network netip.Prefix) {
	c.n++
	if c.n == 1 {
		return
	}
	to := &c.event
	for _, text := range [][2]*string{
		{&to.Principal, &e.Principal}, {&to.Issuer, &e.Issuer}, {&to.UID, &e.UID}, {&to.Method, &e.Method}, {&to.Reason, &e.Reason},
		{&to.Credential, &e.Credential}, {&to.Token, &e.Token}, {&to.Object, &e.Object}, {&to.UserAgent, &e.UserAgent}, {&to.RequestID, &e.RequestID},
		{&to.Repository, &e.Repository}, {&to.Tag, &e.Tag}, {&to.Digest, &e.Digest},
	} {
		if *text[0] != *text[1] {
			*text[0] = ""
		}
	}
	to.TLS = to.TLS && e.TLS
	to.Groups, to.Claims, to.Detail = nil, nil, nil
	if to.Address != e.Address {
		to.Address = ""
		if network.IsValid() {
			to.Address = network.String()
		}
	}
	if e.Time.After(to.Time) {
		to.Time = e.Time
	}
}

// take returns the counts as events and begins anew. It forgets the budgets that
// are as good as new.
func (t *tally) take(now time.Time) (out []Event) {
	for key, c := range t.counts {
		e := c.event
		if c.n > 1 {
			if e.Principal == "" {
				e.Principal = access.Principal{}.String()
			}
			e.Set("count", strconv.FormatInt(c.n, 10))
			e.Set("from", c.first.Format(time.RFC3339))
		}
		out = append(out, e)
		delete(t.counts, key)
	}
	for network, b := range t.networks {
		if b.refill(now, networkBurst, networkRate); b.left >= networkBurst {
			delete(t.networks, network)
		}
	}
	return out
}
