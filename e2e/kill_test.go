package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// D-05: TestKill kills the server with SIGKILL at random moments under concurrent
// pushes. Each next start needs no repair, nothing acknowledged is lost, and no
// file differs from its digest.
func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { killLoop(t, "", 200, 120) })
	// A new server opens its connections to PostgreSQL first.
	t.Run("postgres", func(t *testing.T) { killLoop(t, metadatatest.Postgres(t), 30, 600) })
}

const killPushers = 4

// killLoop kills a server in each round, at some time within a window of
// milliseconds after it is ready.
func killLoop(t *testing.T, database string, rounds, window int) {
	const seed = 20261123
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, serverOptions{Database: database})
	p := &pusher{Base: "https://" + s.Host, Client: s.HTTP(), User: "admin", Password: adminPassword}
	acked := 0
	for round := range rounds {
		if round > 0 {
			if err := s.TryStart(); err != nil {
				t.Fatalf("round %d (seed %d): start after kill -9: %v", round, seed, err)
			}
		}
		p.forgetTokens()
		if err := p.check(); err != nil {
			t.Fatalf("round %d (seed %d): %v\n%s", round, seed, err, tail(s.Log()))
		}
		stop := time.Duration(10+random.IntN(window)) * time.Millisecond
		var wg sync.WaitGroup
		done := make(chan struct{})
		for i := range killPushers {
			content := rand.New(rand.NewPCG(seed, uint64(round*killPushers+i+1)))
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					// A layer that all push at once, and one of its own.
					shared := []byte(strings.Repeat(fmt.Sprint("shared ", round, n), 500))
					own := make([]byte, 1+content.IntN(100_000))
					for j := range own {
						own[j] = byte(content.Uint32())
					}
					if p.push(fmt.Sprintf("crash/repo%d", i%2), fmt.Sprintf("t%d", i), []byte(fmt.Sprintf(`{"round":%d,"n":%d,"who":%d}`, round, n, i)), shared, own) != nil {
						return // the server is gone
					}
				}
			})
		}
		time.Sleep(stop)
		s.Kill()
		close(done)
		wg.Wait()
		p.Client.CloseIdleConnections()
	}
	if err := s.TryStart(); err != nil {
		t.Fatal(err)
	}
	p.forgetTokens()
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	for name, images := range p.acked {
		acked += len(images)
		repo, _, _ := strings.Cut(name, ":")
		for _, im := range images[:min(len(images), 50)] {
			if err := p.checkImage(repo, im); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	files := checkFiles(t, s.Data)
	t.Logf("%d kills, %d acknowledged pushes, all there; %d blob files, each with its digest's bytes", rounds, acked, files)
	if acked < rounds/4 {
		t.Errorf("only %d pushes were acknowledged in %d rounds: the load is too light to prove anything", acked, rounds)
	}
}

// checkFiles compares every sealed blob with the digest it is stored under.
func checkFiles(t *testing.T, data string) int {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(filepath.Join(data, "blobs", "sha256"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		if digestOf(b) != "sha256:"+d.Name() {
			t.Errorf("%s holds bytes of %s", path, digestOf(b))
		}
		return nil
	}))
	return n
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// TestFullDisk: pushes fail with a clear error, pulls go on, and a push that
// failed gives its space back.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	must(t, os.Mkdir(data, 0o700))
	run{}.ok(t, "mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", data)
	t.Cleanup(func() { run{}.ok(t, "umount", data) })
	s := newServer(t, serverOptions{Dir: dir})
	t.Cleanup(s.Stop)
	p := &pusher{Base: "https://" + s.Host, Client: s.HTTP(), User: "admin", Password: adminPassword}
	must(t, p.push("full/first", "v1", []byte(`{}`), []byte("a layer that fits")))

	// The first part of an upload fits, the second does not.
	status, h, body, err := p.do("POST", "full/second", "/v2/full/second/blobs/uploads/", nil, nil)
	for _, size := range []int{20 << 20, 40 << 20} {
		if err != nil || status != http.StatusAccepted {
			t.Fatalf("status %d: %v %s", status, err, body)
		}
		status, h, body, err = p.do("PATCH", "full/second", h.Get("Location"), nil, make([]byte, size))
	}
	must(t, err)
	t.Logf("a push to a full disk: %d %s", status, body)
	if status != http.StatusInsufficientStorage || !strings.Contains(string(body), "full") {
		t.Errorf("a push to a full disk: %d %s", status, body)
	}
	must(t, p.check())
	if err := p.push("full/third", "v1", []byte(`{"n":3}`), make([]byte, 16<<20)); err != nil {
		t.Errorf("the push that failed did not give its space back: %v", err)
	}
	must(t, p.check())
}
