package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Bounds of what is read.
const (
	maxFile     = 4 << 20 // bytes of a file
	maxLinks    = 40      // symbolic links on the way to one
	maxFiles    = 5000    // of one examination
	maxListed   = 1000    // entries of a directory
	maxFindings = 10_000
)

// Why a file was not read.
var (
	errLoop    = errors.New("its symbolic links go round in circles")
	errOdd     = errors.New("it is no regular file")
	errLarge   = fmt.Errorf("it is larger than %d bytes", maxFile)
	errTooMany = fmt.Errorf("more than %d files were read before it", maxFiles)
)

// A tree is a file system: this machine's, or one below a directory, in which
// symbolic links stay inside.
type tree struct {
	root string // "" for this machine
	read int    // files that were read
}

// A file is what a tree has at a path.
type file struct {
	path string // as it was asked for
	real string // behind all symbolic links
	info fs.FileInfo
	text []byte
	dirs []dir // above real, the root first
	via  []dir // that were walked through over symbolic links
}

type dir struct {
	path  string
	info  fs.FileInfo
	above []dir
}

func (f file) linked() bool { return f.real != path.Clean(f.path) }

// resolve walks to a path as the system would, and sees where it leads through.
func (t *tree) resolve(name string) (file, error) {
	f := file{path: name}
	rest := strings.Split(path.Clean("/"+name), "/")
	at, links := "/", 0
	info, err := os.Lstat(t.root + "/")
	if err != nil {
		return f, err
	}
	f.dirs = []dir{{path: "/", info: info}}
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			f.dirs = slices.Clip(f.dirs[:max(1, len(f.dirs)-1)])
			continue
		}
		next := path.Join(at, part)
		info, err := os.Lstat(t.root + next)
		if err != nil {
			return f, err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return f, errLoop
			}
			to, err := os.Readlink(t.root + next)
			if err != nil {
				return f, err
			}
			f.via = append(f.via, f.dirs...)
			if path.IsAbs(to) {
				at, f.dirs = "/", f.dirs[:1:1]
			}
			rest = append(strings.Split(to, "/"), rest...)
		case info.IsDir():
			at = next
			f.dirs = append(f.dirs, dir{next, info, f.dirs})
		case slices.ContainsFunc(rest, func(s string) bool { return s != "" }):
			return f, syscall.ENOTDIR
		default:
			f.real, f.info = next, info
			return f, nil
		}
	}
	f.real, f.info = at, f.dirs[len(f.dirs)-1].info
	return f, nil
}

// open reads the file at a path. What is not there is fs.ErrNotExist.
func (t *tree) open(name string) (file, error) {
	f, err := t.resolve(name)
	if err != nil {
		return f, err
	}
	if !f.info.Mode().IsRegular() {
		return f, errOdd
	}
	if t.read++; t.read > maxFiles {
		return f, errTooMany
	}
	// A FIFO that came in its place would hold up who opens it.
	in, err := os.OpenFile(t.root+f.real, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return f, err
	}
	defer in.Close()
	if f.info, err = in.Stat(); err != nil {
		return f, err
	}
	if !f.info.Mode().IsRegular() {
		return f, errOdd
	}
	f.text, err = io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(f.text) > maxFile {
		f.text, err = nil, errLarge
	}
	return f, err
}

// list returns the names in a directory, in order; none when it cannot be read.
func (t *tree) list(name string) []string {
	f, err := t.resolve(name)
	if err != nil || !f.info.IsDir() {
		return nil
	}
	d, err := os.Open(t.root + f.real)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxListed)
	slices.Sort(names)
	return names
}

// owners are those of a file.
func owners(info fs.FileInfo) (uid, gid uint32) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid, s.Gid
	}
	return 0, 0
}

// privateGroups returns the groups that only their one user is in, as many
// systems make them: what such a group may do, nobody else may. In the group of
// root is only root.
func (t *tree) privateGroups() map[uint32]bool {
	private := map[uint32]bool{0: true}
	primary := map[string][]string{} // gid → names
	passwd, _ := t.open("/etc/passwd")
	for line := range strings.Lines(string(passwd.text)) {
		if f := strings.Split(line, ":"); len(f) >= 4 {
			primary[f[3]] = append(primary[f[3]], f[0])
		}
	}
	group, _ := t.open("/etc/group")
	for line := range strings.Lines(string(group.text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
		others := slices.DeleteFunc(append(members, primary[f[2]]...), func(name string) bool { return name == f[0] })
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && len(others) == 0 && len(primary[f[2]]) > 0 {
			private[uint32(gid)] = true
		}
	}
	return private
}
