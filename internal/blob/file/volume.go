//go:build linux

package file

import (
	"math"
	"os"
	"syscall"
)

// volume returns the bytes that are free for us on the volume of f, and all of
// its bytes.
func volume(f *os.File) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &s); err != nil {
		return 0, 0, os.NewSyscallError("fstatfs", err)
	}
	unit := float64(s.Frsize)
	if unit == 0 {
		unit = float64(s.Bsize)
	}
	return bytesOf(s.Bavail, unit), bytesOf(s.Blocks, unit), nil
}

// bytesOf caps what network file systems say to have: it may be more than fits.
func bytesOf(blocks uint64, unit float64) int64 {
	return int64(min(float64(blocks)*unit, math.MaxInt64/2))
}
