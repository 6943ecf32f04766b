package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

// told returns how many events the shelf has, and how many they tell of.
func (s *shelf) told(t *testing.T) (events, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.got {
		n := 1
		if text := e.Detail["count"]; text != "" {
			var err error
			n, err = strconv.Atoi(text)
			must(t, err)
		}
		events, of = events+1, of+n
	}
	return events, of
}

var unproven = []ledger.Event{
	{Kind: ledger.Token, Action: "present", Decision: ledger.Denied, Reason: ledger.BadToken, Principal: "anonymous"},
	{Kind: ledger.Token, Action: "issue", Decision: ledger.Allowed, Principal: "anonymous", Detail: map[string]string{"scope": "x"}},
	{Kind: ledger.Token, Action: "issue", Decision: ledger.Failed, Reason: "no", Principal: "anonymous"},
	{Kind: ledger.Login, Action: "login", Decision: ledger.Denied, Reason: ledger.BadProof, Principal: "user:alice", Method: "password"},
	{Kind: ledger.Login, Action: "login", Decision: ledger.Denied, Reason: ledger.TooManyTries, Principal: "user:bob", Method: "password"},
	{Kind: ledger.Login, Action: "login", Decision: ledger.Denied, Reason: ledger.Revoked, Principal: "robot:ci", Method: "key", Credential: "k1"},
	{Kind: ledger.Password, Action: "redeem", Decision: ledger.Denied, Reason: ledger.BadProof, Principal: "anonymous"},
}

// TestTally: who has proved nothing leaves a bounded number of events, which
// tell of each request.
func TestTally(t *testing.T) {
	start := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		address  func(i int) string
		most     int
		alone    int // how many of the first are events of their own
		reported string
	}{
		{"one address", func(int) string { return "192.0.2.1" }, 100 + 7, 100, "192.0.2.1"},
		{"one IPv6 network", func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, 100 + 7, 100, "2001:db8::/64"},
		{"nowhere", func(int) string { return "" }, 100 + 7, 100, ""},
		{"10,000 networks", func(i int) string { return fmt.Sprintf("10.1.%d.%d", i>>8, i&255) }, 2000 + 256 + 7, 2000, ""},
		{"40 networks", func(i int) string { return fmt.Sprintf("10.1.1.%d", i%40) }, 2000 + 40*7, 2000, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &shelf{}
			r := ledger.NewRecorder(s, ledger.RecorderOptions{Now: func() time.Time { return start }})
			for i := range 10_000 {
				e := unproven[(i/40)%len(unproven)]
				e.Address, e.RequestID, e.UserAgent = c.address(i), fmt.Sprint("r", i), "curl"
				must(t, r.Record(t.Context(), e))
				if i%1000 == 0 { // the owner is not counted among them
					must(t, r.Record(t.Context(), ledger.Event{Kind: ledger.Login, Action: "login", Decision: ledger.Allowed, Principal: "user:alice", Address: e.Address}))
				}
			}
			must(t, r.Close())
			events, of := s.told(t)
			if of != 10_000+10 || events > c.most+10 {
				t.Errorf("%d events tell of %d requests; want at most %d of %d", events, of, c.most+10, 10_010)
			}
			alone, owner := 0, 0
			for _, e := range s.got {
				switch {
				case e.Kind == ledger.Login && e.Decision == ledger.Allowed:
					owner++
				case e.Detail["count"] == "":
					alone++
				default:
					if c.reported != "" && e.Address != c.reported || e.RequestID != "" || e.Detail["from"] != "2026-11-25T08:00:00Z" || e.UserAgent != "curl" {
						t.Errorf("%+v", e)
					}
					if e.Reason == ledger.Revoked && e.Address != "" && (e.Principal != "robot:ci" || e.Credential != "k1") {
						t.Errorf("a known key is not named: %+v", e)
					}
				}
			}
			if owner != 10 || alone < c.alone {
				t.Errorf("%d events of the owner, %d of others by themselves, want 10 and %d", owner, alone, c.alone)
			}
		})
	}
}

// TestTallyMixed: what is not the same in all of the events that are counted is
// not said of them.
func TestTallyMixed(t *testing.T) {
	s := &shelf{}
	r := ledger.NewRecorder(s, ledger.RecorderOptions{Now: func() time.Time { return time.Unix(1, 0) }})
	for i := range 1000 {
		e := unproven[3]
		e.Principal, e.Address, e.UserAgent = fmt.Sprint("user:u", i), "192.0.2.1", fmt.Sprint("agent ", i)
		must(t, r.Record(t.Context(), e))
	}
	must(t, r.Close())
	last := s.got[len(s.got)-1]
	if len(s.got) != 101 || last.Principal != "anonymous" || last.UserAgent != "" || last.Method != "password" || last.Detail["count"] != "900" {
		t.Errorf("%d events, the last is %+v", len(s.got), last)
	}
}

// TestTallyRefills: with time a network has events of its own again.
func TestTallyRefills(t *testing.T) {
	s := &shelf{}
	now := time.Unix(1, 0)
	r := ledger.NewRecorder(s, ledger.RecorderOptions{Now: func() time.Time { return now }})
	ask := func(n int) {
		for range n {
			e := unproven[0]
			e.Address = "192.0.2.1"
			must(t, r.Record(t.Context(), e))
		}
		must(t, r.Flush(t.Context()))
	}
	for _, c := range []struct {
		pass     time.Duration
		ask, own int
	}{{0, 200, 100}, {10 * time.Second, 50, 110}, {time.Hour, 200, 210}} {
		now = now.Add(c.pass)
		ask(c.ask)
		if events, _ := s.told(t); events != c.own {
			t.Errorf("after %s: %d events, want %d", c.pass, events, c.own)
		}
	}
	must(t, r.Close())
	if events, of := s.told(t); events != 211 || of != 450 {
		t.Errorf("%d events of %d", events, of)
	}
}

// TestTallyIsTold: counts are written while the process runs.
func TestTallyIsTold(t *testing.T) {
	s := &shelf{}
	r := ledger.NewRecorder(s, ledger.RecorderOptions{CountEvery: time.Millisecond, Every: time.Millisecond})
	defer r.Close()
	for range 500 {
		must(t, r.Record(t.Context(), unproven[0]))
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, of := s.told(t); of == 500 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the counts were not written")
		}
	}
}

// TestTallyNeverWaits: where events cannot be written, those of clients that
// have proved nothing leave room for others, and are told once they can.
func TestTallyNeverWaits(t *testing.T) {
	s := &shelf{}
	s.fail(errors.New("no space"))
	r := ledger.NewRecorder(s, ledger.RecorderOptions{Queue: 40})
	for i := range 5000 {
		e := unproven[0]
		e.Address = fmt.Sprintf("10.1.%d.%d", i>>8, i&255)
		must(t, r.Record(t.Context(), e))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20 {
		must(t, r.Record(ctx, ledger.Event{Kind: ledger.Login, Decision: ledger.Allowed, Principal: "user:alice"}))
	}
	s.fail(nil)
	must(t, r.Close())
	if events, of := s.told(t); of != 5020 || events > 20+20+256+1 {
		t.Errorf("%d events of %d", events, of)
	}
}

func BenchmarkTally(b *testing.B) {
	r := ledger.NewRecorder(&shelf{}, ledger.RecorderOptions{})
	defer r.Close()
	e := unproven[0]
	e.Address, e.RequestID, e.UserAgent = "192.0.2.1", "0e89aecc4a0a719a033bb8990930f2ec", "curl/8.5.0"
	for b.Loop() {
		if err := r.Record(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
