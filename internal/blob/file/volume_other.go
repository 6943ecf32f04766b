//go:build !linux

package file

import "os"

// volume does not tell, where the system call has another form: there a full
// volume is noticed when a write fails.
func volume(*os.File) (free, total int64, err error) { return 0, 0, nil }
