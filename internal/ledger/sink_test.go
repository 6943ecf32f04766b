package ledger_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

// A buffer is a log that many write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) log() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := ledger.OpenFile(path)
	must(t, err)
	events := sealed(6)
	sink := ledger.NewSink("file", f, slog.New(slog.DiscardHandler))
	sink.Take(events[:2])
	sink.Take(events[2:4])
	must(t, sink.Close())
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}
	// A rotation: the old file is left as it was.
	f, err = ledger.OpenFile(path)
	must(t, err)
	must(t, os.Rename(path, path+".1"))
	_, err = f.WriteEvents(events[4:])
	must(t, err)
	must(t, f.Close())
	chain := ledger.From(ledger.Link{})
	for _, name := range []string{path + ".1", path} {
		b, err := os.ReadFile(name)
		must(t, err)
		for line := range bytes.Lines(b) {
			s, err := ledger.ParseLine(bytes.TrimSuffix(line, []byte{'\n'}))
			must(t, err)
			must(t, chain.Add(s))
		}
	}
	if chain.At().Seq != 6 {
		t.Errorf("%d events", chain.At().Seq)
	}
	if _, err := ledger.OpenFile(filepath.Join(path, "below a file")); err == nil {
		t.Error("opened")
	}
}

// TestSyslog: what a server gets is as RFC 5424 says, and the event can be
// taken out of it.
func TestSyslog(t *testing.T) {
	form := regexp.MustCompile(`^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ sallyport \d+ push - (\{.*\})$`)
	check := func(t *testing.T, message string, want ledger.Sealed) {
		t.Helper()
		m := form.FindStringSubmatch(message)
		if m == nil || m[1] != "110" || m[2] != string(want.Line()) {
			t.Errorf("got %q", message)
		}
	}
	events := sealed(3)
	// L-02: what comes from outside begins no message of its own.
	hostile := events[0].Event
	hostile.Principal, hostile.UserAgent = "x\n<110>1 2026-01-01T00:00:00.000000Z h sallyport 1 push - {}", "y\r\n9 <110>1 \x1b[2J\x00"
	events[0] = ledger.Seal(ledger.Link{}, hostile)
	t.Run("tcp", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		s, err := ledger.NewSyslog("tcp:" + l.Addr().String())
		must(t, err)
		defer s.Close()
		if n, err := s.WriteEvents(events); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		conn, err := l.Accept()
		must(t, err)
		defer conn.Close()
		r := bufio.NewReader(conn)
		for _, want := range events {
			var n int
			_, err := fmt.Fscanf(r, "%d ", &n)
			must(t, err)
			message := make([]byte, n)
			_, err = io.ReadFull(r, message)
			must(t, err)
			check(t, string(message), want)
		}
	})
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			address, target := "127.0.0.1:0", ""
			if network == "unixgram" {
				address = filepath.Join(t.TempDir(), "log")
			}
			l, err := net.ListenPacket(network, address)
			must(t, err)
			defer l.Close()
			if target = "udp:" + l.LocalAddr().String(); network == "unixgram" {
				target = "unix:" + address
			}
			s, err := ledger.NewSyslog(target)
			must(t, err)
			defer s.Close()
			_, err = s.WriteEvents(events[:1])
			must(t, err)
			b := make([]byte, 64<<10)
			n, _, err := l.ReadFrom(b)
			must(t, err)
			check(t, string(b[:n]), events[0])
		})
	}
	for _, target := range []string{"", "unix:", "unix:log", "udp:host", "tcp:", "http://x", "udp:h:"} {
		if _, err := ledger.NewSyslog(target); err == nil {
			t.Errorf("%q is taken", target)
		}
	}
}

// A hanging writer writes nothing until it is let go.
type hanging struct {
	entered chan struct{}
	free    chan struct{}
	fail    bool
	got     []ledger.Sealed
}

func (h *hanging) WriteEvents(events []ledger.Sealed) (int, error) {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	<-h.free
	if h.fail {
		return 0, errors.New("gone")
	}
	h.got = append(h.got, events...)
	return len(events), nil
}

func (h *hanging) Close() error { return nil }

// TestSinkBlocked: a sink that hangs holds nobody up, and the log says what is
// missing there.
func TestSinkBlocked(t *testing.T) {
	h := &hanging{entered: make(chan struct{}, 1), free: make(chan struct{})}
	log := &buffer{}
	sink := ledger.NewSink("slow", h, log.log())
	events := sealed(1)
	sink.Take(events)
	<-h.entered
	for range 20_000 {
		sink.Take(events)
	}
	if !strings.Contains(log.String(), "does not keep up") {
		t.Errorf("the log says %q", log)
	}
	close(h.free)
	must(t, sink.Close())
	if !strings.Contains(log.String(), "are missing in a sink") || len(h.got) >= 20_000 || len(h.got) < 16_000 {
		t.Errorf("%d events arrived; the log says %q", len(h.got), log)
	}
}

// TestSinkStuck: a write that never ends does not keep the process from ending.
func TestSinkStuck(t *testing.T) {
	r, w := io.Pipe()
	log := &buffer{}
	sink := ledger.NewSink("stdout", ledger.Lines{W: w}, log.log())
	sink.Take(sealed(2))
	closed := make(chan error, 1)
	go func() { closed <- sink.Close() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(time.Minute):
		t.Error("Close waits for the write")
	}
	if s := log.String(); !strings.Contains(s, "hangs at the end") {
		t.Errorf("the log says %q", s)
	}
	must(t, r.Close()) // lets the write go
}

func TestSinkFails(t *testing.T) {
	h := &hanging{entered: make(chan struct{}, 1), free: make(chan struct{}), fail: true}
	close(h.free)
	log := &buffer{}
	sink := ledger.NewSink("broken", h, log.log())
	sink.Take(sealed(2))
	<-h.entered
	must(t, sink.Close())
	if s := log.String(); !strings.Contains(s, "an audit sink fails") || !strings.Contains(s, "did not reach") {
		t.Errorf("the log says %q", s)
	}
}
