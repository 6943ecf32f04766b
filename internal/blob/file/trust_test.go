package file_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
)

// The running sum is trusted only for bytes that this process has written and
// that are still as many.
func TestRunningSum(t *testing.T) {
	longer := []byte(string(hello) + string(hello))
	flipped := []byte(string(hello))
	flipped[3] ^= 1
	for _, c := range []struct {
		name    string
		restart bool   // forgets the sums
		disk    []byte // what lies there when the upload is sealed
		want    []byte // whose digest Seal then accepts
	}{
		{"kept over requests", false, hello, hello},
		{"grew on disk", false, longer, longer},
		{"shrank on disk", false, hello[:5], hello[:5]},
		{"emptied on disk", false, nil, nil},
		{"read again after a restart", true, hello, hello},
		{"changed before a restart", true, flipped, flipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			write(t, s, "upload", hello[:4])
			write(t, s, "upload", hello[4:])
			if err := os.WriteFile(filepath.Join(dir, "uploads", "upload"), c.disk, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.restart {
				s = open(t, dir)
			}
			if err := seal(t, s, "upload", oci.FromBytes(c.want)); err != nil {
				t.Errorf("Seal: %v", err)
			}
		})
	}
}

// A name that a power cut left in uploads beside the blob's own must not lead
// into the blob.
func TestSecondName(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d := oci.FromBytes(hello)
	write(t, s, "upload", hello)
	if err := seal(t, s, "upload", d); err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(dir, "blobs", "sha256", d.Hex()[:2], d.Hex())
	if err := os.Link(sealed, filepath.Join(dir, "uploads", "upload")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	st, err := s.Stage(t.Context(), "upload")
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() != 0 {
		t.Errorf("the staging begins at %d bytes", st.Size())
	}
	_, err = st.Write([]byte("other"))
	if err := errors.Join(err, st.Close()); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(sealed); err != nil || string(got) != string(hello) {
		t.Errorf("the blob holds %q, %v", got, err)
	}
}

// D-12: a read does not verify. The client does, and what was pushed again is
// whole again.
func TestBitFlip(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d := oci.FromBytes(hello)
	write(t, s, "upload", hello)
	if err := seal(t, s, "upload", d); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "sha256", d.Hex()[:2], d.Hex())
	if err := os.WriteFile(path, []byte("hellO, world"), 0o600); err != nil {
		t.Fatal(err)
	}
	get := func() []byte {
		r, err := s.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if d.Matches(get()) {
		t.Error("the client cannot see the flipped bit")
	}
	write(t, s, "again", hello)
	if err := seal(t, s, "again", d); err != nil {
		t.Fatal(err)
	}
	if got := get(); !d.Matches(got) {
		t.Errorf("pushed again: %q", got)
	}
}
