package ledger

import (
	"fmt"
	"os"
	"sync"
)

// A File is a Writer of lines to a file, mode 0600. Whoever rotates it renames
// or removes it: the next events go to a new one of the same name.
type File struct {
	path string

	mu sync.Mutex
	f  *os.File
}

// OpenFile opens the file at path, and makes it if need be.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	return f, f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open audit file: %w", err)
	}
	f.f = file
	return nil
}

// WriteEvents implements Writer. Lines are written whole: what a full disk has
// cut short is taken back.
func (f *File) WriteEvents(events []Sealed) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.reopen(); err != nil {
		return 0, err
	}
	before, err := f.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("write audit file: %w", err)
	}
	if _, err := f.f.Write(lines(events)); err != nil {
		if before.Mode().IsRegular() {
			_ = f.f.Truncate(before.Size()) // the write's error is the one to tell
		}
		return 0, fmt.Errorf("write audit file: %w", err)
	}
	return len(events), nil
}

// reopen follows a rotation.
func (f *File) reopen() error {
	if f.f == nil {
		return f.open()
	}
	now, err := os.Stat(f.path)
	if err == nil {
		var open os.FileInfo
		if open, err = f.f.Stat(); err == nil && os.SameFile(now, open) {
			return nil
		}
	}
	f.f.Close()
	f.f = nil
	return f.open()
}

// Close implements Writer.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
