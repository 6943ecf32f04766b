package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// FuzzEvent: whatever is in an event, it is one line without control
// characters, that reads back equal (L-02).
func FuzzEvent(f *testing.F) {
	f.Add("login", "user:alice", "a\nb", "curl/8\x1b[31m", "\"}\r\n{\"seq\":2}", int64(0))
	f.Add("push", "\u202ereversed", "\xff\xfe", strings.Repeat("é", 300), "\u2028<&>", int64(1<<60))
	f.Fuzz(func(t *testing.T, kind, who, repo, agent, detail string, at int64) {
		e := ledger.Event{
			Time: time.UnixMicro(at), Kind: ledger.Kind(kind), Principal: who, Repository: repo, UserAgent: agent,
			Reason: detail, Groups: []string{who, repo}, Claims: map[string]string{who: agent}, Detail: map[string]string{detail: who, repo: kind},
		}
		s := ledger.Seal(ledger.Link{Seq: 41}, e)
		line := s.Line()
		if !utf8.Valid(line) || bytes.ContainsFunc(line, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) || len(line) > ledger.MaxLine {
			t.Fatalf("not one printable line: %q", line)
		}
		back, err := ledger.ParseLine(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want := e.Normal()
		want.Seq = 42
		if !back.Event.Equal(&want) || !bytes.Equal(back.Line(), line) {
			t.Errorf("%s reads back as %s", line, back.Line())
		}
		again := back.Event.Normal()
		if !again.Equal(&want) {
			t.Errorf("%s becomes another when it is made normal again", line)
		}
	})
}

func sealed(n int) []ledger.Sealed {
	var at ledger.Link
	out := make([]ledger.Sealed, n)
	for i := range out {
		out[i] = ledger.Seal(at, ledger.Event{
			Time: time.Unix(int64(i), 0), Kind: ledger.Push, Action: "create-tag", Decision: ledger.Allowed,
			Principal: "user:alice", Repository: "team/app", Tag: fmt.Sprint("v", i), Detail: map[string]string{"previous": "sha256:x"},
		})
		at = out[i].Link()
	}
	return out
}

// check verifies lines as an export between two known places.
func check(lines [][]byte, from, to ledger.Link) error {
	chain := ledger.From(from)
	for _, line := range lines {
		s, err := ledger.ParseLine(line)
		if err == nil {
			err = chain.Add(s)
		}
		if err != nil {
			return err
		}
	}
	return chain.EndsAt(to)
}

// FuzzTampered: L-05, any changed byte of any line is found.
func FuzzTampered(f *testing.F) {
	events := sealed(3)
	var whole []byte
	for _, s := range events {
		whole = append(append(whole, s.Line()...), '\n')
	}
	f.Add(uint(10), byte(1))
	f.Add(uint(len(whole)-3), byte(0x20))
	f.Fuzz(func(t *testing.T, at uint, flip byte) {
		if flip == 0 {
			return
		}
		b := bytes.Clone(whole)
		b[at%uint(len(b))] ^= flip
		lines := bytes.Split(bytes.TrimSuffix(b, []byte{'\n'}), []byte{'\n'})
		if err := check(lines, ledger.Link{}, events[2].Link()); !errors.Is(err, ledger.ErrBroken) {
			t.Errorf("byte %d changed by %#x is not found: %v", at%uint(len(b)), flip, err)
		}
	})
}

func TestChain(t *testing.T) {
	events := sealed(6)
	lines := func(order ...int) (out [][]byte) {
		for _, i := range order {
			out = append(out, events[i].Line())
		}
		return out
	}
	forged := ledger.Seal(events[2].Link(), ledger.Event{Principal: "user:mallory"})
	for _, c := range []struct {
		name  string
		lines [][]byte
		want  string // of the error; "" for none
	}{
		{"whole", lines(0, 1, 2, 3, 4, 5), ""},
		{"L-05 deleted", lines(0, 1, 3, 4, 5), "between event 2 and event 4, 1 are missing"},
		{"L-05 deleted at the beginning", lines(1, 2, 3, 4, 5), "between event 0 and event 2"},
		{"L-05 reordered", lines(0, 2, 1, 3, 4, 5), "between event 1 and event 3"},
		{"L-05 truncated", lines(0, 1, 2), "ends at event 3, and there was an event 6"},
		{"L-05 twice", lines(0, 1, 1, 2, 3, 4, 5), "comes after"},
		{"L-05 replaced", append(append(lines(0, 1, 2), forged.Line()), lines(4, 5)...), "event 5 does not follow event 4"},
		{"L-05 replaced at the end", append(lines(0, 1, 2, 3, 4), ledger.Seal(events[4].Link(), ledger.Event{}).Line()), "does not have the hash"},
		{"nothing", nil, "ends at event 0"},
		{"no event", [][]byte{[]byte(`{"seq":1}`)}, "not an event"},
		{"empty line", [][]byte{{}}, "not an event"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check(c.lines, ledger.Link{}, events[5].Link())
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ledger.ErrBroken) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	// An export may begin anywhere.
	var chain ledger.Chain
	for _, line := range lines(3, 4, 5) {
		s, err := ledger.ParseLine(line)
		if err == nil {
			err = chain.Add(s)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// A shelf keeps events in memory, and fails as it is told.
type shelf struct {
	mu     sync.Mutex
	err    error
	got    []ledger.Event
	calls  int
	closed chan struct{} // non-nil: Append waits for it
}

func (s *shelf) Append(_ context.Context, events []ledger.Event) error {
	if s.closed != nil {
		<-s.closed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.err == nil {
		s.got = append(s.got, events...)
	}
	return s.err
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func TestRecorder(t *testing.T) {
	s := &shelf{}
	r := ledger.NewRecorder(s, ledger.RecorderOptions{Every: time.Hour})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if err := r.Record(t.Context(), ledger.Event{Kind: ledger.Pull}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := r.Flush(t.Context()); err != nil || len(s.got) != 8000 {
		t.Fatalf("%d events, %v", len(s.got), err)
	}
	if s.calls > 100 {
		t.Errorf("%d transactions", s.calls)
	}
	if s.got[0].Time.IsZero() {
		t.Error("an event without time")
	}
	must(t, r.Record(t.Context(), ledger.Event{}))
	must(t, r.Close())
	must(t, r.Close())
	if len(s.got) != 8001 {
		t.Error("Close lost an event")
	}
	if err := r.Record(t.Context(), ledger.Event{}); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("after Close: %v", err)
	}
}

// TestRecorderFull: L-04 for what is no change: nothing is dropped. Who finds
// no room waits, and is refused when the wait ends.
func TestRecorderFull(t *testing.T) {
	s := &shelf{err: errors.New("disk full")}
	r := ledger.NewRecorder(s, ledger.RecorderOptions{Queue: 3, Every: time.Hour})
	for range 3 {
		must(t, r.Record(t.Context(), ledger.Event{}))
	}
	if r.Flush(t.Context()) == nil {
		t.Error("flushed to a shelf that fails")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Record(ctx, ledger.Event{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the fourth of three: %v", err)
	}
	done := make(chan error)
	go func() { done <- r.Record(t.Context(), ledger.Event{Kind: "late"}) }()
	s.fail(nil)
	must(t, r.Flush(t.Context()))
	must(t, <-done)
	must(t, r.Close())
	if len(s.got) != 4 || s.got[3].Kind != "late" {
		t.Errorf("%d events: %+v", len(s.got), s.got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSeal(b *testing.B) {
	e := sealed(1)[0].Event
	var at ledger.Link
	for b.Loop() {
		at = ledger.Seal(at, e).Link()
	}
}
