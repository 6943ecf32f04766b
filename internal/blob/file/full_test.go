//go:build linux

package file_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/oci"
)

// inChild runs the test again in a process of its own, with attr, and reports
// whether this is that process.
func inChild(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	const role = "SALLYPORT_TEST_CHILD"
	if os.Getenv(role) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), role+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true":
		t.Log("LEFT OUT: only root may mount the small file system that this test fills")
	case err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Errorf("child: %v\n%s", err, out)
	}
	return false
}

// tmpfs mounts a small file system that ends with this process.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount tmpfs with %s: %v", options, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// wantFull fails unless err is what a client hears of a full storage.
func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	if code, text := oci.CodeOf(err); code != oci.StorageFull || !strings.Contains(text, "storage is full") || strings.Contains(text, "/") {
		t.Errorf("%s: error %v, want %v and a text without paths", what, err, oci.StorageFull)
	}
}

func sizeOnDisk(t *testing.T, dir, key string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "uploads", key))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// refuse goes through a push that has no room, in a store where 8 MiB cannot be
// written but 1 MiB can.
func refuse(t *testing.T, dir string) {
	var log bytes.Buffer
	s, err := file.New(dir, file.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept := oci.FromBytes(hello)
	write(t, s, "kept", hello)
	if err := seal(t, s, "kept", kept); err != nil {
		t.Fatal(err)
	}

	part := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	st, err := s.Stage(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(part); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() (int64, error){
		"ReadFrom": func() (int64, error) { return st.ReadFrom(bytes.NewReader(make([]byte, 8<<20))) },
		"Write":    func() (int64, error) { n, err := st.Write(make([]byte, 8<<20)); return int64(n), err },
	} {
		n, err := try()
		wantFull(t, what, err)
		if n != 0 || st.Size() != int64(len(part)) || sizeOnDisk(t, dir, "large") != int64(len(part)) {
			t.Errorf("%s left %d bytes, size %d", what, n, st.Size())
		}
	}
	if !strings.Contains(log.String(), "storage is full") || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the operator hears %q", &log)
	}
	if r, err := s.Open(t.Context(), kept); err != nil {
		t.Errorf("pull while full: %v", err)
	} else if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, hello) {
		t.Errorf("pull while full: %q, %v", b, err)
	} else {
		r.Close()
	}

	// What was taken back is room for another, and this staging goes on.
	write(t, s, "other", part)
	if err := seal(t, s, "other", oci.FromBytes(part)); err != nil {
		t.Errorf("push of another: %v", err)
	}
	if _, err := st.Write(part); err != nil {
		t.Fatal(err)
	}
	if err := st.Seal(t.Context(), oci.FromBytes(append(bytes.Clone(part), part...))); err != nil {
		t.Errorf("Seal: %v", err)
	}

	fresh, err := s.Stage(t.Context(), "fresh")
	if err != nil {
		t.Fatal(err)
	}
	_, err = fresh.ReadFrom(bytes.NewReader(make([]byte, 8<<20)))
	wantFull(t, "ReadFrom into an empty staging", err)
	if _, err := fresh.Write(hello); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Seal(t.Context(), kept); err != nil {
		t.Errorf("Seal: %v", err)
	}
}

// D-07: a full device.
func TestStorageFull(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	dir := tmpfs(t, "size=2m")
	refuse(t, dir)

	s := open(t, dir)
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(filler, endless{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	wantFull(t, "Check", s.Check(t.Context()))
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(filler.Close(), s.Check(t.Context())); err != nil {
		t.Errorf("Check when there is room again: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// D-07: a limit that everybody meets without being root, on the size of a file.
func TestFileSizeLimit(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	refuse(t, t.TempDir())
}

// D-07: no inode is left, for an upload and for the directory of a blob.
func TestInodesExhausted(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	// The root, uploads, blobs and two algorithms take five.
	s := open(t, tmpfs(t, "nr_inodes=7"))
	write(t, s, "one", hello)
	write(t, s, "two", []byte("two"))
	for range 2 {
		_, err := s.Stage(t.Context(), "three")
		wantFull(t, "Stage", err)
	}
	wantFull(t, "Seal", seal(t, s, "one", oci.FromBytes(hello)))
	if err := s.Unstage(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	if err := seal(t, s, "one", oci.FromBytes(hello)); err != nil {
		t.Errorf("Seal when there is room again: %v", err)
	}
}

// D-08: a device that went read-only refuses with an error that is no client's
// business, and goes on to serve pulls.
func TestReadOnly(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	dir := tmpfs(t, "size=2m")
	s := open(t, dir)
	write(t, s, "kept", hello)
	if err := seal(t, s, "kept", oci.FromBytes(hello)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, stage := s.Stage(t.Context(), "more")
	for what, err := range map[string]error{
		"Stage": stage, "Delete": s.Delete(t.Context(), oci.FromBytes(hello)), "Check": s.Check(t.Context()),
	} {
		if code, _ := oci.CodeOf(err); !errors.Is(err, syscall.EROFS) || code != "" {
			t.Errorf("%s: error %v, want a plain EROFS", what, err)
		}
	}
	if r, err := s.Open(t.Context(), oci.FromBytes(hello)); err != nil {
		t.Errorf("Open: %v", err)
	} else {
		r.Close()
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	write(t, s, "more", []byte("more"))
	if err := errors.Join(seal(t, s, "more", oci.FromBytes([]byte("more"))), s.Check(t.Context())); err != nil {
		t.Errorf("writable again: %v", err)
	}
}
