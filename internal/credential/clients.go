package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// helperPatience is how long another helper may take.
const helperPatience = time.Minute

// Clients are docker and podman on this machine, as their configurations have it.
type Clients struct {
	Store  client.Store
	docker string
	podman []string // the files that podman reads before docker's
	only   bool     // podman reads the first of them alone
	ours   bool     // they find our helper on PATH
}

// FindClients finds them.
func FindClients(store client.Store) (Clients, error) {
	docker, err := DockerConfig()
	if err != nil {
		return Clients{}, err
	}
	c := Clients{Store: store, docker: docker}
	_, err = exec.LookPath(HelperName)
	c.ours = err == nil
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		c.podman, c.only = []string{file}, true
		return c, nil
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		runtime = fmt.Sprintf("/run/containers/%d", os.Getuid())
	}
	config := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); config == "" && err == nil {
		config = filepath.Join(home, ".config")
	}
	for _, dir := range []string{runtime, config} {
		if filepath.IsAbs(dir) {
			c.podman = append(c.podman, filepath.Join(dir, "containers", "auth.json"))
		}
	}
	return c, nil
}

// A Connection is how docker and podman come to a login.
type Connection struct {
	Helper  string   // the helper that they ask, or that was given the token; "" for none
	Plain   []string // files that hold the identity token itself
	Changed []string // files that were changed
	Dropped []string // files where a password for the registry was taken out
	Hidden  []string // what podman uses instead for a part of the registry: "HOST/PATH in FILE"
}

// Connect lets docker and podman use a login, so that no password is anywhere: they
// ask our helper where they find it on PATH; else docker's own helper is given the
// identity token, as docker login does; and where there is none, the file holds it.
func (c Clients) Connect(ctx context.Context, l client.Login) (Connection, error) {
	_, host, _ := strings.Cut(string(l.Server), "://")
	var out Connection
	files := []string{c.docker}
	for _, file := range c.podman {
		if c.only || hides(file, host) {
			files = append(files, file)
		}
	}
	err := c.Store.Alone(func() error {
		for _, file := range files {
			if err := c.connect(ctx, &out, file, host, l); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// hides reports whether what a file of podman's says of a host keeps podman from
// what docker's file says.
func hides(file, host string) bool {
	conf, err := dockerconfig.Read(file)
	if err != nil {
		return false
	}
	return conf.Helper(host) != "" || slices.ContainsFunc(conf.Entries, func(e dockerconfig.Entry) bool {
		return dockerconfig.Host(e.Registry) == host
	})
}

// partial reports whether a key of "auths" is podman's for a part of a registry. A
// URL is for all of it, whatever its path: so docker and podman take it.
func partial(key string) bool { return strings.Contains(key, "/") && !strings.Contains(key, "://") }

// connect changes one file.
func (c Clients) connect(ctx context.Context, out *Connection, file, host string, l client.Login) error {
	conf, err := dockerconfig.Read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, dockerconfig.ErrNotJSON) {
		return err // one that is no JSON is told of below, with the line
	}
	if file != c.docker {
		conf.Store = "" // podman does not know it
	}
	helper := conf.Helper(host)
	chosen := slices.ContainsFunc(conf.Helpers, func(h dockerconfig.Helper) bool { return h.Registry == host })
	if c.ours && !chosen {
		helper = HelperSuffix
	}
	w := written{helper: helper == HelperSuffix}
	password := false
	for _, e := range conf.Entries {
		switch {
		case dockerconfig.Host(e.Registry) != host || !e.HasSecret():
		case !partial(e.Registry):
			w.old = append(w.old, e.Registry)
			password = password || !e.Password.IsZero()
		case !w.helper && !chosen: // podman asks a helper first
			out.Hidden = append(out.Hidden, client.Printable(e.Registry)+" in "+file)
		}
	}
	switch helper {
	case HelperSuffix:
	case "":
		w.entry = plainEntry(l)
		out.Plain = append(out.Plain, file)
	default:
		if err := give(ctx, helper, host, l.Token); err != nil {
			return fmt.Errorf("%s has docker-credential-%s keep what is for %s: %w", file, helper, host, err)
		}
		w.entry = json.RawMessage("{}")
	}
	if helper != "" {
		out.Helper = "docker-credential-" + helper
	}
	changed, err := w.into(file, host)
	if err != nil {
		return err
	}
	if changed {
		out.Changed = append(out.Changed, file)
	}
	if password {
		out.Dropped = append(out.Dropped, file)
	}
	return nil
}

// written is what a file is to say of a host.
type written struct {
	helper bool            // to ask our helper
	entry  json.RawMessage // in "auths"; nil for none
	old    []string        // the keys of what "auths" has now
}

// into writes it, and reports whether that is more than taking a secret out.
func (w written) into(file, host string) (changed bool, err error) {
	err = dockerconfig.Edit(file, func(d *dockerconfig.Document) error {
		if w.helper {
			err := d.Within("credHelpers", func(h *dockerconfig.Document) {
				changed = string(h.Get(host)) != quotedSuffix
				h.Set(host, json.RawMessage(quotedSuffix))
			})
			if err != nil {
				return err
			}
		}
		return d.Within("auths", func(auths *dockerconfig.Document) {
			for _, key := range w.old {
				if key != host || w.entry == nil {
					auths.Remove(key)
				}
			}
			if w.entry != nil {
				auths.Set(host, w.entry)
				changed = true
			}
		})
	})
	return changed, err
}

const quotedSuffix = `"` + HelperSuffix + `"`

// plainEntry is what docker login writes. podman passes over an identity token
// without a name beside it.
func plainEntry(l client.Login) json.RawMessage {
	name := l.Username
	if name == "" {
		name = "oauth2"
	}
	text, _ := json.Marshal(map[string]string{ // texts
		"auth": base64.StdEncoding.EncodeToString([]byte(name + ":")), "identitytoken": l.Token.Reveal(),
	})
	return text
}

// Disconnect takes the entries for a host, and for parts of it, out of what docker
// and podman read, and what Connect changed for a login back. It returns the identity tokens that it took
// out, for client.EndLogin. found says whether there was any secret.
func (c Clients) Disconnect(ctx context.Context, host string, changed []string) (tokens []client.Secret, found bool, err error) {
	err = c.Store.Alone(func() error {
		var failed error
		files := slices.Concat([]string{c.docker}, c.podman, changed)
		slices.Sort(files)
		for _, file := range slices.Compact(files) {
			entries, err := disconnect(ctx, file, host, slices.Contains(changed, file))
			failed = errors.Join(failed, err)
			for _, e := range entries {
				found = found || e.HasSecret()
				if !e.IdentityToken.IsZero() {
					tokens = append(tokens, client.Secret{Secret: e.IdentityToken})
				}
			}
		}
		return failed
	})
	return tokens, found, err
}

// disconnect changes one file, and returns the entries that it took out.
func disconnect(ctx context.Context, file, host string, changed bool) (entries []dockerconfig.Entry, err error) {
	conf, err := dockerconfig.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if other := conf.Helper(host); changed && other != "" && other != HelperSuffix {
		err = take(ctx, other, host)
	}
	for _, e := range conf.Entries {
		if dockerconfig.Host(e.Registry) == host {
			entries = append(entries, e)
		}
	}
	return entries, errors.Join(err, dockerconfig.Edit(file, func(d *dockerconfig.Document) error {
		err := d.Within("auths", func(auths *dockerconfig.Document) {
			for _, e := range entries {
				auths.Remove(e.Registry)
			}
		})
		if err != nil || !changed {
			return err
		}
		return leave(d, []string{host})
	}))
}

var helperNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// give has another helper keep an identity token.
func give(ctx context.Context, helper, host string, token client.Secret) error {
	text, err := json.Marshal(pair{host, client.TokenUser, token.Reveal()})
	if err != nil {
		return err
	}
	return ask(ctx, helper, "store", text)
}

func take(ctx context.Context, helper, host string) error {
	return ask(ctx, helper, "erase", []byte(host))
}

func ask(ctx context.Context, helper, action string, in []byte) error {
	if !helperNames.MatchString(helper) {
		return fmt.Errorf("%q is no name of a helper", client.Printable(helper))
	}
	ctx, cancel := context.WithTimeout(ctx, helperPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, action)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	// What it prints is its reason.
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("%w: %s", err, client.Printable(strings.TrimSpace(string(out))))
	}
	return nil
}
