//go:build linux && !arm

package file

import (
	"os"
	"syscall"
)

// beginWriteback starts writing n bytes of f at off to the disk and does not
// wait. It promises nothing; what goes wrong, the flush reports.
func beginWriteback(f *os.File, off, n int64) {
	const syncFileRangeWrite = 2 // SYNC_FILE_RANGE_WRITE, sync_file_range(2)
	_ = syscall.SyncFileRange(int(f.Fd()), off, n, syncFileRangeWrite)
}
