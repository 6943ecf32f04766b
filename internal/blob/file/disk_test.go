package file_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/oci"
)

var hello = []byte("hello, world")

// write puts b under key in a request of its own.
func write(t *testing.T, s *file.Store, key string, b []byte) {
	t.Helper()
	st, err := s.Stage(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.ReadFrom(bytes.NewReader(b))
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
}

func seal(t *testing.T, s *file.Store, key string, d oci.Digest) error {
	t.Helper()
	st, err := s.Stage(t.Context(), key)
	if err != nil {
		return err
	}
	return errors.Join(st.Seal(t.Context(), d), st.Close())
}

// tree returns the mode of everything in dir.
func tree(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		modes[name] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return modes
}

// modes are 0700 and 0600 under every umask, and the layout is as drawn.
func TestModes(t *testing.T) {
	d := oci.FromBytes(hello)
	const dir, reg = fs.ModeDir | 0o700, fs.FileMode(0o600)
	want := map[string]fs.FileMode{
		".": dir, "uploads": dir, "blobs": dir, "blobs/sha256": dir, "blobs/sha512": dir,
		"blobs/sha256/" + d.Hex()[:2]: dir, "blobs/sha256/" + d.Hex()[:2] + "/" + d.Hex(): reg,
		"uploads/going-on": reg,
	}
	for _, umask := range []int{0, 0o022, 0o077, 0o277} {
		func() {
			top := filepath.Join(t.TempDir(), "new", "data")
			defer syscall.Umask(syscall.Umask(umask))
			s := open(t, top)
			write(t, s, "upload", hello)
			write(t, s, "going-on", hello)
			if err := seal(t, s, "upload", d); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if got := tree(t, top); !maps.Equal(got, want) {
				t.Errorf("umask %03o: %v, want %v", umask, got, want)
			}
			if got := tree(t, filepath.Dir(top))["."]; got != dir {
				t.Errorf("umask %03o: a parent that was made has mode %v", umask, got)
			}
		}()
	}
}

// what others may enter is closed.
func TestClosesOpenDirectories(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	for name := range tree(t, dir) {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
	for name, mode := range tree(t, dir) {
		if mode.Perm() != 0o700 {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
}

func TestNewErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
	}{
		{"a file is in its place", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		{"a file is in the place of a parent", func(dir string) error { return os.WriteFile(filepath.Dir(dir), nil, 0o600) }},
		{"uploads is a file", func(dir string) error { return os.WriteFile(filepath.Join(mkdir(dir), "uploads"), nil, 0o600) }},
		{"R-01 blobs is a link that leaves", func(dir string) error { return os.Symlink(os.TempDir(), filepath.Join(mkdir(dir), "blobs")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "data")
			if !strings.Contains(c.name, "parent") {
				mkdir(filepath.Dir(dir))
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if s, err := file.New(dir, file.Options{}); err == nil {
				t.Errorf("New is allowed: %v", s.Close())
			} else if !strings.Contains(err.Error(), dir) {
				t.Errorf("the error names no directory: %v", err)
			}
		})
	}
}

// mkdir makes dir, or leaves it to the next step to fail.
func mkdir(dir string) string {
	_ = os.MkdirAll(dir, 0o700)
	return dir
}

// whatever lies in the directory, nothing outside is read or written.
func TestLinksOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, hello, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	d := oci.FromBytes(hello)
	notFile := d[:len(d)-4] + "0000"
	shard := filepath.Join(dir, "blobs", "sha256", d.Hex()[:2])
	if err := errors.Join(
		os.Mkdir(shard, 0o700), os.Symlink(outside, filepath.Join(shard, d.Hex())),
		os.Symlink(outside, filepath.Join(dir, "uploads", "link")),
		os.Mkdir(filepath.Join(dir, "uploads", "directory"), 0o700),
		os.Mkdir(filepath.Join(shard, notFile.Hex()), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	for _, d := range []oci.Digest{d, notFile} {
		if r, err := s.Open(t.Context(), d); err == nil {
			t.Errorf("what is no file is opened: %v", r.Close())
		}
	}
	for _, key := range []string{"link", "directory"} {
		for range 2 { // the claim is released
			if st, err := s.Stage(t.Context(), key); err == nil || errors.Is(err, blob.ErrStaging) {
				t.Errorf("Stage(%q): %v, %v", key, st, err)
			}
		}
	}
	for info, err := range s.All(t.Context()) {
		t.Errorf("All: %v, %v", info, err)
	}
	for info, err := range s.Staged(t.Context()) {
		t.Errorf("Staged: %v, %v", info, err)
	}
	write(t, s, "upload", hello)
	if err := seal(t, s, "upload", d); err != nil { // over the link
		t.Error(err)
	}
	if r, err := s.Open(t.Context(), d); err != nil || r.Size() != int64(len(hello)) {
		t.Errorf("Open: %v", err)
	} else if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(outside); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("outside: %q, %v", got, err)
	}
}

// What a crash or a person left needs no repair and is not taken for ours.
func TestStrangers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d := oci.FromBytes(hello)
	write(t, s, "upload", hello)
	if err := seal(t, s, "upload", d); err != nil {
		t.Fatal(err)
	}
	shard := filepath.Join(dir, "blobs", "sha256", d.Hex()[:2])
	other := "00" + d.Hex()[2:]
	for _, name := range []string{
		filepath.Join(dir, "uploads", ".check"), filepath.Join(dir, "blobs", ".check"),
		filepath.Join(dir, "uploads", "a.tmp"), filepath.Join(dir, "blobs", "sha256", "stray"),
		filepath.Join(shard, "stray"), filepath.Join(shard, other), filepath.Join(shard, d.Hex()+"~"),
	} {
		if err := os.WriteFile(name, []byte("left over"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "uploads", "lost-and-found"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	var got []oci.Digest
	for info, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Digest)
	}
	if !slices.Equal(got, []oci.Digest{d}) {
		t.Errorf("All: %q", got)
	}
	for info, err := range s.Staged(t.Context()) {
		t.Errorf("Staged: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", ".check")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check left its file: %v", err)
	}
}

// D-08: readiness sees a directory that is gone.
func TestCheckMissing(t *testing.T) {
	for _, name := range []string{"uploads", "blobs", "blobs/sha256", "blobs/sha512"} {
		dir := t.TempDir()
		s := open(t, dir)
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
