package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// makePrivateDir creates dir with mode 0700, or takes away what others may do
// in it. A mounted volume that belongs to somebody else stays as it is when its
// owner has not let us change it: what is inside is private by itself.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cannot("create the directory and give it to the user that runs sallyport, or choose another with --data", "create data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("make data directory private: %w", err)
	}
	return nil
}

// writePrivate replaces the file at path by data, mode 0600 whatever the umask,
// so that a reader sees the old file or the whole new one, also after a crash.
func writePrivate(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// checkPrivate refuses a secret that others can read. It looks at the
// open file, so that what is checked is what is read.
func checkPrivate(what string, f *os.File) error { return checkMode(what, f, 0o077) }

// checkMode is checkPrivate for other bits that must not be set.
func checkMode(what string, f *os.File, forbidden fs.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	if info.IsDir() {
		return cannot("name a file", "%s: %s is a directory", what, f.Name())
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return cannot("run: chmod 600 "+f.Name(), "%s: %s can be read by others (mode %04o)", what, f.Name(), mode)
	}
	return nil
}

// openSecret opens a file that only we may read; what names its setting.
func openSecret(what, path string) (*os.File, error) { return openSecretMode(what, path, 0o077) }

// openSecretMode is openSecret for other bits that must not be set.
func openSecretMode(what, path string, forbidden fs.FileMode) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cannot("create the file with mode 0600, readable for the user that runs sallyport", "%s: %w", what, err)
	}
	if err := checkMode(what, f, forbidden); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readSecretLine returns the first line of a secret file.
func readSecretLine(what, path string) (string, error) {
	f, err := openSecret(what, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}
