package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

var pushes = []examination{
	{"sizes and algorithms (R-04)", testSizes},
	{"resumed over requests and restarts", testResume},
	{"wrong digest (R-03)", testWrongDigest},
	{"one staging per key (R-19)", testOneStaging},
	{"parallel seals of one digest (D-11)", testParallelSeal},
	{"sealed again", testSealedAgain},
	{"odd readers", testOddReaders},
	{"a broken body keeps its bytes", testBrokenBody},
	{"keys outside the grammar (R-01)", testKeys},
	{"an ended staging", testEnded},
	{"a cancelled seal keeps its bytes", testCancelledSeal},
	{"unstage", testUnstage},
	{"discard", testDiscard},
}

func testSizes(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	for _, size := range []int{0, 1, 4095, 32 << 10, 32<<10 + 1, 1 << 20, 20<<20 + 7} {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			t.Run(fmt.Sprintf("%d bytes %s", size, algorithm), func(t *testing.T) {
				b := content(size)
				d := digestOf(algorithm, b)
				wantUnknown(t, s, d)
				write(t, s, "sizes", b)
				wantUnknown(t, s, d)
				if err := seal(t, s, "sizes", d); err != nil {
					t.Fatalf("Seal: %v", err)
				}
				wantBytes(t, s, d, b)
			})
		}
	}
}

func testResume(t *testing.T, open func(*testing.T) blob.Store) {
	b := content(100_000)
	for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
		s := open(t)
		write(t, s, "resume", b[:10])
		write(t, s, "resume", b[10:40_000])
		s = open(t)
		if got := staged(t, s); len(got) != 1 || got[0] != "resume" {
			t.Errorf("staged after a restart: %q", got)
		}
		write(t, s, "resume", b[40_000:])
		write(t, s, "resume", nil)
		if err := seal(t, s, "resume", digestOf(algorithm, b)); err != nil {
			t.Fatalf("Seal %s: %v", algorithm, err)
		}
		wantBytes(t, open(t), digestOf(algorithm, b), b)
	}
}

func testWrongDigest(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(5000)
	for _, want := range []oci.Digest{
		oci.FromBytes(b[1:]),
		digestOf(oci.SHA512, b[1:]),
		"sha256:" + oci.Digest(digestOf(oci.SHA512, b).Hex()[:64]),
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha256:../../../../etc/passwd",
		"",
	} {
		write(t, s, "wrong", b)
		if err := seal(t, s, "wrong", want); !errors.Is(err, oci.DigestInvalid) {
			t.Errorf("Seal(%q): error %v, want %v", want, err, oci.DigestInvalid)
		}
		if got := staged(t, s); len(got) != 0 {
			t.Errorf("still staged after %q: %q", want, got)
		}
		st := stage(t, s, "wrong")
		if st.Size() != 0 {
			t.Errorf("%d bytes were not discarded", st.Size())
		}
		if err := errors.Join(st.Close(), s.Unstage(t.Context(), "wrong")); err != nil {
			t.Error(err)
		}
	}
	wantUnknown(t, s, oci.FromBytes(b))
	wantUnknown(t, s, oci.FromBytes(b[1:]))
	if got := sealed(t, s); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func testOneStaging(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	var all sync.WaitGroup
	got := make(chan blob.Staging, 16)
	for range cap(got) {
		all.Go(func() {
			st, err := s.Stage(t.Context(), "one")
			if err == nil {
				got <- st
			} else if !errors.Is(err, blob.ErrStaging) {
				t.Errorf("Stage: error %v, want ErrStaging", err)
			}
		})
	}
	all.Wait()
	if len(got) != 1 {
		t.Fatalf("%d of %d have the staging", len(got), cap(got))
	}
	st := <-got
	if err := s.Unstage(t.Context(), "one"); !errors.Is(err, blob.ErrStaging) {
		t.Errorf("Unstage of an open staging: error %v, want ErrStaging", err)
	}
	other := stage(t, s, "two")
	if err := errors.Join(other.Close(), st.Close()); err != nil {
		t.Error(err)
	}
	if err := stage(t, s, "one").Close(); err != nil {
		t.Error(err)
	}
}

func testParallelSeal(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(70_000)
	d := oci.FromBytes(b)
	stagings := make([]blob.Staging, 16)
	for i := range stagings {
		stagings[i] = stage(t, s, fmt.Sprint("parallel-", i))
		if _, err := stagings[i].Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, st := range stagings {
		all.Go(func() {
			if err := st.Seal(t.Context(), d); err != nil {
				t.Errorf("Seal: %v", err)
			}
			if got, err := read(t, s, d); err != nil || !bytes.Equal(got, b) {
				t.Errorf("read after Seal: %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	if got := sealed(t, s); len(got) != 1 || got[d] != int64(len(b)) {
		t.Errorf("stored: %v", got)
	}
	if got := staged(t, s); len(got) != 0 {
		t.Errorf("still staged: %q", got)
	}
}

func testSealedAgain(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(3000)
	d := push(t, s, "first", b)
	push(t, s, "second", b)
	wantBytes(t, s, d, b)

	write(t, s, "third", b)
	if err := s.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := seal(t, s, "third", d); err != nil {
		t.Fatalf("Seal after Delete: %v", err)
	}
	wantBytes(t, s, d, b)

	write(t, s, "fourth", b[1:])
	if err := seal(t, s, "fourth", d); !errors.Is(err, oci.DigestInvalid) {
		t.Errorf("other bytes under a stored digest: error %v, want %v", err, oci.DigestInvalid)
	}
	wantBytes(t, s, d, b)
}

func testOddReaders(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(40_000)
	for name, r := range map[string]io.Reader{
		"one-byte":   iotest.OneByteReader(bytes.NewReader(b)),
		"half":       iotest.HalfReader(bytes.NewReader(b)),
		"data-error": iotest.DataErrReader(bytes.NewReader(b)),
		"writer-to":  bytes.NewBuffer(bytes.Clone(b)),
	} {
		st := stage(t, s, name)
		if n, err := st.ReadFrom(r); err != nil || n != int64(len(b)) {
			t.Errorf("%s: ReadFrom = %d, %v", name, n, err)
		}
		if err := st.Seal(t.Context(), oci.FromBytes(b)); err != nil {
			t.Errorf("%s: Seal: %v", name, err)
		}
	}
	st := stage(t, s, "idle")
	defer st.Close()
	if _, err := st.ReadFrom(idle{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader without progress: error %v, want %v", err, io.ErrNoProgress)
	}
}

// idle never has anything to say.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func testBrokenBody(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(90_000)
	for _, cause := range []error{io.ErrUnexpectedEOF, context.Canceled, errors.New("connection reset")} {
		st := stage(t, s, "broken")
		n, err := st.ReadFrom(io.MultiReader(bytes.NewReader(b[:50_001]), iotest.ErrReader(cause)))
		if n != 50_001 || !errors.Is(err, cause) {
			t.Errorf("ReadFrom = %d, %v, want 50001, %v", n, err, cause)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if st = stage(t, s, "broken"); st.Size() != 50_001 {
			t.Errorf("%d bytes stayed, want 50001", st.Size())
		}
		if n, err := st.Write(b[50_001:]); err != nil || n != len(b)-50_001 {
			t.Errorf("Write = %d, %v", n, err)
		}
		if err := st.Seal(t.Context(), oci.FromBytes(b)); err != nil {
			t.Errorf("Seal: %v", err)
		}
	}
	wantBytes(t, s, oci.FromBytes(b), b)
}

func testKeys(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	for _, key := range []string{
		"", ".", "..", "../x", "a/b", "/etc/passwd", `a\b`, "a.b", ".check", "a\x00b", "a b", "a%2fb",
		"..%2f", "é", "a\n", strings.Repeat("a", 129),
	} {
		if st, err := s.Stage(t.Context(), key); err == nil {
			t.Errorf("Stage(%q) is allowed", key)
			st.Close()
		}
		if err := s.Unstage(t.Context(), key); err == nil {
			t.Errorf("Unstage(%q) is allowed", key)
		}
	}
	for _, key := range []string{"a", "-", "_", "AZaz09_-", strings.Repeat("k", 128)} {
		push(t, s, key, content(100))
	}
}

func testEnded(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(1000)
	st := stage(t, s, "ended")
	if _, err := st.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := st.Seal(t.Context(), oci.FromBytes(b)); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(b); err == nil {
		t.Error("Write after Seal is allowed")
	}
	if err := st.Seal(t.Context(), oci.FromBytes(b)); err == nil {
		t.Error("Seal after Seal is allowed")
	}
	second := stage(t, s, "ended") // the first must not let go of this one
	if err := errors.Join(st.Close(), st.Close()); err != nil {
		t.Errorf("Close after Seal: %v", err)
	}
	if _, err := s.Stage(t.Context(), "ended"); !errors.Is(err, blob.ErrStaging) {
		t.Errorf("Stage: error %v, want ErrStaging", err)
	}
	if second.Size() != 0 {
		t.Errorf("a sealed key goes on at %d bytes", second.Size())
	}
	if err := errors.Join(second.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	wantBytes(t, s, oci.FromBytes(b), b)
}

func testCancelledSeal(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(60_000)
	write(t, s, "cancelled", b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := stage(t, s, "cancelled")
	if err := st.Seal(ctx, oci.FromBytes(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("Seal: error %v, want %v", err, context.Canceled)
	}
	wantUnknown(t, s, oci.FromBytes(b))
	if _, err := st.Write(b[:1]); err != nil {
		t.Errorf("Write after it: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	b = append(b, b[0])
	if err := seal(t, s, "cancelled", oci.FromBytes(b)); err != nil {
		t.Errorf("Seal again: %v", err)
	}
	wantBytes(t, s, oci.FromBytes(b), b)
}

func testUnstage(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	write(t, s, "unstage", content(500))
	for range 2 {
		if err := s.Unstage(t.Context(), "unstage"); err != nil {
			t.Errorf("Unstage: %v", err)
		}
	}
	if got := staged(t, s); len(got) != 0 {
		t.Errorf("still staged: %q", got)
	}
	push(t, s, "unstage", content(600))
}

func testDiscard(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	b := content(500)
	write(t, s, "discard", b)
	st := stage(t, s, "discard")
	for range 2 {
		if err := st.Discard(t.Context()); err != nil {
			t.Errorf("Discard: %v", err)
		}
	}
	if got := staged(t, s); len(got) != 0 || st.Size() != 0 {
		t.Errorf("still staged: %q, size %d", got, st.Size())
	}
	if _, err := st.Write(b); err == nil {
		t.Error("Write after Discard is allowed")
	}
	if err := st.Seal(t.Context(), oci.FromBytes(b)); err == nil {
		t.Error("Seal after Discard is allowed")
	}
	if _, err := s.Stage(t.Context(), "discard"); !errors.Is(err, blob.ErrStaging) {
		t.Errorf("Stage before Close: error %v, want ErrStaging", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}

	write(t, s, "discard", b[1:])
	st = stage(t, s, "discard")
	d := oci.FromBytes(b[1:])
	if err := errors.Join(st.Seal(t.Context(), d), st.Discard(t.Context()), st.Close()); err != nil {
		t.Errorf("Discard after Seal: %v", err)
	}
	wantBytes(t, s, d, b[1:])
}
