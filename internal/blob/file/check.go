package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// checkName is no key and no digest, so that neither listing shows it. It is
// always the same, so that what a crash leaves is used again.
const checkName = ".check"

// Check implements blob.Store: it takes a few bytes the way that uploads go.
// It fails when a directory is missing or read-only, when there is no room, and
// when uploads and blobs are not on one file system.
func (s *Store) Check(ctx context.Context) error {
	s.check.Lock()
	defer s.check.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, a := range algorithms {
		if _, err := s.root.Stat(path.Join(blobsDir, a)); err != nil {
			return fmt.Errorf("check blob store: %w", err)
		}
	}
	from, to := path.Join(uploadsDir, checkName), path.Join(blobsDir, checkName)
	if err := s.tryWrite(from, to); err != nil {
		return s.explain(fmt.Errorf("check blob store: %w", errors.Join(err, s.sweepCheck(from, to))))
	}
	return nil
}

// tryWrite writes a file at from, flushes it, renames it, reads it back and
// removes it.
func (s *Store) tryWrite(from, to string) error {
	want := []byte("readiness")
	f, err := s.root.OpenFile(from, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(want); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := s.root.Rename(from, to); err != nil {
		return err
	}
	got, err := s.root.ReadFile(to)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read back %d bytes: %w", len(got), io.ErrUnexpectedEOF)
	}
	return s.root.Remove(to)
}

// sweepCheck removes what a failed check left.
func (s *Store) sweepCheck(names ...string) error {
	var failed error
	for _, name := range names {
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
