package blobtest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// maxSteps bounds a sequence, since each seal costs real flushes.
const maxSteps = 24

// Sequence plays script, three bytes a step, on a store and on two maps that
// are the model of one, and fails where they differ. open is as in Run.
func Sequence(t *testing.T, open func(t *testing.T) blob.Store, script []byte) {
	m := &model{t: t, open: open, store: open(t), staged: map[string][]byte{}, sealed: map[oci.Digest][]byte{}}
	steps := []func(key string, arg byte){
		m.write, m.write, m.breakOff, m.sealRight, m.sealRight, m.sealWrong, m.unstage, m.delete, m.restart,
	}
	for n := 0; n < maxSteps && len(script) >= 3; n++ {
		step, key, arg := script[0], script[1], script[2]
		script = script[3:]
		steps[int(step)%len(steps)]([]string{"a", "b", "C_-9"}[int(key)%3], arg)
	}
	m.compare()
}

// A model is what a store ought to hold.
type model struct {
	t      *testing.T
	open   func(t *testing.T) blob.Store
	store  blob.Store
	staged map[string][]byte
	sealed map[oci.Digest][]byte
}

// stage opens key and compares what is there; the key exists from now on.
func (m *model) stage(key string) blob.Staging {
	m.t.Helper()
	st := stage(m.t, m.store, key)
	if st.Size() != int64(len(m.staged[key])) {
		m.t.Fatalf("staging %s has %d bytes, want %d", key, st.Size(), len(m.staged[key]))
	}
	m.staged[key] = append([]byte{}, m.staged[key]...)
	return st
}

func (m *model) write(key string, arg byte) {
	b := content(int(arg) * 300) // up to three buffers
	st := m.stage(key)
	var err error
	if arg%2 == 0 {
		_, err = st.Write(b)
	} else {
		_, err = st.ReadFrom(bytes.NewReader(b))
	}
	if err := errors.Join(err, st.Close()); err != nil {
		m.t.Fatalf("write %d bytes: %v", len(b), err)
	}
	m.staged[key] = append(m.staged[key], b...)
}

func (m *model) breakOff(key string, arg byte) {
	b := content(int(arg))
	st := m.stage(key)
	n, err := st.ReadFrom(io.MultiReader(bytes.NewReader(b), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if n != int64(len(b)) || !errors.Is(err, io.ErrUnexpectedEOF) {
		m.t.Fatalf("broken body: %d, %v", n, err)
	}
	if err := st.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.staged[key] = append(m.staged[key], b...)
}

func (m *model) sealRight(key string, arg byte) {
	st := m.stage(key)
	b := m.staged[key]
	d := digestOf([]string{oci.SHA256, oci.SHA512}[arg%2], b)
	if err := st.Seal(m.t.Context(), d); err != nil {
		m.t.Fatalf("Seal of %d bytes: %v", len(b), err)
	}
	delete(m.staged, key)
	m.sealed[d] = b
	wantBytes(m.t, m.store, d, b)
}

func (m *model) sealWrong(key string, arg byte) {
	st := m.stage(key)
	d := oci.FromBytes(append(bytes.Clone(m.staged[key]), arg))
	if err := st.Seal(m.t.Context(), d); !errors.Is(err, oci.DigestInvalid) {
		m.t.Fatalf("Seal as another digest: error %v, want %v", err, oci.DigestInvalid)
	}
	if err := st.Close(); err != nil {
		m.t.Fatal(err)
	}
	delete(m.staged, key)
}

func (m *model) unstage(key string, _ byte) {
	if err := m.store.Unstage(m.t.Context(), key); err != nil {
		m.t.Fatalf("Unstage: %v", err)
	}
	delete(m.staged, key)
}

func (m *model) delete(_ string, arg byte) {
	digests := slices.Sorted(maps.Keys(m.sealed))
	if len(digests) == 0 {
		return
	}
	d := digests[int(arg)%len(digests)]
	if err := m.store.Delete(m.t.Context(), d); err != nil {
		m.t.Fatalf("Delete: %v", err)
	}
	delete(m.sealed, d)
	wantUnknown(m.t, m.store, d)
}

func (m *model) restart(string, byte) {
	m.store = m.open(m.t)
	m.compare()
}

func (m *model) compare() {
	m.t.Helper()
	want := map[oci.Digest]int64{}
	for d, b := range m.sealed {
		want[d] = int64(len(b))
		wantBytes(m.t, m.store, d, b)
	}
	if got := sealed(m.t, m.store); !maps.Equal(got, want) {
		m.t.Errorf("All: %v, want %v", got, want)
	}
	if got, want := staged(m.t, m.store), slices.Sorted(maps.Keys(m.staged)); !slices.Equal(got, want) {
		m.t.Errorf("Staged: %q, want %q", got, want)
	}
}
