package doctor

import (
	"context"
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
	maxParts    = 128     // names and links on the way to one
	maxFiles    = 5000    // of one examination
	maxBytes    = 64 << 20
	maxSteps    = 200_000 // names that are walked to or listed
	maxListed   = 1000    // entries of a directory
	maxFindings = 10_000
)

// Why a file was not read.
var (
	errLoop  = errors.New("its symbolic links go round in circles")
	errDeep  = fmt.Errorf("more than %d names are on the way to it", maxParts)
	errOdd   = errors.New("it is no regular file")
	errLarge = fmt.Errorf("it is larger than %d bytes", maxFile)
	errMoved = errors.New("another came into its place a moment ago")
	errSpent = errors.New("too much was read before it")
)

// A tree is a file system: this machine's, or one below a directory, in which
// symbolic links stay inside.
type tree struct {
	root   string       // "" for this machine
	inside *os.Root     // of root: no link that comes into the way leads out; nil for this machine
	ended  func() error // of who asked

	files, bytes, steps int // that were read and walked
}

func newTree(ctx context.Context, root string) (*tree, error) {
	t := &tree{root: root, ended: ctx.Err}
	if root == "" {
		return t, nil
	}
	inside, err := os.OpenRoot(root)
	t.inside = inside
	return t, err
}

func (t *tree) close() {
	if t.inside != nil {
		t.inside.Close()
	}
}

// spent reports whether nothing more is read: whoever writes the files says how
// many there are, and how they lead to each other.
func (t *tree) spent() bool { return t.files > maxFiles || t.bytes > maxBytes || t.steps > maxSteps }

// step counts what is done. Errors: errSpent, and why who asked waits no more.
func (t *tree) step(n int) error {
	t.steps += n
	if t.spent() {
		return errSpent
	}
	return t.ended()
}

// below is a path as inside has it.
func below(name string) string { return path.Join(".", strings.TrimLeft(name, "/")) }

func (t *tree) lstat(name string) (fs.FileInfo, error) {
	if t.inside != nil {
		return t.inside.Lstat(below(name))
	}
	return os.Lstat(name)
}

func (t *tree) readlink(name string) (string, error) {
	if t.inside != nil {
		return t.inside.Readlink(below(name))
	}
	return os.Readlink(name)
}

// reopen opens what resolve found, and nothing that came into its place. A FIFO
// would hold up who opens it.
func (t *tree) reopen(f file, flags int) (in *os.File, err error) {
	flags |= os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	if t.inside != nil {
		in, err = t.inside.OpenFile(below(f.real), flags, 0)
	} else {
		in, err = os.OpenFile(f.real, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	if now, err := in.Stat(); err != nil || !os.SameFile(f.info, now) {
		return nil, errors.Join(err, errMoved, in.Close())
	}
	return in, nil
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
	info, err := t.lstat("/")
	if err != nil {
		return f, err
	}
	f.dirs = []dir{{path: "/", info: info}}
	for parts := 0; len(rest) > 0; parts++ {
		if parts > maxParts {
			return f, errDeep
		}
		if err := t.step(1); err != nil {
			return f, err
		}
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
		info, err := t.lstat(next)
		if err != nil {
			return f, err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return f, errLoop
			}
			to, err := t.readlink(next)
			if err != nil {
				return f, err
			}
			for _, d := range f.dirs {
				if !slices.ContainsFunc(f.via, func(v dir) bool { return v.path == d.path }) {
					f.via = append(f.via, d)
				}
			}
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
	return t.load(f)
}

// load reads a file that resolve found.
func (t *tree) load(f file) (file, error) {
	if !f.info.Mode().IsRegular() {
		return f, errOdd
	}
	if f.info.Size() > maxFile {
		return f, errLarge
	}
	t.files++
	if err := t.step(1); err != nil {
		return f, err
	}
	in, err := t.reopen(f, 0)
	if err != nil {
		return f, err
	}
	defer in.Close()
	if f.info, err = in.Stat(); err != nil {
		return f, err
	}
	f.text, err = io.ReadAll(io.LimitReader(in, maxFile+1))
	t.bytes += len(f.text)
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
	d, err := t.reopen(f, syscall.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxListed)
	if t.step(len(names)) != nil {
		return nil
	}
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
	const several = ":"
	private := map[uint32]bool{0: true}
	primary := map[string]string{} // gid → its one user; several are no name
	passwd, _ := t.open("/etc/passwd")
	for line := range strings.Lines(string(passwd.text)) {
		if f := strings.Split(line, ":"); len(f) >= 4 {
			if other, ok := primary[f[3]]; ok && other != f[0] {
				f[0] = several
			}
			primary[f[3]] = f[0]
		}
	}
	group, _ := t.open("/etc/group")
	for line := range strings.Lines(string(group.text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
		shared := slices.ContainsFunc(members, func(name string) bool { return name != f[0] })
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && !shared && f[0] != "" && primary[f[2]] == f[0] {
			private[uint32(gid)] = true
		}
	}
	return private
}
