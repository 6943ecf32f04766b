package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Permissions of one class, at their place for others.
const (
	mayRead  = 0o4
	mayWrite = 0o2
	mayEnter = 0o1
)

// Who others are: everybody, or a group.
const (
	nobody    = ""
	everybody = "everybody on this machine"
)

// others returns who beside its owner may do what with a file: those whom its
// mode lets, if every directory above lets them through. An access control list
// shows in the bits of the group, as its mask.
func (e *exam) others(f file, what fs.FileMode) string {
	if f.info.Mode()&what != 0 && !slices.ContainsFunc(f.dirs, func(d dir) bool { return d.info.Mode()&mayEnter == 0 }) {
		return everybody
	}
	_, own := owners(f.info)
	groups := []uint32{own}
	for _, d := range f.dirs {
		_, gid := owners(d.info)
		groups = append(groups, gid)
	}
	for _, gid := range groups {
		if !e.private[gid] && allows(f.info, gid, what) && !slices.ContainsFunc(f.dirs, func(d dir) bool { return !allows(d.info, gid, mayEnter) }) {
			return fmt.Sprintf("the group %d", gid)
		}
	}
	return nobody
}

// allows reports whether a member of a group may do what, who does not own it.
func allows(info fs.FileInfo, gid uint32, what fs.FileMode) bool {
	if _, own := owners(info); own == gid {
		what <<= 3
	}
	return info.Mode()&what != 0
}

// lets reports whether the mode itself lets others do what.
func (e *exam) lets(info fs.FileInfo, what fs.FileMode) bool {
	_, gid := owners(info)
	return info.Mode()&what != 0 || !e.private[gid] && info.Mode()&(what<<3) != 0
}

// exposure tells who may read or change a file; holds says that it has a secret.
func (e *exam) exposure(f file, holds bool) {
	if holds {
		e.readable(f)
	}
	if holds && f.linked() {
		e.tell(problem{id: "file-symlink", place: f.path, reason: "it is a symbolic link to " + redact(f.real) + ": what is written goes there"})
	}
	if who := e.others(f, mayWrite); who != nobody {
		e.tell(problem{
			id: "file-writable", place: f.path, reason: who + " may change it" + mode(f.info),
			mend: "chmod go-w " + e.at(f.real), fix: e.chmod(f.real, f.info, 0o022),
		})
	}
	e.ownership(f)
	for _, d := range append(slices.Clone(f.dirs), f.via...) {
		e.directory(f, d)
	}
}

func (e *exam) readable(f file) {
	mend, fix := "chmod 600 "+e.at(f.real), e.chmod(f.real, f.info, 0o077)
	switch who := e.others(f, mayRead); {
	case who != nobody:
		e.tell(problem{id: "file-readable", place: f.path, reason: who + " may read the secrets in it" + mode(f.info), mend: mend, fix: fix})
	case e.lets(f.info, mayRead):
		e.tell(problem{id: "file-shielded", place: f.path, reason: "its mode lets others read the secrets in it" + mode(f.info) + ", and only a directory above does not", mend: mend, fix: fix})
	}
}

// directory tells of one in which others may put a file in the place of f.
func (e *exam) directory(f file, d dir) {
	if !e.lets(d.info, mayWrite) || d.info.Mode()&fs.ModeSticky != 0 {
		return
	}
	who := e.others(file{info: d.info, dirs: d.above}, mayWrite)
	if who == nobody {
		return
	}
	p := problem{id: "dir-writable", place: d.path, reason: who + " may replace " + redact(f.path) + mode(d.info), mend: "chmod go-w " + e.at(d.path)}
	if strings.HasPrefix(d.path, e.home+"/") {
		p.fix = e.chmod(d.path, d.info, 0o022)
	}
	e.tell(p)
}

func (e *exam) ownership(f file) {
	uid, _ := owners(f.info)
	if !e.trusted(uid) {
		e.tell(problem{id: "file-owner", place: f.path, reason: fmt.Sprintf("it belongs to the user %d, who may change it at any time", uid), mend: e.chown(f.real)})
	}
	for _, d := range f.dirs {
		if uid, _ := owners(d.info); !e.trusted(uid) {
			e.tell(problem{id: "file-owner", place: d.path, reason: fmt.Sprintf("it belongs to the user %d, who may replace %s", uid, redact(f.path)), mend: e.chown(d.path)})
		}
	}
}

// trusted reports whether a user may have what is examined: root, and the one
// whose home it is.
func (e *exam) trusted(uid uint32) bool { return uid == 0 || uid == e.uid || uid == e.rootUID }

func (e *exam) chown(name string) string { return fmt.Sprintf("chown %d %s", e.uid, e.at(name)) }

func mode(info fs.FileInfo) string { return fmt.Sprintf(" (mode %04o)", info.Mode().Perm()) }

// chmod returns what takes rights away from a file that is still the one that was
// examined, belongs to who runs us and has no other name. What is below /etc
// belongs to programs of other users too, who may need to read it.
func (e *exam) chmod(name string, was fs.FileInfo, take fs.FileMode) func() error {
	uid, _ := owners(was)
	if s, ok := was.Sys().(*syscall.Stat_t); !ok || !was.IsDir() && s.Nlink != 1 || int(uid) != os.Geteuid() || strings.HasPrefix(name, "/etc/") {
		return nil
	}
	full := e.tree.root + name
	return func() error {
		f, err := os.OpenFile(full, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		now, err := f.Stat()
		if err != nil {
			return err
		}
		if !os.SameFile(was, now) {
			return fmt.Errorf("%s is another file than a moment ago", redact(name))
		}
		return f.Chmod(now.Mode() &^ take)
	}
}
