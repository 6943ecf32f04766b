package client

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

var errLink = errors.New("a symbolic link")

func openFile(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, errLink
	}
	return os.Open(path)
}

// open reports nothing: modes do not say here who may read. The profile that the
// file is in is its user's alone, and its secrets are in the Credential Manager.
func open(fs.FileInfo) bool { return false }

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const all = ^uint32(0)
	if err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, all, all, &windows.Overlapped{}); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
