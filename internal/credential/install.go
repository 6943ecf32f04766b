package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// Names are the names that the program serves beside its own.
var Names = []string{HelperName, ProviderName}

// Link puts links with the other names into dir, to the program at binary. A
// file of such a name that is no link is left alone, and is an error.
func Link(binary, dir string) error {
	for _, name := range Names {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink == 0:
			return fmt.Errorf("%s is there already and is no link: remove it", path)
		}
		to := binary
		if filepath.Dir(binary) == filepath.Clean(dir) {
			to = filepath.Base(binary)
		}
		// Beside and renamed, so that there is never none.
		beside := filepath.Join(dir, "."+name+".new")
		if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(to, beside); err != nil {
			return err
		}
		if err := os.Rename(beside, path); err != nil {
			return err
		}
	}
	return nil
}

// Unlink removes the links that Link made to binary.
func Unlink(binary, dir string) error {
	for _, name := range Names {
		path := filepath.Join(dir, name)
		if to, err := filepath.EvalSymlinks(path); err != nil || to != binary {
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// DockerConfig returns where docker's configuration is.
func DockerConfig() (string, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the home directory: %w", err)
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json"), nil
}

// Use makes the clients that read the configuration file at path ask this helper
// for hosts. It keeps all else that the file says, and returns the hosts whose
// secrets it still holds: no client looks at them from then on.
func Use(path string, hosts []string) (left []string, err error) {
	err = edit(path, func(helpers map[string]json.RawMessage) {
		for _, host := range hosts {
			helpers[host] = json.RawMessage(`"` + HelperSuffix + `"`)
		}
	})
	if err != nil {
		return nil, err
	}
	c, err := dockerconfig.Read(path)
	if err != nil {
		return nil, err
	}
	for _, e := range c.Entries {
		for _, host := range hosts {
			if dockerconfig.Host(e.Registry) == host && e.HasSecret() {
				left = append(left, host)
			}
		}
	}
	return left, nil
}

// Leave takes back what Use did; without hosts for all of them.
func Leave(path string, hosts []string) error {
	return edit(path, func(helpers map[string]json.RawMessage) {
		ours := func(host string) bool { return string(helpers[host]) == `"`+HelperSuffix+`"` }
		if len(hosts) == 0 {
			for host := range helpers {
				hosts = append(hosts, host)
			}
		}
		for _, host := range hosts {
			if ours(host) {
				delete(helpers, host)
			}
		}
	})
}

// edit changes "credHelpers" of the file at path and nothing else. Like docker it
// follows a link that the file is, and replaces the file that is meant.
func edit(path string, change func(helpers map[string]json.RawMessage)) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	all, helpers := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	text, err := dockerconfig.ReadText(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("%s is not an object of JSON: mend it first", path)
		}
	}
	if err := takeHelpers(all, &helpers); err != nil {
		return fmt.Errorf("credHelpers in %s %w: mend it first", path, err)
	}
	if helpers == nil {
		helpers = map[string]json.RawMessage{}
	}
	before := len(helpers)
	change(helpers)
	if len(helpers) == 0 && before == 0 {
		return nil
	}
	if len(helpers) > 0 {
		if all["credHelpers"], err = json.Marshal(helpers); err != nil {
			return err
		}
	}
	out, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, append(out, '\n'))
}

// takeHelpers moves "credHelpers" out of a file's fields. The clients take it in
// any case.
func takeHelpers(all map[string]json.RawMessage, helpers *map[string]json.RawMessage) error {
	found := false
	for name, old := range all {
		if !strings.EqualFold(name, "credHelpers") {
			continue
		}
		if found {
			return errors.New("stands there twice")
		}
		found = true
		if json.Unmarshal(old, helpers) != nil {
			return errors.New("is not an object")
		}
		delete(all, name)
	}
	return nil
}

// replace writes the file at once: readers meet the old or the new one.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
