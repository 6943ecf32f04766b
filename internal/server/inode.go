package server

import (
	"io/fs"
	"syscall"
)

// inode tells apart two files that were renamed into one place.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
