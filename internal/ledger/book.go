package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"
)

// A Book is the record of one database.
type Book interface {
	Store
	// Read returns a part of the events that q asks for, and where to go on.
	Read(ctx context.Context, q Query) (Page, error)
	// Ends returns what stands for the removed beginning, and the last event.
	Ends(ctx context.Context) (anchor, head Link, err error)
	// Remove forgets events from the beginning that are older than before, about
	// limit of them at most, in one transaction that also records it. It returns
	// how many; none are left when that is 0.
	Remove(ctx context.Context, before time.Time, limit int64) (int64, error)
}

// A Query asks for events. The zero Query asks for all, the newest first.
type Query struct {
	// After asks for the events that follow it, the oldest first. Before asks
	// for those that precede it. At most one is set.
	After, Before Seq
	Since, Until  time.Time // from Since on, and before Until; zero is no bound
	Principal     string
	Repository    string // a name, or with "/**" at its end all below it too
	RequestID     string
	Kind          Kind
	Denied        bool // or failed
	Limit         int  // at least 1
}

// A Seq is the number of an event, or none.
type Seq struct {
	N     int64
	Given bool
}

// A Page is a part of what a Query asks for. It may have few events, or none,
// and still not be the last.
type Page struct {
	Events []Sealed
	// Next is where to go on: After or Before of the next Query.
	Next Seq
}

// Forward reports whether the oldest come first.
func (q Query) Forward() bool { return q.After.Given }

// Matches reports whether q asks for e, its bounds of Seq aside.
func (q Query) Matches(e *Event) bool {
	switch {
	case !q.Since.IsZero() && e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
	case q.Principal != "" && e.Principal != q.Principal, q.RequestID != "" && e.RequestID != q.RequestID:
	case q.Kind != "" && e.Kind != q.Kind, q.Denied && e.Decision == Allowed, !q.matchesRepository(e.Repository):
	default:
		return true
	}
	return false
}

func (q Query) matchesRepository(name string) bool {
	base, below := strings.CutSuffix(q.Repository, "/**")
	return q.Repository == "" || name == base || below && strings.HasPrefix(name, base+"/")
}

// AllowsBatched reports whether q can ask for events that are kept in batches.
func (q Query) AllowsBatched() bool { return !q.Denied && (q.Kind == "" || q.Kind == Pull) }

// Batched reports whether e is one of many of little weight each, kept in
// batches.
func (e *Event) Batched() bool { return e.Kind == Pull && e.Decision == Allowed }

// Pack returns events that follow each other as one text.
func Pack(events []Sealed) string {
	lines := make([][]byte, len(events))
	for i, s := range events {
		lines[i] = s.canonical
	}
	return string(bytes.Join(lines, []byte{'\n'}))
}

// A Packed is what a shelf has kept of a Pack.
type Packed struct {
	Text       []byte
	First      int64 // the seq of its first event
	Prev, Hash Hash  // what the first follows, and the hash of the last
}

// Unpack returns the events that q asks for, in its order and not more than its
// limit, and how many it had to read for that: reading is slow.
func (p Packed) Unpack(q Query) (out []Sealed, read int) {
	needles := q.needles()
	if !holds(p.Text, needles) {
		return nil, 0
	}
	lines := bytes.Split(p.Text, []byte{'\n'})
	var hashes []Hash
	for n := 0; n < len(lines) && len(out) < q.Limit; n++ {
		i := n
		if !q.Forward() {
			i = len(lines) - 1 - n
		}
		if seq := p.First + int64(i); !q.within(seq) || !holds(lines[i], needles) {
			continue
		}
		if hashes == nil {
			hashes = p.hashes(lines)
		}
		s := Stored(p.First+int64(i), hashes[i], hashes[i+1], lines[i])
		if read++; q.Matches(&s.Event) {
			out = append(out, s)
		}
	}
	return out, read
}

// hashes returns what each event follows, and at the end the hash of the last.
func (p Packed) hashes(lines [][]byte) []Hash {
	out := make([]Hash, len(lines)+1)
	out[0] = p.Prev
	for i, line := range lines {
		out[i+1] = next(out[i], line)
	}
	out[len(lines)] = p.Hash
	return out
}

// within reports whether q's bounds of Seq allow seq.
func (q Query) within(seq int64) bool {
	if q.Forward() {
		return seq > q.After.N
	}
	return !q.Before.Given || seq < q.Before.N
}

// needles returns what the canonical form of an event that q asks for holds, as
// it is written there.
func (q Query) needles() (out [][]byte) {
	for _, text := range []string{q.Principal, strings.TrimSuffix(q.Repository, "/**"), q.RequestID} {
		b, err := json.Marshal(text)
		if err == nil && text != "" {
			out = append(out, b[1:len(b)-1]) // without quotation marks
		}
	}
	return out
}

func holds(text []byte, needles [][]byte) bool {
	for _, needle := range needles {
		if !bytes.Contains(text, needle) {
			return false
		}
	}
	return true
}
