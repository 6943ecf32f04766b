//go:build unix

package client

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

var errLink = errors.New("a symbolic link")

// openFile opens a file to read. It follows no link and waits for no pipe.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		err = errLink
	}
	return f, err
}

// open reports whether others may read or write the file.
func open(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
