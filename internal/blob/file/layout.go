package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/oci"
)

// The directories of a store, relative to its root.
const (
	blobsDir   = "blobs"
	uploadsDir = "uploads"
)

var (
	algorithms    = [...]string{oci.SHA256, oci.SHA512}
	errNotRegular = errors.New("not a regular file")
	errKey        = errors.New("upload key: want 1 to 128 letters, digits, '_' or '-'")
)

// blobPath is where the bytes of d lie; with uploadPath it makes every path
// below the root, always from names it has checked:
//
//	DIR/
//	├── blobs/
//	│   ├── sha256/
//	│   │   └── 2c/                    first two digits of the hex
//	│   │       └── 2cf24dba5fb0…      all 64: the bytes, never changed
//	│   └── sha512/
//	│       └── 9b/
//	│           └── 9b71d224bd62…      all 128
//	└── uploads/
//	    └── <key>                      a staging; sealing renames it into blobs
//
// Two digits make at most 256 directories an algorithm, so that each holds few
// thousand names even with a million blobs.
func blobPath(d oci.Digest) (string, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return "", err
	}
	hex := d.Hex()
	return path.Join(blobsDir, d.Algorithm(), hex[:2], hex), nil
}

// uploadPath is where the bytes staged under key lie; see blobPath.
func uploadPath(key string) (string, error) {
	if !validKey(key) {
		return "", errKey
	}
	return path.Join(uploadsDir, key), nil
}

func validKey(key string) bool {
	if key == "" || len(key) > 128 {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// makeTop makes dir and the parents it lacks, each durable in its parent. The
// parent of dir is flushed even if dir was there: a process that was killed may
// have made it and not come so far.
func makeTop(dir string) error {
	parent := filepath.Dir(dir)
	err := os.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeTop(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, dirMode)
	}
	made := err == nil
	if made {
		err = os.Chmod(dir, dirMode) // the umask may have taken our own rights
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := os.Open(parent)
	if errors.Is(err, fs.ErrPermission) && !made {
		return nil // somebody else made dir, where we may not even look
	}
	if err != nil {
		return err
	}
	return errors.Join(p.Sync(), p.Close())
}

// prepare makes the fixed directories and makes durable what an earlier process
// may have made and, killed, not flushed.
func (s *Store) prepare() error {
	if err := s.private("."); err != nil {
		return err
	}
	dirs := []string{uploadsDir, blobsDir}
	for _, a := range algorithms {
		dirs = append(dirs, path.Join(blobsDir, a))
	}
	for _, dir := range dirs {
		if err := s.makeDir(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{".", blobsDir} {
		if err := s.syncDir(dir); err != nil {
			return err
		}
	}
	for _, a := range algorithms {
		if err := s.adoptShards(path.Join(blobsDir, a)); err != nil {
			return err
		}
	}
	return nil
}

// adoptShards flushes dir once for all the shards in it.
func (s *Store) adoptShards(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err == nil && len(names) > 0 {
		err = f.Sync() // after the listing: what was listed is flushed
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	for _, name := range names {
		s.shards.Store(path.Join(dir, name), struct{}{})
	}
	return nil
}

// makeDir makes dir if it is missing; it is durable when its parent is flushed.
func (s *Store) makeDir(dir string) error {
	if err := s.root.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.private(dir)
}

// private gives dir the mode that everything here has.
func (s *Store) private(dir string) error {
	info, err := s.root.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if info.Mode().Perm() == dirMode {
		return nil
	}
	return s.root.Chmod(dir, dirMode)
}

// syncDir makes durable which names are in dir.
func (s *Store) syncDir(dir string) error {
	f, err := os.Open(s.at(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// entries calls visit for each entry of dir, in no order, holding few of them
// in memory, until it returns false. A directory that is absent is empty.
func (s *Store) entries(dir string, visit func(fs.DirEntry) bool) error {
	f, err := s.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		batch, err := f.ReadDir(256)
		for _, e := range batch {
			if !visit(e) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
