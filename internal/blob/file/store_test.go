package file_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/blob/blobtest"
	"github.com/sallyport/sallyport/internal/blob/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opener gives every test a directory of its own, the same each time.
func opener() func(t *testing.T) blob.Store {
	var dirs sync.Map
	return func(t *testing.T) blob.Store {
		dir, known := dirs.Load(t)
		if !known {
			dir = t.TempDir()
			dirs.Store(t, dir)
			t.Cleanup(func() { dirs.Delete(t) })
		}
		return open(t, dir.(string))
	}
}

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.New(dir, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) { blobtest.Run(t, opener()) }

func FuzzStore(f *testing.F) {
	const write, breakOff, right, wrong, unstage, remove, restart = 0, 2, 3, 5, 6, 7, 8
	f.Add([]byte{write, 0, 200, write, 0, 3, right, 0, 0})
	f.Add([]byte{write, 0, 200, restart, 0, 0, write, 0, 3, right, 0, 0, write, 0, 1, right, 0, 1})
	f.Add([]byte{write, 1, 9, breakOff, 1, 77, wrong, 1, 0, right, 1, 1, remove, 0, 0, restart, 0, 0})
	f.Add([]byte{write, 2, 8, unstage, 2, 0, write, 2, 9, right, 2, 0, restart, 0, 0, write, 2, 9, right, 2, 0})
	open := opener()
	f.Fuzz(func(t *testing.T, script []byte) { blobtest.Sequence(t, open, script) })
}
