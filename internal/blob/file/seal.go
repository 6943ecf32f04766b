package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/sallyport/sallyport/internal/oci"
)

// Seal implements blob.Staging. What it acknowledges survives a power cut:
//
//	verify → fsync the file → rename → fsync the directory (and its parent, if new)
//
// The bytes are durable before they have their name, so no crash leaves a blob
// that differs from its digest; the name is durable before anybody hears of it.
// It renames even over equal bytes, because the sweep may be removing those.
func (st *staging) Seal(ctx context.Context, want oci.Digest) error {
	if st.ended {
		return fmt.Errorf("seal upload %s: %w", st.key, os.ErrClosed)
	}
	if err := st.publish(ctx, want); err != nil {
		if st.spoiled {
			err = errors.Join(err, st.Discard(ctx))
		}
		return err
	}
	defer st.release()
	return st.end()
}

// publish does what Seal says, and says in st.spoiled whether the bytes are lost.
func (st *staging) publish(ctx context.Context, want oci.Digest) error {
	to, err := blobPath(want)
	if err != nil {
		st.spoiled = true
		return err
	}
	if st.broken != nil {
		return st.store.explain(fmt.Errorf("seal upload %s: %w", st.key, st.broken))
	}
	got, err := st.digest(ctx, want.Algorithm())
	if err != nil {
		return fmt.Errorf("verify upload %s: %w", st.key, err)
	}
	if got != want {
		st.spoiled = true
		return oci.Errorf(oci.DigestInvalid, "the %d bytes received have digest %s, not %s", st.size, got, want)
	}
	if err := st.file.Sync(); err != nil {
		// The kernel reports a lost write once and then calls the page clean, so
		// a second flush that succeeds would prove nothing.
		st.spoiled = true
		return st.store.explain(fmt.Errorf("flush upload %s: %w", st.key, err))
	}
	if moved, err := st.store.publish(st.path(), to); err != nil {
		st.spoiled = moved // the file is a blob now, which nobody writes to
		return st.store.explain(fmt.Errorf("publish blob %s: %w", want, err))
	}
	return nil
}

// digest returns the digest of what is staged: from the running sum, or by
// reading it.
func (st *staging) digest(ctx context.Context, algorithm string) (oci.Digest, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if algorithm == oci.SHA256 && st.sum != nil {
		return oci.DigestOf(algorithm, st.sum), nil
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	h := oci.NewHash(algorithm)
	for at := int64(0); at < st.size; {
		n, err := st.file.ReadAt(buf[:min(bufferSize, st.size-at)], at)
		h.Write(buf[:n])
		at += int64(n)
		if err == nil {
			err = ctx.Err()
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF // shorter than we wrote it
		}
		if err != nil {
			return "", err
		}
	}
	return oci.DigestOf(algorithm, h), nil
}

// publish gives the flushed file at the path from its lasting name, and reports
// whether it got that far when the name could not be flushed. A rename cannot
// lose the old name and not give the new one, so the uploads directory needs no
// flush.
func (s *Store) publish(from, to string) (moved bool, err error) {
	shard := path.Dir(to)
	_, durable := s.shards.Load(shard)
	if !durable {
		if err := s.makeDir(shard); err != nil {
			return false, err
		}
	}
	if err := os.Rename(from, s.at(to)); err != nil {
		return false, err
	}
	if !durable {
		if err := s.dirs.flush(path.Dir(shard)); err != nil {
			return true, err
		}
		s.shards.Store(shard, struct{}{})
	}
	return true, s.dirs.flush(shard)
}
