package ledger

import (
	"bytes"
	"context"
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

// Unpack returns the events of a Pack whose first has the number first and
// follows prev, and whose last has hash: those that q matches.
func Unpack(packed string, first int64, prev, hash Hash, q Query) []Sealed {
	var out []Sealed
	lines := strings.Split(packed, "\n")
	for i, line := range lines {
		canonical := []byte(line)
		h := next(prev, canonical)
		if i == len(lines)-1 {
			h = hash
		}
		// Reading is slow; most that do not match can be told without.
		if strings.Contains(line, q.Principal) && strings.Contains(line, strings.TrimSuffix(q.Repository, "/**")) && strings.Contains(line, q.RequestID) {
			s := Stored(first+int64(i), prev, h, canonical)
			if q.Matches(&s.Event) {
				out = append(out, s)
			}
		}
		prev = h
	}
	return out
}
