package e2e

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const tracedCalls = "open,openat,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,pwritev,lseek,ftruncate,truncate,fallocate," +
	"fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat," +
	"copy_file_range,sendfile,splice"

type opKind int

const (
	opWrite opKind = iota
	opTruncate
	opCreate
	opMkdir
	opRename
	opRemove
	opSnap  // a flush began: what was written before it is covered
	opFlush // that flush ended
	opAck   // a 201 was sent for path
)

// An event is one effect on the tree below the data directory. Paths are
// relative to it; id names a flush, to join its beginning and end.
type event struct {
	op     opKind
	path   string
	to     string
	offset int64
	data   []byte
	id     int
}

var (
	traceLine = regexp.MustCompile(`^(\d+) +(.*)$`)
	resumed   = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	call      = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
	locations = regexp.MustCompile(`(?i)\r\nLocation: (\S+)\r\n`)
	digests   = regexp.MustCompile(`(?i)\r\nDocker-Content-Digest: (\S+)\r\n`)
)

// A tracer turns strace's lines into events.
type tracer struct {
	t      *testing.T
	root   string
	files  map[int]*openFile // by descriptor
	events []event
	begun  map[string]string // thread → its unfinished call
	snaps  map[string]int    // thread → id of its flush in progress
	flush  int
}

type openFile struct {
	path   string // relative to root
	offset int64
	append bool
}

func parseTrace(t *testing.T, file, root string) []event {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	tr := &tracer{t: t, root: root, files: map[int]*openFile{}, begun: map[string]string{}, snaps: map[string]int{}}
	for line := range strings.Lines(string(text)) {
		m := traceLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		tr.line(m[1], m[2])
	}
	return tr.events
}

func (tr *tracer) line(thread, text string) {
	if head, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
		tr.begun[thread] = head
		tr.start(thread, head)
		return
	}
	if m := resumed.FindStringSubmatch(text); m != nil {
		text = tr.begun[thread] + m[2]
		delete(tr.begun, thread)
	} else {
		tr.start(thread, text)
	}
	m := call.FindStringSubmatch(text)
	if m == nil {
		return // a signal, an exit
	}
	result, err := strconv.Atoi(m[3])
	must(tr.t, err)
	tr.end(thread, m[1], splitArguments(m[2]), result)
}

// start sees a call begin: a flush covers what was written by now, an answer is
// on its way, and a descriptor that is being closed may be another file's
// before the call returns.
func (tr *tracer) start(thread, text string) {
	name, rest, ok := strings.Cut(text, "(")
	if !ok {
		return
	}
	if m := call.FindStringSubmatch(text); m != nil {
		rest = m[2]
	}
	args := splitArguments(strings.TrimSuffix(rest, ")"))
	switch name {
	case "close":
		delete(tr.files, number(args[0]))
	case "fsync", "fdatasync":
		if f := tr.files[number(args[0])]; f != nil {
			tr.flush++
			tr.snaps[thread] = tr.flush
			tr.add(event{op: opSnap, path: f.path, id: tr.flush})
		}
	case "write":
		if len(args) > 1 && tr.files[number(args[0])] == nil {
			tr.answer(string(unquote(args[1])))
		}
	}
}

// answer sees bytes that go to a client.
func (tr *tracer) answer(text string) {
	if !strings.HasPrefix(text, "HTTP/1.1 201") {
		return
	}
	location, digest := locations.FindStringSubmatch(text), digests.FindStringSubmatch(text)
	if location == nil || digest == nil {
		tr.t.Fatalf("an answer 201 without Location or digest: %.300q", text)
	}
	// By digest, whether the manifest was pushed by tag or not.
	tr.add(event{op: opAck, path: location[1][:strings.LastIndex(location[1], "/")+1] + digest[1]})
}

func (tr *tracer) end(thread, name string, args []string, result int) {
	if name == "fsync" || name == "fdatasync" {
		if f := tr.files[number(args[0])]; f != nil && result == 0 {
			tr.add(event{op: opFlush, path: f.path, id: tr.snaps[thread]})
		}
		return
	}
	if result < 0 {
		return
	}
	switch name {
	case "openat", "open", "creat":
		tr.opened(name, args, result)
	case "dup", "dup2", "dup3":
		tr.dup(number(args[0]), result)
	case "fcntl":
		if strings.HasPrefix(args[1], "F_DUPFD") {
			tr.dup(number(args[0]), result)
		}
	case "lseek":
		if f := tr.files[number(args[0])]; f != nil {
			f.offset = int64(result)
		}
	case "write", "pwrite64":
		tr.wrote(name, args, result)
	case "ftruncate":
		if f := tr.files[number(args[0])]; f != nil {
			tr.add(event{op: opTruncate, path: f.path, offset: int64(number(args[1]))})
		}
	case "mkdir":
		tr.change(opMkdir, tr.at("AT_FDCWD", args[0]), "")
	case "mkdirat":
		tr.change(opMkdir, tr.at(args[0], args[1]), "")
	case "unlink", "rmdir":
		tr.change(opRemove, tr.at("AT_FDCWD", args[0]), "")
	case "unlinkat":
		tr.change(opRemove, tr.at(args[0], args[1]), "")
	case "rename":
		tr.change(opRename, tr.at("AT_FDCWD", args[0]), tr.at("AT_FDCWD", args[1]))
	case "renameat", "renameat2":
		tr.change(opRename, tr.at(args[0], args[1]), tr.at(args[2], args[3]))
	case "writev", "pwritev", "copy_file_range", "sendfile", "splice", "fallocate", "truncate", "link", "linkat", "symlink", "symlinkat", "sync", "syncfs":
		for _, a := range args {
			if f := tr.files[number(a)]; f != nil && f.path != "" && name != "sendfile" {
				tr.t.Fatalf("%s on %s: the model does not know this call", name, f.path)
			}
		}
	}
}

func (tr *tracer) add(e event) { tr.events = append(tr.events, e) }

// change records a change of names, if it is below the data directory, and
// follows descriptors that are open on what moved.
func (tr *tracer) change(op opKind, path, to string) {
	if path == "" {
		return
	}
	if op == opRename {
		for _, f := range tr.files {
			if f.path == path {
				f.path = to
			}
		}
	}
	tr.add(event{op: op, path: path, to: to})
}

func (tr *tracer) opened(name string, args []string, fd int) {
	if name != "openat" {
		args = append([]string{"AT_FDCWD"}, args...)
	}
	path := tr.at(args[0], args[1])
	if path == "" {
		return
	}
	flags := args[2]
	if strings.Contains(flags, "O_CREAT") {
		tr.add(event{op: opCreate, path: path})
	}
	if strings.Contains(flags, "O_TRUNC") {
		tr.add(event{op: opTruncate, path: path})
	}
	tr.files[fd] = &openFile{path: path, append: strings.Contains(flags, "O_APPEND")}
}

func (tr *tracer) dup(from, to int) {
	if f := tr.files[from]; f != nil {
		tr.files[to] = f
	}
}

func (tr *tracer) wrote(name string, args []string, n int) {
	f := tr.files[number(args[0])]
	if f == nil {
		return
	}
	data := unquote(args[1])
	if len(data) < n {
		tr.t.Fatalf("strace cut a write to %s short", f.path)
	}
	offset := f.offset
	switch {
	case name == "pwrite64":
		offset = int64(number(args[3]))
	case f.append:
		offset = -1
	}
	if name == "write" && !f.append {
		f.offset += int64(n)
	}
	tr.add(event{op: opWrite, path: f.path, offset: offset, data: data[:n]})
}

// at resolves a path argument to one relative to the data directory: "." for
// the directory itself, "" for what is outside.
func (tr *tracer) at(dir, arg string) string {
	path := string(unquote(arg))
	if !filepath.IsAbs(path) {
		base := tr.files[number(dir)]
		if base == nil {
			return ""
		}
		return filepath.Join(base.path, path)
	}
	rel, err := filepath.Rel(tr.root, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return ""
	}
	return rel
}

// splitArguments splits at commas outside quotes and braces.
func splitArguments(s string) []string {
	var out []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

// unquote reads a string that strace wrote with -xx: "\x2f\x74".
func unquote(s string) []byte {
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	b, _ := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	return b
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
