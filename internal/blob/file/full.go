package file

import (
	"context"
	"errors"
	"syscall"

	"github.com/sallyport/sallyport/internal/oci"
)

// isFull reports whether err says that there is no room: on the device beside
// the reserve, in a quota, or under the limit on the size of a file.
func isFull(err error) bool {
	return errors.Is(err, errReserve) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// explain turns the want of room into oci.StorageFull, and tells the operator,
// whom the client's text cannot reach. Any other error stays as it is.
func (s *Store) explain(err error) error {
	if !isFull(err) {
		return err
	}
	s.log.ErrorContext(context.Background(),
		"blob storage is full: pulls go on, pushes are refused; give it room (volume, quota, inodes, file size limit) or delete and sweep, no restart is needed",
		"err", err)
	return oci.Errorf(oci.StorageFull, "the registry's storage is full: the cure for the operator is in its log")
}
