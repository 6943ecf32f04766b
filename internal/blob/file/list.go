package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// Staged implements blob.Store. Names that are no key are not ours and are
// passed over.
func (s *Store) Staged(ctx context.Context) iter.Seq2[blob.StagedInfo, error] {
	return func(yield func(blob.StagedInfo, error) bool) {
		err := s.files(ctx, uploadsDir, func(info fs.FileInfo) bool {
			if !validKey(info.Name()) {
				return true
			}
			return yield(blob.StagedInfo{Key: info.Name(), Modified: info.ModTime()}, nil)
		})
		if err != nil {
			yield(blob.StagedInfo{}, fmt.Errorf("list uploads: %w", err))
		}
	}
}

// All implements blob.Store. Modified is when the last byte came.
func (s *Store) All(ctx context.Context) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for _, algorithm := range algorithms {
			for shard := range 256 {
				prefix := fmt.Sprintf("%02x", shard)
				more := true
				err := s.files(ctx, path.Join(blobsDir, algorithm, prefix), func(info fs.FileInfo) bool {
					d, err := oci.ParseDigest(algorithm + ":" + info.Name())
					if err != nil || info.Name()[:2] != prefix {
						return true
					}
					more = yield(blob.Info{Digest: d, Size: info.Size(), Modified: info.ModTime()}, nil)
					return more
				})
				if err != nil {
					yield(blob.Info{}, fmt.Errorf("list blobs: %w", err))
				}
				if err != nil || !more {
					return
				}
			}
		}
	}
}

// files visits the regular files of dir; those that vanish meanwhile are
// passed over.
func (s *Store) files(ctx context.Context, dir string, visit func(fs.FileInfo) bool) error {
	var failed error
	err := s.entries(dir, func(e fs.DirEntry) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		if !e.Type().IsRegular() {
			return true
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return true
		}
		if failed = err; failed != nil {
			return false
		}
		return visit(info)
	})
	return errors.Join(err, failed)
}
