package doctor

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// helperPatience is how long a helper may take to say its version.
const helperPatience = 5 * time.Second

// helperName is a program that a client would look for in PATH.
var helperName = regexp.MustCompile(`^docker-credential-[0-9A-Za-z._-]{1,64}$`)

// goodHelpers are those that keep secrets where others cannot read them.
var goodHelpers = []string{"sallyport", "secretservice", "pass", "osxkeychain", "wincred"}

// helper looks for a helper, and asks it for its version: once each. Whoever may
// write the file may choose the program; the clients run it all the same.
func (e *exam) helper(place, registry, program string) {
	if e.tree.root != "" {
		return
	}
	if !helperName.MatchString(program) {
		e.tell(problem{id: "helper-missing", place: place, entry: registry, reason: "the name of its credential helper is none", mend: e.edit(place)})
		return
	}
	at, err := exec.LookPath(program)
	if err != nil {
		e.tell(problem{id: "helper-missing", place: place, entry: registry, reason: "there is no " + program + " in PATH, so that clients fail or go on without a credential", mend: e.edit(place)})
		return
	}
	if e.helpers[at] {
		return
	}
	e.helpers[at] = true
	if at, err = filepath.Abs(at); err == nil {
		if f, err := e.tree.resolve(at); err == nil {
			e.exposure(f, false)
		}
	}
	if !answersVersion(at) {
		e.tell(problem{id: "helper-silent", place: place, entry: registry, reason: program + " does not answer", mend: quote(at) + " version"})
	}
}

func answersVersion(program string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), helperPatience)
	defer cancel()
	c := exec.CommandContext(ctx, program, "version")
	c.Stdout, c.Stderr = io.Discard, io.Discard
	c.WaitDelay = time.Second
	c.Dir = os.TempDir()
	return c.Run() == nil
}

// helperOf tells of a secret that a helper could keep.
func (e *exam) helperOf(place string, c dockerconfig.Config, entry dockerconfig.Entry) {
	if !entry.HasSecret() {
		return
	}
	again := "log in again, and the helper keeps it"
	if name := c.Helper(entry.Registry); name != "" {
		e.tell(problem{id: "helper-bypassed", place: place, entry: entry.Registry, reason: "docker-credential-" + show(name) + " is configured for it: " + again, mend: e.logout(place, entry.Registry, []string{"DOCKER_CONFIG=%D docker logout"})})
		return
	}
	if e.tree.root != "" {
		return
	}
	for _, name := range goodHelpers {
		if _, err := exec.LookPath("docker-credential-" + name); err == nil {
			e.tell(problem{id: "helper-unused", place: place, entry: entry.Registry, reason: "docker-credential-" + name + " is installed: name it in credHelpers, " + again, mend: e.edit(place)})
			return
		}
	}
}

// provider looks for a kubelet's credential provider.
func (e *exam) provider(place, dir, name string) {
	if strings.ContainsAny(name, "/ ") || name == "" {
		e.tell(problem{id: "helper-missing", place: place, entry: name, reason: "that is no name of a provider", mend: e.edit(place)})
		return
	}
	if dir == "" {
		return
	}
	f, err := e.tree.resolve(dir + "/" + name)
	if err != nil {
		e.tell(problem{id: "helper-missing", place: place, entry: name, reason: "there is no such program in " + show(dir) + ": the kubelet does not start", mend: "ls -l " + e.at(dir)})
		return
	}
	e.exposure(f, false)
}
