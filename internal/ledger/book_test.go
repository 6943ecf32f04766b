package ledger_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

func packed(events []ledger.Sealed) ledger.Packed {
	return ledger.Packed{Text: []byte(ledger.Pack(events)), First: events[0].Seq, Prev: events[0].Prev, Hash: events[len(events)-1].Hash}
}

func TestPack(t *testing.T) {
	events := sealed(5)
	p := packed(events)
	forward, none := ledger.Seq{Given: true}, ledger.Seq{}
	for _, c := range []struct {
		q    ledger.Query
		want []int64
		read int
	}{
		{ledger.Query{After: forward, Limit: 9}, []int64{1, 2, 3, 4, 5}, 5},
		{ledger.Query{After: forward, Limit: 2}, []int64{1, 2}, 2},
		{ledger.Query{After: ledger.Seq{N: 3, Given: true}, Limit: 9}, []int64{4, 5}, 2},
		{ledger.Query{Before: none, Limit: 9}, []int64{5, 4, 3, 2, 1}, 5},
		{ledger.Query{Before: none, Limit: 1}, []int64{5}, 1},
		{ledger.Query{Before: ledger.Seq{N: 3, Given: true}, Limit: 1}, []int64{2}, 1},
		{ledger.Query{Principal: "user:bob", Limit: 9}, nil, 0},
		{ledger.Query{Principal: "alice", Limit: 9}, nil, 5},
		{ledger.Query{Until: time.Unix(1, 0), Limit: 9}, []int64{1}, 5},
	} {
		got, read := p.Unpack(c.q)
		if len(got) != len(c.want) || read != c.read {
			t.Errorf("%+v: %d events, %d read; want %d and %d", c.q, len(got), read, len(c.want), c.read)
			continue
		}
		for i, s := range got {
			if want := events[c.want[i]-1]; !bytes.Equal(s.Line(), want.Line()) {
				t.Errorf("%+v: %s, want %s", c.q, s.Line(), want.Line())
			}
		}
	}
}

// TestPackedNames: events of names that JSON escapes are found as others are.
func TestPackedNames(t *testing.T) {
	var events []ledger.Sealed
	var at ledger.Link
	names := []string{"user:a", "external:r&d (i)", "external:<x> (i)", `external:"x" (i)`, `external:d\x (i)`, "external:é\u2028\x01 (i)", "external:\xff (i)"}
	for _, name := range names {
		s := ledger.Seal(at, ledger.Event{Kind: ledger.Pull, Decision: ledger.Allowed, Principal: name, Repository: "r", RequestID: name})
		events, at = append(events, s), s.Link()
	}
	for i := range names {
		name := events[i].Principal
		for what, q := range map[string]ledger.Query{"principal": {Principal: name, Limit: 9}, "request": {RequestID: name, Limit: 9}} {
			if got, _ := packed(events).Unpack(q); len(got) != 1 || got[0].Seq != events[i].Seq {
				t.Errorf("%s %s: %s", what, name, fmt.Sprint(got))
			}
		}
	}
}
