package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

var pulls = []examination{
	{"absent blobs", testAbsent},
	{"digests outside the grammar (R-01)", testDigests},
	{"seeking", testSeek},
	{"pull during delete and push (D-11)", testPullDelete},
	{"pushes, pulls and deletes at once (D-11)", testAtOnce},
	{"check", testCheck},
}

func testAbsent(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
		d := digestOf(algorithm, content(77))
		wantUnknown(t, s, d)
		if err := s.Delete(t.Context(), d); err != nil {
			t.Errorf("Delete of %s: %v", d, err)
		}
	}
	d := push(t, s, "here", content(77))
	for range 2 {
		if err := s.Delete(t.Context(), d); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantUnknown(t, s, d)
	}
}

func testDigests(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	good := push(t, s, "good", content(10))
	for _, d := range []oci.Digest{
		"", ":", "sha256:", "sha256", "sha256:../" + good[7:], good[:70], good + "0",
		"sha256/../" + good, "sha256:" + oci.Digest(bytes.ToUpper([]byte(good.Hex()))),
		"md5:d41d8cd98f00b204e9800998ecf8427e", "sha512:" + good[7:], good[:70] + "\x00",
	} {
		if r, err := s.Open(t.Context(), d); err == nil {
			t.Errorf("Open(%q) is allowed", d)
			r.Close()
		}
		if err := s.Delete(t.Context(), d); err == nil {
			t.Errorf("Delete(%q) is allowed", d)
		}
	}
	wantBytes(t, s, good, content(10))
}

func testSeek(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(10_000)
	r, err := s.Open(t.Context(), push(t, s, "seek", b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		offset int64
		whence int
		at     int64
	}{
		{0, io.SeekEnd, 10_000}, {0, io.SeekStart, 0}, {9000, io.SeekStart, 9000},
		{-9000, io.SeekCurrent, 0}, {-1, io.SeekEnd, 9999}, {20_000, io.SeekStart, 20_000}, {5, io.SeekStart, 5},
	} {
		at, err := r.Seek(c.offset, c.whence)
		if err != nil || at != c.at {
			t.Fatalf("Seek(%d, %d) = %d, %v, want %d", c.offset, c.whence, at, err, c.at)
		}
		want := b[min(at, 10_000):]
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes at %d, %v", len(got), at, err)
		}
		if back, err := r.Seek(-int64(len(got)), io.SeekCurrent); err != nil || back != at {
			t.Fatalf("seek back: %d, %v, want %d", back, err, at)
		}
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start is allowed")
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, b); err != nil {
		t.Error(err)
	}
}

func testPullDelete(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(3 << 20)
	d := push(t, s, "pull", b)
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(b))
	if _, err := io.ReadFull(r, got[:1000]); err != nil {
		t.Fatal(err)
	}
	push(t, s, "pull", b)
	if err := s.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, got[1000:]); err != nil || !bytes.Equal(got, b) {
		t.Errorf("a pull that had begun: %v", err)
	}
	wantUnknown(t, s, d)
}

// testAtOnce lets everything happen to few digests: what can be opened is
// always whole and right.
func testAtOnce(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	blobs := make([][]byte, 3)
	for i := range blobs {
		blobs[i] = content(50_000 + i)
	}
	var all sync.WaitGroup
	for worker := range 6 {
		all.Go(func() {
			for turn := range 15 {
				b := blobs[(worker+turn)%len(blobs)]
				d := oci.FromBytes(b)
				switch worker % 3 {
				case 0, 1:
					st, err := s.Stage(t.Context(), fmt.Sprintf("at-once-%d-%d", worker, turn))
					if err != nil {
						t.Errorf("Stage: %v", err)
						return
					}
					_, err = st.ReadFrom(bytes.NewReader(b))
					if err := errors.Join(err, st.Seal(t.Context(), d)); err != nil {
						t.Errorf("push: %v", err)
					}
				case 2:
					if err := s.Delete(t.Context(), d); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
				got, err := read(t, s, d)
				if !errors.Is(err, oci.BlobUnknown) && (err != nil || !bytes.Equal(got, b)) {
					t.Errorf("torn read of %s: %d bytes, %v", d, len(got), err)
				}
			}
		})
	}
	all.Wait()
	if got := staged(t, s); len(got) != 0 {
		t.Errorf("still staged: %q", got)
	}
	for _, b := range blobs {
		push(t, s, "at-once", b)
		wantBytes(t, s, oci.FromBytes(b), b)
	}
	if got := sealed(t, s); len(got) != len(blobs) {
		t.Errorf("stored: %v", got)
	}
}

func testCheck(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	write(t, s, "kept", content(5))
	push(t, s, "check", content(6))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
	all.Wait()
	if got := staged(t, s); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("staged after checks: %q", got)
	}
	if got := sealed(t, s); len(got) != 1 {
		t.Errorf("stored after checks: %v", got)
	}
}
