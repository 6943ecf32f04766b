package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/client"
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
// for hosts. An identity token that the helper has too is taken out. It keeps all else
// that the file says, and returns the hosts whose secrets it still holds: no client
// looks at them from then on.
func Use(path string, hosts []string) (left []string, err error) {
	store, err := client.NewStore()
	if err != nil {
		return nil, err
	}
	c, err := dockerconfig.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, dockerconfig.ErrNotJSON) {
		return nil, err // one that is no JSON is told of below, with the line
	}
	var moved []string
	for _, e := range c.Entries {
		for _, host := range hosts {
			if dockerconfig.Host(e.Registry) != host || !e.HasSecret() {
				continue
			}
			if k, err := store.Kept(host); err == nil && e.Registry == host && e.Password.IsZero() && k.Secret.Reveal() == e.IdentityToken.Reveal() {
				moved = append(moved, host)
			} else {
				left = append(left, host)
			}
		}
	}
	return left, store.Alone(func() error { return dockerconfig.Edit(path, use(hosts, moved)) })
}

func use(hosts, moved []string) func(*dockerconfig.Document) error {
	return func(d *dockerconfig.Document) error {
		return errors.Join(
			d.Within("credHelpers", func(helpers *dockerconfig.Document) {
				for _, host := range hosts {
					helpers.Set(host, json.RawMessage(quotedSuffix))
				}
			}),
			d.Within("auths", func(auths *dockerconfig.Document) {
				for _, host := range moved {
					auths.Remove(host)
				}
			}))
	}
}

// Leave takes back what Use did; without hosts for all of them.
func Leave(path string, hosts []string) error {
	store, err := client.NewStore()
	if err != nil {
		return err
	}
	return store.Alone(func() error {
		return dockerconfig.Edit(path, func(d *dockerconfig.Document) error { return leave(d, hosts) })
	})
}

func leave(d *dockerconfig.Document, hosts []string) error {
	return d.Within("credHelpers", func(helpers *dockerconfig.Document) {
		if len(hosts) == 0 {
			hosts = helpers.Names()
		}
		for _, host := range hosts {
			if string(helpers.Get(host)) == quotedSuffix {
				helpers.Remove(host)
			}
		}
	})
}
