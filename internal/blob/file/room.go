package file

import (
	"errors"
	"os"
	"sync/atomic"
)

const (
	// maxReserve is the most that uploads leave free, in bytes; on a volume
	// below 6.4 GB it is reserveShare of the whole.
	maxReserve   = 64 << 20
	reserveShare = 100 // one part in so many
	// stride is how many bytes are written between two looks at the room.
	stride = 4 << 20
)

// errReserve says that what is left is not for uploads.
var errReserve = errors.New("no space left beside the reserve")

// A room knows how much uploads may still write before somebody has to look
// again. It leaves a reserve for the database, which may lie on the same volume:
// without room to write, an upload cannot be cancelled, an account not be
// disabled, and nothing be swept. Safe for concurrent use.
type room struct {
	left atomic.Int64 // bytes
}

// take asks for n bytes of f's volume. Errors: errReserve.
func (r *room) take(f *os.File, n int64) error {
	if r.left.Add(-n) >= 0 {
		return nil
	}
	return r.measure(f, n)
}

// measure looks at the volume of f and takes n bytes. Those who come at once
// each forget what the others took, which is a buffer each. A volume that does
// not tell, or is said to have no size, is taken to have room.
// Errors: errReserve.
func (r *room) measure(f *os.File, n int64) error {
	free, total, err := volume(f)
	left := int64(stride)
	if err == nil && total > 0 {
		left = free - min(total/reserveShare, maxReserve)
	}
	if left <= 0 || left < n {
		r.left.Store(0)
		return errReserve
	}
	r.left.Store(max(min(left, stride)-n, 0))
	return nil
}
