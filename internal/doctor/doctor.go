package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/client"
)

// Options say what to examine. The zero value is this machine, and the home and
// the environment of who runs us, offline.
type Options struct {
	// Root is the directory that is "/" of the machine to examine; "" for this
	// machine. Of another machine the environment is not known, and no program
	// is run.
	Root string
	// Home is the home directory to examine, as the machine calls it; "" for the
	// one of who runs us, or with Root for /root and all in /home.
	Home string
	// Servers are asked, beside what Online says.
	Servers []client.Address
	// Online asks each registry whose secrets of ours are found whether it takes
	// them.
	Online bool
	// Fix mends what is safe to mend.
	Fix bool
	// Now is the clock; nil for time.Now.
	Now func() time.Time
	// Client adjusts how servers are asked.
	Client client.Options
}

// A Report is what an examination found.
type Report struct {
	Findings []Finding // worst first
	Files    int       // that were read
	More     bool      // there are more findings than are listed
}

// Examine looks through a machine.
func Examine(ctx context.Context, o Options) (Report, error) {
	e, err := newExam(ctx, o)
	if err != nil {
		return Report{}, err
	}
	defer e.tree.close()
	for _, home := range e.homes(o) {
		e.visit(home)
		e.everyPlace()
	}
	if e.own {
		e.environment()
	}
	if e.tree.spent() {
		e.tell(problem{id: "examination-cut", place: e.tree.root + "/", reason: fmt.Sprintf("there are more than %d files, %d MiB, or %d names on the way to them", maxFiles, maxBytes>>20, maxSteps)})
	} else {
		// The CAs that are trusted here are known.
		e.online(ctx, o)
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	out := Report{Findings: e.sorted(), Files: e.files, More: e.more}
	if o.Fix {
		mend(out.Findings)
	}
	return out, nil
}

// mend does what is safe, and says when that fails.
func mend(found []Finding) {
	for i, f := range found {
		if !f.Fixable {
			continue
		}
		if err := f.fix(); err != nil {
			found[i].Reason += "; it could not be mended: " + show(err.Error())
			continue
		}
		found[i].Fixed = true
	}
}

// An exam is one examination.
type exam struct {
	tree    *tree
	private map[uint32]bool
	rootUID uint32 // of the directory that is "/"
	own     bool   // the home and the environment are those of who runs us
	env     map[string]string
	now     time.Time
	options client.Options

	// The home that is examined, and whose it is.
	home string
	uid  uint32

	findings []Finding
	told     map[string]bool
	seen     map[string]bool // files and directories, by their real path, and names that were asked for
	files    int             // that were read
	more     bool
	stored   bool   // a secret was found that could be done without
	ours     []held // our own secrets
	helpers  map[string]bool
	logins   []client.Login
}

func newExam(ctx context.Context, o Options) (*exam, error) {
	if o.Root == "/" {
		o.Root = ""
	}
	tree, err := newTree(ctx, strings.TrimSuffix(o.Root, "/"))
	if err != nil {
		return nil, err
	}
	e := &exam{
		tree: tree, env: map[string]string{}, now: time.Now(), options: o.Client,
		own: o.Root == "" && o.Home == "", told: map[string]bool{}, seen: map[string]bool{}, helpers: map[string]bool{},
	}
	if o.Now != nil {
		e.now = o.Now()
	}
	root, err := e.tree.resolve("/")
	if err != nil {
		return nil, err
	}
	e.rootUID, _ = owners(root.info)
	e.private = e.tree.privateGroups()
	if e.own {
		for _, v := range os.Environ() {
			name, value, _ := strings.Cut(v, "=")
			e.env[name] = value
		}
	}
	return e, nil
}

// homes returns the home directories to examine.
func (e *exam) homes(o Options) []string {
	switch {
	case o.Home != "":
		return []string{path.Clean("/" + o.Home)}
	case o.Root != "":
		homes := []string{"/root"}
		for _, name := range e.tree.list("/home") {
			homes = append(homes, "/home/"+name)
		}
		return homes
	}
	home, err := os.UserHomeDir()
	if err != nil || !path.IsAbs(home) {
		home = "/"
	}
	return []string{path.Clean(home)}
}

// visit makes home the one that is examined.
func (e *exam) visit(home string) {
	e.home, e.uid = home, uint32(os.Geteuid())
	if f, err := e.tree.resolve(home); err == nil && e.env["HOME"] == "" {
		e.uid, _ = owners(f.info)
	}
}

// variable returns the path that a variable names, or another.
func (e *exam) variable(name, otherwise string) string {
	if v := e.env[name]; path.IsAbs(v) {
		return v
	}
	return otherwise
}

// A reader tells of what stands in a file, and reports whether there is a secret.
type reader func(e *exam, f file) (secret bool, err error)

// errDamaged says that a file is not of its form. No reader's error quotes it.
var errDamaged = errors.New("it is not of the form that its client reads")

// read examines the file at a path, if there is one and it was not examined yet.
func (e *exam) read(name string, what reader) {
	if !e.first("name " + name) {
		return
	}
	f, err := e.tree.resolve(name)
	if err == nil {
		if !e.first(f.real) {
			return
		}
		f, err = e.tree.load(f)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, errSpent):
		return
	case errors.Is(err, errOdd), errors.Is(err, errLarge), errors.Is(err, errLoop), errors.Is(err, errDeep):
		e.tell(problem{id: "file-damaged", place: name, reason: err.Error(), mend: "ls -lL " + e.at(name)})
		return
	case err != nil:
		e.tell(problem{id: "file-unread", place: name, reason: cause(err)})
		return
	}
	e.files++
	secret, err := what(e, f)
	if err != nil {
		e.tell(problem{id: "file-damaged", place: name, reason: err.Error(), mend: e.edit(name)})
	}
	e.exposure(f, secret)
}

// first reports whether something is met for the first time: each home leads to
// what is the machine's.
func (e *exam) first(what string) bool {
	if e.seen[what] {
		return false
	}
	e.seen[what] = true
	return true
}

// maxNamed bounds how many others one file may name.
const maxNamed = 100

// few returns the first of what a file names, and tells when there are more.
func few[T any](e *exam, place string, named []T) []T {
	if len(named) <= maxNamed {
		return named
	}
	e.tell(problem{id: "examination-cut", place: place, reason: fmt.Sprintf("it names more than %d others", maxNamed)})
	return named[:maxNamed]
}

// readAll examines the files of a directory whose names end so.
func (e *exam) readAll(dir string, what reader, ends ...string) {
	for _, name := range e.tree.list(dir) {
		if slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(name, end) }) {
			e.read(path.Join(dir, name), what)
		}
	}
}

// cause is an error without the path, which the finding names.
func cause(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return show(err.Error())
}

// at is a path as a word of a shell on this machine.
func (e *exam) at(name string) string { return quote(e.tree.root + name) }

// edit is the command with which a person mends a file, or drops a variable.
func (e *exam) edit(place string) string {
	if name, ok := strings.CutPrefix(place, "$"); ok {
		return "unset " + quote(name)
	}
	return `"${EDITOR:-vi}" ` + e.at(place)
}

// everyPlace examines all that the clients of one home read.
func (e *exam) everyPlace() {
	config := e.variable("XDG_CONFIG_HOME", e.home+"/.config")
	e.docker(config)
	e.containers(config)
	e.helm(config)
	for _, name := range []string{e.regctlFile(), config + "/regctl/config.json"} {
		e.read(name, (*exam).regctl)
	}
	e.containerd(config)
	e.kubernetes()
	e.read(config+"/sallyport/login.json", (*exam).login)
}

// naming is a command with a name from a file as its last argument, if that can be
// told and taken for nothing else.
func (e *exam) naming(place, command, name string) string {
	if name == "" || strings.HasPrefix(name, "-") || show(name) != name {
		return e.edit(place)
	}
	return command + " " + quote(name)
}
