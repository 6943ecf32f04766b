package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/sallyport/sallyport/internal/blob"
)

const (
	// bufferSize is what moves between two system calls, in bytes: small enough
	// that the sum and the write find it in the processor's cache. A buffer of
	// 128 KiB cost a third more time per byte.
	bufferSize = 32 << 10
	// window is how many bytes gather before their writing out is begun, so that
	// sealing a large blob finds little left to flush.
	window = 8 << 20
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// A staging is an open file of the uploads directory.
type staging struct {
	store   *Store
	key     string
	file    *os.File
	size    int64
	sum     hash.Hash // running sha256 of all size bytes; nil when it must be read again
	broken  error     // why nothing can be written any more
	spoiled bool      // the bytes are of no use to a later Stage
	ended   bool      // the file is closed
	claimed bool      // the key is ours
}

// Stage implements blob.Store.
func (s *Store) Stage(_ context.Context, key string) (blob.Staging, error) {
	name, err := uploadPath(key)
	if err != nil {
		return nil, err
	}
	if err := s.claim(key); err != nil {
		return nil, err
	}
	f, size, err := s.openUpload(name)
	if err != nil {
		s.release(key)
		return nil, s.explain(fmt.Errorf("stage upload %s: %w", key, err))
	}
	st := &staging{store: s, key: key, file: f, size: size, sum: s.sums.take(key, size), claimed: true}
	if st.sum == nil && size == 0 {
		st.sum = sha256.New()
	}
	return st, nil
}

// openUpload opens or makes the file of that name and returns its size. Without
// room it makes none, but opens what was staged before: that can still be sealed.
func (s *Store) openUpload(name string) (*os.File, int64, error) {
	f, err := os.OpenFile(s.at(name), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errNotRegular
	case info.Sys().(*syscall.Stat_t).Nlink > 1:
		// Sealed, then a power cut on a file system that kept the new name and
		// did not drop the old one. Writing here would change a blob.
		if err = errors.Join(f.Close(), os.Remove(s.at(name))); err == nil {
			return s.openUpload(name)
		}
		return nil, 0, err
	case info.Size() == 0 && s.room.measure(f, 0) != nil:
		return nil, 0, errors.Join(errReserve, f.Close(), os.Remove(s.at(name)))
	case info.Mode().Perm() != fileMode:
		err = f.Chmod(fileMode)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Unstage implements blob.Store.
func (s *Store) Unstage(_ context.Context, key string) error {
	name, err := uploadPath(key)
	if err != nil {
		return err
	}
	if err := s.claim(key); err != nil {
		return err
	}
	defer s.release(key)
	s.sums.take(key, 0)
	if err := os.Remove(s.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unstage upload %s: %w", key, err)
	}
	return nil
}

func (st *staging) Size() int64 { return st.size }

func (st *staging) Write(p []byte) (int, error) {
	start := st.size
	if err := st.append(p); err != nil {
		err = st.giveBack(start, err)
		return int(st.size - start), err
	}
	return len(p), nil
}

func (st *staging) ReadFrom(r io.Reader) (int64, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	start := st.size
	for {
		n, ended := fill(r, buf[:])
		if err := st.append(buf[:n]); err != nil {
			err = st.giveBack(start, err)
			return st.size - start, err
		}
		if ended == io.EOF {
			return st.size - start, nil
		}
		if ended != nil {
			return st.size - start, fmt.Errorf("receive upload %s: %w", st.key, ended)
		}
	}
}

// fill reads until p is full or r ends. Other than io.ReadFull it returns r's
// own error: an io.ErrUnexpectedEOF of r is not an end.
func fill(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; {
		var m int
		m, err = r.Read(p[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// append writes p behind what is there. Whatever part of it was written is
// counted and summed.
func (st *staging) append(p []byte) error {
	if st.broken != nil || len(p) == 0 {
		return st.broken
	}
	if err := st.store.room.take(st.file, int64(len(p))); err != nil {
		return err
	}
	n, err := st.file.WriteAt(p, st.size)
	if st.sum != nil {
		st.sum.Write(p[:n])
	}
	start := st.size / window * window
	st.size += int64(n)
	if end := st.size / window * window; end > start {
		beginWriteback(st.file, start, end-start)
	}
	return err
}

// giveBack turns a failure of append into what the caller gets. When the
// storage is full it takes back all that the call wrote: a failed push does not
// keep the space that the database beside it needs.
func (st *staging) giveBack(start int64, cause error) error {
	if isFull(cause) && st.broken == nil {
		if err := st.file.Truncate(start); err != nil {
			cause = errors.Join(cause, fmt.Errorf("take back a partial write: %w", err))
			st.broken = cause
		} else if st.size, st.sum = start, nil; start == 0 {
			st.sum = sha256.New()
		}
	}
	return st.store.explain(fmt.Errorf("write upload %s: %w", st.key, cause))
}

func (st *staging) Close() error {
	if !st.claimed {
		return nil
	}
	if !st.ended && st.sum != nil && st.size > 0 && st.broken == nil {
		st.store.sums.keep(st.key, sum{st.size, st.sum})
	}
	err := st.end()
	st.release()
	return err
}

// Discard implements blob.Staging. The file is closed at once, since until then
// it keeps its space.
func (st *staging) Discard(context.Context) error {
	if st.ended {
		return nil
	}
	err := os.Remove(st.path())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return errors.Join(fmt.Errorf("discard upload %s: %w", st.key, err), st.end())
	}
	st.size = 0
	return st.end()
}

// path is where the staging's file lies. Its key was checked by Stage.
func (st *staging) path() string { return st.store.at(path.Join(uploadsDir, st.key)) }

// end closes the file.
func (st *staging) end() error {
	if st.ended {
		return nil
	}
	st.ended = true
	if err := st.file.Close(); err != nil {
		return fmt.Errorf("close upload %s: %w", st.key, err)
	}
	return nil
}

// release lets others have the key.
func (st *staging) release() {
	st.claimed = false
	st.store.release(st.key)
}
