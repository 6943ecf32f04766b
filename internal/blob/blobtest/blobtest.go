// Package blobtest owns what every blob.Store must pass.
package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// Run examines a backend. open returns an empty store for a test it has not
// seen; called again with the same t it opens what that test has stored anew,
// as a process does that was killed and started again.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, e := range slices.Concat(pushes, pulls, lists) {
		t.Run(e.name, func(t *testing.T) { e.run(t, open) })
	}
}

// An examination is one test of the suite.
type examination struct {
	name string
	run  func(t *testing.T, open func(t *testing.T) blob.Store)
}

// content returns n bytes that are the same for the same n.
func content(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	copy(seed[:], fmt.Sprint(n))
	rand.NewChaCha8(seed).Read(b)
	return b
}

// digestOf returns the digest of b.
func digestOf(algorithm string, b []byte) oci.Digest {
	h := oci.NewHash(algorithm)
	h.Write(b)
	return oci.DigestOf(algorithm, h)
}

func stage(t *testing.T, s blob.Store, key string) blob.Staging {
	t.Helper()
	st, err := s.Stage(t.Context(), key)
	if err != nil {
		t.Fatalf("Stage(%q): %v", key, err)
	}
	return st
}

// write appends b under key in a request of its own.
func write(t *testing.T, s blob.Store, key string, b []byte) {
	t.Helper()
	st := stage(t, s, key)
	before := st.Size()
	if n, err := st.ReadFrom(bytes.NewReader(b)); err != nil || n != int64(len(b)) {
		t.Fatalf("ReadFrom of %d bytes = %d, %v", len(b), n, err)
	}
	if got := st.Size(); got != before+int64(len(b)) {
		t.Fatalf("size is %d after %d and %d bytes", got, before, len(b))
	}
	if err := st.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// seal seals key as d in a request of its own.
func seal(t *testing.T, s blob.Store, key string, d oci.Digest) error {
	t.Helper()
	st := stage(t, s, key)
	err := st.Seal(t.Context(), d)
	if err := st.Close(); err != nil {
		t.Errorf("Close after Seal: %v", err)
	}
	return err
}

// push stores b under its sha256 digest.
func push(t *testing.T, s blob.Store, key string, b []byte) oci.Digest {
	t.Helper()
	d := oci.FromBytes(b)
	write(t, s, key, b)
	if err := seal(t, s, key, d); err != nil {
		t.Fatalf("Seal(%s): %v", d, err)
	}
	return d
}

// wantBytes fails unless d holds exactly want.
func wantBytes(t *testing.T, s blob.Store, d oci.Digest, want []byte) {
	t.Helper()
	got, err := read(t, s, d)
	if err != nil {
		t.Errorf("read %s: %v", d, err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes that are not the %d pushed", d, len(got), len(want))
	}
}

// wantUnknown fails if d can be opened.
func wantUnknown(t *testing.T, s blob.Store, d oci.Digest) {
	t.Helper()
	if _, err := read(t, s, d); !errors.Is(err, oci.BlobUnknown) {
		t.Errorf("open %s: error %v, want %v", d, err, oci.BlobUnknown)
	}
}

// read returns the bytes of d after checking that Size tells their number.
func read(t *testing.T, s blob.Store, d oci.Digest) ([]byte, error) {
	r, err := s.Open(t.Context(), d)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err == nil && r.Size() != int64(len(b)) {
		err = fmt.Errorf("size says %d of %d bytes", r.Size(), len(b))
	}
	return b, errors.Join(err, r.Close())
}

// staged returns the keys that s lists, sorted.
func staged(t *testing.T, s blob.Store) []string {
	t.Helper()
	keys := []string{}
	for info, err := range s.Staged(t.Context()) {
		if err != nil {
			t.Fatalf("Staged: %v", err)
		}
		if info.Modified.IsZero() {
			t.Errorf("staging %s has no time", info.Key)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// sealed returns digest and size of what s lists.
func sealed(t *testing.T, s blob.Store) map[oci.Digest]int64 {
	t.Helper()
	sizes := map[oci.Digest]int64{}
	for info, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatalf("All: %v", err)
		}
		if _, twice := sizes[info.Digest]; twice || info.Modified.IsZero() {
			t.Errorf("blob %s is listed twice or has no time", info.Digest)
		}
		sizes[info.Digest] = info.Size
	}
	return sizes
}
