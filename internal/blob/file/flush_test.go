package file

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sallyport/sallyport/internal/oci"
)

// All who come while a flush runs share the next one, and none of them is
// content with the one that began before it came.
func TestFlushesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, finish := make(chan int), make(chan error)
		n := 0
		f := newFlusher(func(dir string) error {
			n++
			begun <- n
			return <-finish
		})
		broken := errors.New("disk on fire")
		var all sync.WaitGroup
		join := func(count int, want error) {
			for range count {
				all.Go(func() {
					if err := f.flush("dir"); !errors.Is(err, want) {
						t.Errorf("flush: error %v, want %v", err, want)
					}
				})
			}
			synctest.Wait()
		}
		join(1, nil)
		if got := <-begun; got != 1 {
			t.Fatalf("flush %d began", got)
		}
		join(15, broken) // while the first runs
		finish <- nil
		if got := <-begun; got != 2 {
			t.Fatalf("flush %d began", got)
		}
		join(10, nil) // while the second runs
		finish <- broken
		if got := <-begun; got != 3 {
			t.Fatalf("flush %d began", got)
		}
		finish <- nil
		all.Wait()
		if n != 3 || len(f.dirs) != 0 {
			t.Errorf("%d flushes for 26 callers, %d directories remembered", n, len(f.dirs))
		}
	})
}

// Directories do not wait for each other.
func TestFlushesOfTwoDirectories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		f := newFlusher(func(dir string) error {
			if dir == "slow" {
				<-finish
			}
			return nil
		})
		var all sync.WaitGroup
		all.Go(func() { f.flush("slow") })
		synctest.Wait()
		if err := f.flush("quick"); err != nil {
			t.Error(err)
		}
		close(finish)
		all.Wait()
	})
}

// recorder notes which directories a store flushes, and fails when told to.
type recorder struct {
	dirs []string
	err  error
}

func (r *recorder) watch(s *Store) {
	s.dirs = newFlusher(func(dir string) error {
		r.dirs = append(r.dirs, dir)
		return errors.Join(r.err, s.syncDir(dir))
	})
}

func (r *recorder) want(t *testing.T, what string, dirs ...string) {
	t.Helper()
	if !slices.Equal(r.dirs, dirs) {
		t.Errorf("%s flushed %q, want %q", what, r.dirs, dirs)
	}
	r.dirs = nil
}

func newStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := New(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func push(t *testing.T, s *Store, b []byte) error {
	t.Helper()
	st, err := s.Stage(t.Context(), "upload")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(b); err != nil {
		t.Fatal(err)
	}
	return errors.Join(st.Seal(t.Context(), oci.FromBytes(b)), st.Close())
}

// Every name that a push relies on is flushed after it was made: none missing,
// none twice.
func TestSealFlushes(t *testing.T) {
	shardOf := func(b []byte) string { return "blobs/sha256/" + oci.FromBytes(b).Hex()[:2] }
	first := []byte("first")
	second := []byte("second")
	for n := 0; shardOf(second) != shardOf(first); n++ {
		second = fmt.Append(nil, "second ", n)
	}
	dir := t.TempDir()
	s := newStore(t, dir)
	var r recorder
	r.watch(s)
	if err := push(t, s, first); err != nil {
		t.Fatal(err)
	}
	r.want(t, "the first blob of a shard", "blobs/sha256", shardOf(first))
	if err := push(t, s, second); err != nil {
		t.Fatal(err)
	}
	r.want(t, "the next blob of the shard", shardOf(first))
	if err := push(t, s, second); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a stored blob", shardOf(first))
	s = newStore(t, dir) // flushes what it finds
	r.watch(s)
	if err := push(t, s, second); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a blob after a restart", shardOf(first))
}

// A push whose flush failed is not acknowledged, and the next one does not
// believe that the shard was flushed.
func TestSealFailedFlush(t *testing.T) {
	s := newStore(t, t.TempDir())
	broken := errors.New("disk on fire")
	r := recorder{err: broken}
	r.watch(s)
	if err := push(t, s, []byte("first")); !errors.Is(err, broken) {
		t.Errorf("Seal: error %v, want %v", err, broken)
	}
	r.want(t, "a failed push", "blobs/sha256")
	r.err = nil
	if err := push(t, s, []byte("first")); err != nil {
		t.Errorf("push again: %v", err)
	}
	r.want(t, "the push after it", "blobs/sha256", "blobs/sha256/"+oci.FromBytes([]byte("first")).Hex()[:2])
}

// What has its lasting name is out of the staging's reach, also when the name
// could not be flushed: writing on would change a blob.
func TestSealFailedFlushLetsGo(t *testing.T) {
	s := newStore(t, t.TempDir())
	r := recorder{err: errors.New("disk on fire")}
	r.watch(s)
	st, err := s.Stage(t.Context(), "upload")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := st.Seal(t.Context(), oci.FromBytes([]byte("first"))); !errors.Is(err, r.err) || st.Size() != 0 {
		t.Errorf("Seal: error %v, size %d", err, st.Size())
	}
	if _, err := st.Write([]byte("more")); err == nil {
		t.Error("Write into the blob is allowed")
	}
}

// The table of running sums is bounded, and what it forgets is read again.
func TestSumsAreBounded(t *testing.T) {
	s := newStore(t, t.TempDir())
	s.sums = newSums(2)
	for round := range 2 {
		for i := range 5 {
			st, err := s.Stage(t.Context(), fmt.Sprint("upload-", i))
			if err != nil {
				t.Fatal(err)
			}
			_, err = fmt.Fprint(st, "part ", round, " ")
			if err := errors.Join(err, st.Close()); err != nil {
				t.Fatal(err)
			}
			if len(s.sums.of) > 2 {
				t.Fatalf("%d sums are kept", len(s.sums.of))
			}
		}
	}
	for i := range 5 {
		st, err := s.Stage(t.Context(), fmt.Sprint("upload-", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Seal(t.Context(), oci.FromBytes([]byte("part 0 part 1 "))); err != nil {
			t.Errorf("Seal: %v", err)
		}
	}
	if len(s.sums.of) != 0 || len(s.open) != 0 {
		t.Errorf("%d sums and %d claims are left", len(s.sums.of), len(s.open))
	}
}
