package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// D-06: TestPowerCut records the writes and flushes of pushes with strace, and for
// every prefix of the record builds the directory that a power cut would leave
// in the worst case: what was not flushed is gone. The server starts on it and
// must have everything it had acknowledged by then.
//
// Then it leaves out one kind of flush after another, as if its line were
// missing from the code, and each time something acknowledged must be lost: no
// flush is idle, and the test would notice a missing one.
func TestPowerCut(t *testing.T) {
	t.Run("pushes", func(t *testing.T) {
		dir := t.TempDir()
		s := newServer(t, serverOptions{Dir: dir, Plain: true})
		s.Stop() // from here on all that is on the disk is flushed
		powerCut(t, s, readTree(t, s.Data), []string{"blob data", "shard directory", "algorithm directory", "write-ahead log", "log's directory"})
	})
	// The directories and the database are new too.
	t.Run("first start", func(t *testing.T) {
		s := prepareServer(t, serverOptions{Dir: t.TempDir(), Plain: true})
		must(t, os.Mkdir(s.Data, 0o700))
		powerCut(t, s, readTree(t, s.Data), []string{"blob data", "shard directory", "algorithm directory", "write-ahead log", "log's directory", "blobs"})
	})
}

// powerCut records pushes to a server that starts on the tree before, and
// replays. Each of the kinds of flushes must be seen, and be needed.
func powerCut(t *testing.T, s *server, before *tree, needed []string) {
	trace := filepath.Join(s.Dir, "trace")
	s.wrap = []string{tool(t, "strace"), "-f", "-xx", "-s", "4000000", "-o", trace, "-e", "trace=" + tracedCalls}
	s.Start()
	p := &pusher{Base: s.Base(), Client: newPlainClient(), User: "admin", Password: adminPassword}
	for i := range 2 {
		config := fmt.Appendf(nil, `{"n":%d}`, i)
		layer := []byte(strings.Repeat(fmt.Sprintf("layer %d ", i), 9000))
		must(t, p.push("power/cut", fmt.Sprintf("v%d", i), config, layer))
	}
	must(t, p.push("power/cut", "v0", []byte(`{"moved":true}`)))
	killTraced(t, s)
	events := parseTrace(t, trace, s.Data)

	after := before.clone()
	for _, e := range events {
		after.apply(e)
	}
	if diff := after.compare(t, s.Data); diff != "" {
		t.Fatalf("the record does not lead to what is on the disk: %s", diff)
	}

	c := &cutter{t: t, before: before, events: events, p: p, seen: map[[32]byte]error{}}
	kinds, err := c.replay("")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events, %d flushes of kinds %v, %d different power cuts: nothing acknowledged was lost", len(events), c.flushes, kinds, len(c.seen))
	for _, kind := range needed {
		if !kinds[kind] {
			t.Errorf("no flush of the %s was recorded", kind)
		}
		if _, err := c.replay(kind); err == nil {
			t.Errorf("without the flush of the %s nothing is lost: it is idle, or this test is blind", kind)
		} else {
			t.Logf("without the flush of the %s: %v", kind, err)
		}
	}
}

// A cutter replays a record.
type cutter struct {
	t       *testing.T
	before  *tree
	events  []event
	p       *pusher
	flushes int
	seen    map[[32]byte]error // state and acknowledgements → outcome
}

// replay applies the events, leaving out flushes of the kind omit, and checks
// the worst case before each flush and at the end. It returns the kinds of
// flushes it saw before the last answer.
func (c *cutter) replay(omit string) (map[string]bool, error) {
	now := c.before.clone()
	kinds := map[string]bool{}
	var acked []string
	for _, e := range c.events {
		if e.op == opAck {
			acked = append(acked, e.path)
		}
		if e.op == opFlush {
			kind := now.kindOf(e)
			if len(acked) < c.acks() {
				kinds[kind] = true
			}
			if kind == omit {
				continue
			}
			if omit == "" {
				c.flushes++
			}
			if err := c.cut(now, acked); err != nil {
				return kinds, err
			}
		}
		now.apply(e)
	}
	return kinds, c.cut(now, acked)
}

func (c *cutter) acks() int {
	n := 0
	for _, e := range c.events {
		if e.op == opAck {
			n++
		}
	}
	return n
}

// cut starts a server on the worst case of now and looks for what was acknowledged.
func (c *cutter) cut(now *tree, acked []string) error {
	key := sha256.Sum256([]byte(now.durableText() + "\n" + strings.Join(acked, "\n")))
	if err, done := c.seen[key]; done {
		return err
	}
	dir, err := os.MkdirTemp("", "cut-")
	must(c.t, err)
	defer os.RemoveAll(dir)
	now.writeDurable(c.t, filepath.Join(dir, "data"))
	err = func() error {
		s := prepareServer(c.t, serverOptions{Dir: dir, Plain: true})
		if err := s.TryStart(); err != nil {
			return fmt.Errorf("after %d acknowledgements the next start fails: %w", len(acked), err)
		}
		defer s.Kill()
		p := &pusher{Base: s.Base(), Client: newPlainClient(), User: "admin", Password: adminPassword}
		defer p.Client.CloseIdleConnections()
		for _, path := range acked {
			status, _, body, err := p.do("GET", "power/cut", path, nil, nil)
			if err != nil {
				return err
			}
			want := path[strings.LastIndex(path, "/")+1:]
			if status != http.StatusOK || digestOf(body) != want {
				return fmt.Errorf("%s was acknowledged; after the power cut it is %d", path, status)
			}
		}
		return nil
	}()
	c.seen[key] = err
	return err
}

// killTraced kills the server under strace, and waits for strace to end.
func killTraced(t *testing.T, s *server) {
	t.Helper()
	s.stopped = true
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
	must(t, err)
	pid := strings.Fields(string(children))
	if len(pid) != 1 {
		t.Fatalf("strace has children %q", children)
	}
	run{}.ok(t, "kill", "-KILL", pid[0])
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		t.Fatal("strace did not end")
	}
}
