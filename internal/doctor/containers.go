package doctor

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// containers examines what podman, buildah, skopeo and CRI-O read.
func (e *exam) containers(config string) {
	runtime := e.variable("XDG_RUNTIME_DIR", fmt.Sprintf("/run/user/%d", e.uid))
	for _, name := range []string{
		e.variable("REGISTRY_AUTH_FILE", ""), runtime + "/containers/auth.json",
		fmt.Sprintf("/run/containers/%d/auth.json", e.uid), config + "/containers/auth.json",
	} {
		if name != "" {
			e.read(name, auths("podman logout --authfile %F", "buildah logout --authfile %F", "skopeo logout --authfile %F"))
		}
	}
	for _, name := range []string{e.variable("CONTAINERS_REGISTRIES_CONF", ""), "/etc/containers/registries.conf", config + "/containers/registries.conf"} {
		if name != "" {
			e.read(name, (*exam).registries)
			e.readAll(name+".d", (*exam).registries, ".conf")
		}
	}
	for _, dir := range []string{"/etc/containers/certs.d", config + "/containers/certs.d"} {
		e.certificates(dir)
	}
}

// registries reads a registries.conf (containers-registries.conf(5)), of version 2
// or 1.
func (e *exam) registries(f file) (bool, error) {
	type place struct {
		Prefix   string
		Location string
		Insecure bool
	}
	var c struct {
		Helpers  []string `toml:"credential-helpers"`
		Registry []struct {
			place
			Mirror []place
		}
		Registries struct{ Insecure struct{ Registries []string } } // version 1
	}
	// A field of another type than meant leaves the others as they are.
	if !decodeTOML(f.text, &c) {
		return false, errDamaged
	}
	for _, r := range c.Registry {
		for _, at := range append(r.Mirror, r.place) {
			if at.Insecure {
				name := at.Location
				if name == "" {
					name = at.Prefix
				}
				e.insecure(f.path, name, "it has insecure = true")
			}
		}
	}
	for _, r := range c.Registries.Insecure.Registries {
		e.insecure(f.path, r, "registries.insecure has it")
	}
	for _, name := range c.Helpers {
		if name != "containers-auth.json" { // the files themselves
			e.helper(f.path, "", "docker-credential-"+name)
		}
	}
	return false, nil
}

// maxNesting bounds how deep brackets may be in each other.
const maxNesting = 200

// decodeTOML reads TOML from a file that may be made to exhaust the stack: no
// brackets are that deep in each other, in texts or not, where somebody meant it.
func decodeTOML(text []byte, into any) bool {
	depth := 0
	for _, c := range text {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > maxNesting {
			return false
		}
	}
	_, err := toml.Decode(strings.ToValidUTF8(string(text), "\uFFFD"), into)
	return err == nil
}
