package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A Hash stands for an event and for all before it. The first event follows the
// zero Hash.
type Hash [sha256.Size]byte

// String returns h in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return errors.New("want 64 hexadecimal digits")
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// A Link is a place in the chain: after the event Seq, whose hash is Hash.
type Link struct {
	Seq  int64 `json:"seq"`
	Hash Hash  `json:"hash"`
}

// A Sealed event has its place in the chain.
type Sealed struct {
	Event
	Prev, Hash Hash
	canonical  []byte
}

// Seal gives e, which it makes normal, the place after prev.
func Seal(prev Link, e Event) Sealed {
	e = e.Normal()
	e.Seq = prev.Seq + 1
	s := Sealed{Event: e, Prev: prev.Hash, canonical: e.canonical()}
	s.Hash = next(prev.Hash, s.canonical)
	return s
}

// next is how the chain goes on:
//
//	hash(n) = SHA-256( hash(n-1), 32 bytes | event n in canonical form )
func next(prev Hash, canonical []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(canonical)
	return Hash(h.Sum(nil))
}

// Link returns the place of s.
func (s Sealed) Link() Link { return Link{s.Seq, s.Hash} }

// Canonical returns what the hash is about: the event without prev and hash.
func (s Sealed) Canonical() []byte { return s.canonical }

// Stored returns an event as a shelf has kept it, be it right or not: Chain and
// ParseLine find out. One that cannot be read at all has no more than seq.
func Stored(seq int64, prev, hash Hash, canonical []byte) Sealed {
	e, err := parse(canonical)
	if err != nil || e.Seq != seq {
		e, canonical = Event{Seq: seq}, fmt.Appendf(nil, `{"seq":%d,"broken":true}`, seq)
	}
	return Sealed{Event: e, Prev: prev, Hash: hash, canonical: canonical}
}

// Line returns the event as it leaves us: the canonical form, with prev and
// hash as its last fields, on one line without its end.
func (s Sealed) Line() []byte {
	b := make([]byte, 0, len(s.canonical)+len(tailForm))
	b = append(b, s.canonical[:len(s.canonical)-1]...)
	return fmt.Appendf(b, `,"prev":"%s","hash":"%s"}`, s.Prev, s.Hash)
}

const (
	zeros    = "0000000000000000000000000000000000000000000000000000000000000000"
	tailForm = `,"prev":"` + zeros + `","hash":"` + zeros + `"}`
)

// ErrBroken is a record that somebody changed.
var ErrBroken = errors.New("the record was changed")

var errForm = fmt.Errorf("%w: not an event as sallyport writes it", ErrBroken)

// ParseLine reads what Line wrote, to the byte, and checks the event's own hash.
// Errors: ErrBroken.
func ParseLine(line []byte) (Sealed, error) {
	at := len(line) - len(tailForm)
	if at < 1 {
		return Sealed{}, errForm
	}
	var prev, hash Hash
	tail := line[at:]
	hashAt := len(`,"prev":"`) + len(zeros) + len(`","hash":"`)
	if prev.UnmarshalText(tail[len(`,"prev":"`):][:len(zeros)]) != nil || hash.UnmarshalText(tail[hashAt:][:len(zeros)]) != nil {
		return Sealed{}, errForm
	}
	canonical := append(bytes.Clone(line[:at]), '}')
	e, err := parse(canonical)
	if err != nil {
		return Sealed{}, err
	}
	s := Sealed{Event: e, Prev: prev, Hash: hash, canonical: canonical}
	if hash != next(prev, canonical) || !bytes.Equal(s.Line(), line) {
		return Sealed{}, fmt.Errorf("%w: event %d does not have its hash", ErrBroken, e.Seq)
	}
	return s, nil
}

// A Chain checks that events follow each other. The zero Chain takes any event
// as the first.
type Chain struct {
	at      Link
	started bool
	first   int64 // the event that it began after
	removed int64 // the last of the events that are gone, as one of them tells
}

// From returns a chain that must go on after l.
func From(l Link) Chain { return Chain{at: l, started: true, first: l.Seq} }

// At returns the place of the last event.
func (c *Chain) At() Link { return c.at }

// Add takes the next event. Errors: ErrBroken, saying what is wrong.
func (c *Chain) Add(s Sealed) error {
	switch {
	case s.Hash != next(s.Prev, s.canonical):
		return fmt.Errorf("%w: event %d does not have its hash", ErrBroken, s.Seq)
	case !c.started:
	case s.Seq <= c.at.Seq:
		return fmt.Errorf("%w: event %d comes after event %d", ErrBroken, s.Seq, c.at.Seq)
	case s.Seq != c.at.Seq+1:
		return fmt.Errorf("%w: between event %d and event %d, %d are missing", ErrBroken, c.at.Seq, s.Seq, s.Seq-c.at.Seq-1)
	case s.Prev != c.at.Hash:
		return fmt.Errorf("%w: event %d does not follow event %d as it is now", ErrBroken, s.Seq, c.at.Seq)
	}
	if !c.started {
		c.first = s.Seq - 1
	}
	if s.Kind == Audit && s.Action == removal {
		if n, err := strconv.ParseInt(s.Detail["last"], 10, 64); err == nil {
			c.removed = n
		}
	}
	c.at, c.started = s.Link(), true
	return nil
}

// removal is the action of the event that tells what was removed from the
// beginning; see Removal.
const removal = "remove"

// Removal is the event of a removal of old events: from first to last, since
// they are from before a time.
func Removal(first, last int64, before time.Time) Event {
	return Event{Kind: Audit, Action: removal, Decision: Allowed, Principal: System, Detail: map[string]string{
		"first": strconv.FormatInt(first, 10), "last": strconv.FormatInt(last, 10), "before": before.UTC().Format(time.RFC3339),
	}}
}

// First returns the number of the first event, or of the one that it would be.
func (c *Chain) First() int64 { return c.first + 1 }

// Accounted checks that an event tells of the removal of those before the
// chain: the newest removal is always in what is left. Errors: ErrBroken.
func (c *Chain) Accounted() error {
	if c.first != 0 && c.removed != c.first {
		return fmt.Errorf("%w: the events up to %d are gone, and none tells that they were removed", ErrBroken, c.first)
	}
	return nil
}

// EndsAt checks that the chain ends at l. Errors: ErrBroken.
func (c *Chain) EndsAt(l Link) error {
	switch {
	case c.at.Seq < l.Seq:
		return fmt.Errorf("%w: it ends at event %d, and there was an event %d", ErrBroken, c.at.Seq, l.Seq)
	case c.at.Seq == l.Seq && c.at.Hash != l.Hash:
		return fmt.Errorf("%w: its end, event %d, does not have the hash that it should", ErrBroken, l.Seq)
	case c.at.Seq > l.Seq:
		return fmt.Errorf("%w: it should end at event %d, and goes on to event %d", ErrBroken, l.Seq, c.at.Seq)
	}
	return nil
}
