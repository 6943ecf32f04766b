// Package file owns the blob store on a file system: where bytes lie, the order
// in which they are flushed, and what is shared between flushes.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// Modes of everything the store makes, whatever the umask.
const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// Options of a Store; the zero value works.
type Options struct {
	// Logger hears what the operator has to cure. Nil discards.
	Logger *slog.Logger
}

// A Store is a blob.Store in a directory of one file system. It runs no
// goroutine. One process uses a directory at a time: the claims on stagings are
// in memory.
type Store struct {
	dir   string   // absolute
	root  *os.Root // dir, for all that is not done for every blob
	log   *slog.Logger
	dirs  *flusher
	sums  *sums
	room  room
	check sync.Mutex // one Check at a time, since its file has one name

	shards sync.Map // path of a shard directory → struct{}{}, once its entry is durable

	mu   sync.Mutex
	open map[string]struct{} // keys of the stagings that are open
}

var _ blob.Store = (*Store)(nil)

// New opens the store in dir, making what is missing. A directory that others
// may enter is closed to them. What a crash left behind needs no repair.
func New(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	top, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	if err := makeTop(top); err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	s := &Store{dir: top, root: root, log: o.Logger, sums: newSums(maxSums), open: map[string]struct{}{}}
	s.dirs = newFlusher(s.syncDir)
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store %s: %w", dir, err), root.Close())
	}
	return s, nil
}

// Close lets go of the directory. Nobody uses the store any more; Readers and
// Stagings that are open stay usable to be closed.
func (s *Store) Close() error { return s.root.Close() }

// at returns the path of name, which blobPath or uploadPath has made of checked
// parts, for the calls that every pull and push makes. The root would open each
// directory on the way, to see that none is a link that leaves; but New has
// seen that of all but the shards, and nobody else may write to any of them.
// Files are opened with O_NOFOLLOW.
func (s *Store) at(name string) string { return filepath.Join(s.dir, name) }

// A reader is the file itself: by its SyscallConn, net finds what to give to
// sendfile.
type reader struct {
	*os.File
	size int64
}

func (r *reader) Size() int64 { return r.size }

// Open implements blob.Store. The bytes are not verified here: they were when
// they came, and a client verifies what it gets.
func (s *Store) Open(_ context.Context, d oci.Digest) (blob.Reader, error) {
	name, err := blobPath(d)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.at(name), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, oci.Errorf(oci.BlobUnknown, "blob %s is not known", d)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob %s: %w", d, err), f.Close())
	}
	return &reader{f, info.Size()}, nil
}

// Delete implements blob.Store. The directory is not flushed: a removal that a
// power cut undoes leaves bytes that no fact names, and the next sweep finds
// and removes them again. Space comes back when the last Reader closes.
func (s *Store) Delete(_ context.Context, d oci.Digest) error {
	name, err := blobPath(d)
	if err != nil {
		return err
	}
	if err := os.Remove(s.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", d, err)
	}
	return nil
}

// claim marks key as open, or fails with blob.ErrStaging.
func (s *Store) claim(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.open[key]; taken {
		return blob.ErrStaging
	}
	s.open[key] = struct{}{}
	return nil
}

func (s *Store) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, key)
}
