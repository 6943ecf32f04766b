//go:build linux

package file_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sallyport/sallyport/internal/oci"
)

// free returns the bytes that are free in dir.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// D-07: uploads leave what the database beside them needs, and what was staged
// before can be finished and removed.
func TestReserve(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	const reserve = 640 << 10 // one part in a hundred
	dir := tmpfs(t, "size=64000k")
	s := open(t, dir)
	write(t, s, "before", hello)
	write(t, s, "empty", nil)

	// Many at once do not get past it, nor one at a time.
	var all sync.WaitGroup
	for _, key := range []string{"a", "b", "c", "d"} {
		st, err := s.Stage(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			_, err := st.ReadFrom(endless{})
			wantFull(t, "ReadFrom", err)
			if left := free(t, dir); left < reserve-4*(32<<10) {
				t.Errorf("%d bytes are left", left)
			}
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()

	// Others fill the volume up to the reserve.
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if _, err := io.CopyN(filler, endless{}, free(t, dir)-reserve+4096); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"new", "empty"} {
		_, err := s.Stage(t.Context(), key)
		wantFull(t, "Stage "+key, err)
	}
	st, err := s.Stage(t.Context(), "before")
	if err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string]int{"a little": 1, "much": 5 << 20} {
		for what2, try := range map[string]func() error{
			"Write":    func() error { _, err := st.Write(make([]byte, n)); return err },
			"ReadFrom": func() error { _, err := st.ReadFrom(bytes.NewReader(make([]byte, n))); return err },
		} {
			wantFull(t, what2+" "+what, try())
		}
	}
	if err := st.Seal(t.Context(), oci.FromBytes(hello)); err != nil {
		t.Errorf("Seal: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	for _, key := range []string{"a", "b", "c", "d", "new", "empty"} {
		if err := s.Unstage(t.Context(), key); err != nil {
			t.Errorf("Unstage: %v", err)
		}
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	write(t, s, "new", make([]byte, 1<<20))
}

// D-07: a write that cannot be taken back is refused for the same reason, and
// nothing more is written.
func TestFullAndNotTakenBack(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	dir := tmpfs(t, "size=2m")
	s := open(t, dir)
	st, err := s.Stage(t.Context(), "upload")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "uploads", "upload")
	if err := setFlags(path, appendOnly); errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EOPNOTSUPP) {
		t.Log("LEFT OUT: this kernel's tmpfs has no append-only files")
		return
	} else if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := st.ReadFrom(bytes.NewReader(make([]byte, 8<<20)))
		if wantFull(t, "ReadFrom", err); st.Size() == 0 {
			t.Error("the staging seems to be empty")
		}
	}
	if err := setFlags(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(hello); err == nil {
		t.Error("Write behind a torn one is allowed")
	}
	if err := errors.Join(st.Discard(t.Context()), st.Close()); err != nil {
		t.Error(err)
	}
	write(t, s, "other", make([]byte, 1<<20))
}

const appendOnly = 0x20 // FS_APPEND_FL: cannot be truncated either

// setFlags sets the flags that chattr(1) does.
func setFlags(path string, flags int) error {
	const setFlags = 0x40086602 // FS_IOC_SETFLAGS
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), setFlags, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return errno
	}
	return nil
}
