package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLogins bounds the file of stored logins, in bytes.
const maxLogins = 1 << 20

// A Login is what is kept of one login: no password, and where the identity
// token may go.
type Login struct {
	Server   Address `json:"server"`
	Username string  `json:"username"`
	Realm    string  `json:"realm"`   // the token service, pinned at login
	Service  string  `json:"service"` // the audience
	Token    Secret  `json:"identityToken,omitzero"`
	CA       string  `json:"ca,omitempty"` // PEM; "" for the system's CAs alone
	// Keychain is the key of the token in the keychain; "" when it is in the file.
	Keychain string `json:"keychain,omitempty"`
	// Clients are the configurations of docker and podman that were changed for this
	// login, to be changed back at its end.
	Clients []string `json:"clients,omitempty"`
}

// A Store keeps logins in a file of this user alone, and their secrets in the
// keychain where there is one. The zero value is not ready; use NewStore.
type Store struct{ path string }

// logins is the file.
type logins struct {
	Current Address           `json:"current"`
	Servers map[Address]Login `json:"servers"`
	// Kept is what docker and others gave the credential helper, by host[:port].
	Kept map[string]Kept `json:"kept,omitempty"`
	// Ambient are the registries that the environment's own identity is for.
	Ambient map[string]Ambient `json:"ambient,omitempty"`
}

// NewStore returns the store of this user:
// $XDG_CONFIG_HOME/sallyport/login.json, or below ~/.config without that.
func NewStore() (Store, error) {
	home := os.Getenv("XDG_CONFIG_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return Store{}, fmt.Errorf("find the home directory: %w", err)
		}
		home = filepath.Join(user, ".config")
	}
	if !filepath.IsAbs(home) {
		return Store{}, fmt.Errorf("XDG_CONFIG_HOME is %q: it must be an absolute path", home)
	}
	return Store{filepath.Join(home, "sallyport", "login.json")}, nil
}

// Path returns where the file is.
func (s Store) Path() string { return s.path }

// A NotLoggedIn says that there is no login for a server, or none at all.
type NotLoggedIn struct{ Server Address } // "" for none at all

func (e *NotLoggedIn) Error() string {
	if e.Server == "" {
		return "not logged in"
	}
	return "not logged in to " + string(e.Server)
}

// Hint gives the cure.
func (e *NotLoggedIn) Hint() string {
	if e.Server == "" {
		return "run: sallyport login HOST"
	}
	return "run: sallyport login " + string(e.Server)
}

// Find returns the login of a server, or the current one for "". Errors:
// *NotLoggedIn.
func (s Store) Find(server Address) (Login, error) {
	all, err := s.read()
	if err != nil {
		return Login{}, err
	}
	if server == "" {
		server = all.Current
	}
	l, ok := all.Servers[server]
	if !ok {
		return Login{}, &NotLoggedIn{server}
	}
	l.Server = server
	l.Token, err = fetch(l.Token, l.Keychain)
	return l, err
}

// Save stores l, in place of an older login to the same server, and makes it
// the current one. What was changed in the configurations of clients for the older
// one is for this one now.
func (s Store) Save(l Login) error {
	var err error
	if l.Token, l.Keychain, err = deposit(l.Token); err != nil {
		return err
	}
	return s.exchange(l.Keychain, func(all *logins) []string {
		old := all.Servers[l.Server]
		l.Clients = old.Clients
		all.Servers[l.Server] = l
		all.Current = l.Server
		return []string{old.Keychain}
	})
}

// Connected says that clients use the login of a server from now on, not what they
// gave the credential helper before, and that files of theirs were changed for that.
func (s Store) Connected(server Address, files []string) error {
	_, host, _ := strings.Cut(string(server), "://")
	return s.exchange("", func(all *logins) []string {
		old := all.Kept[host]
		delete(all.Kept, host)
		if l, ok := all.Servers[server]; ok {
			l.Clients = append(l.Clients, files...)
			slices.Sort(l.Clients)
			l.Clients = slices.Compact(l.Clients)
			all.Servers[server] = l
		}
		return []string{old.Keychain}
	})
}

// read opens no symbolic link, and believes no file that others could have
// written or read.
func (s Store) read() (logins, error) {
	all := logins{Servers: map[Address]Login{}, Kept: map[string]Kept{}, Ambient: map[string]Ambient{}}
	f, err := openFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return all, nil
	case errors.Is(err, errLink):
		return all, fmt.Errorf("%s is a symbolic link, which is not followed: remove it", s.path)
	case err != nil:
		return all, fmt.Errorf("read logins: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return all, fmt.Errorf("read logins: %w", err)
	case !info.Mode().IsRegular():
		return all, fmt.Errorf("%s is no regular file: remove it", s.path)
	case open(info):
		return all, fmt.Errorf("%s can be read or written by others (mode %#o): run chmod 600 on it, and log in again if that was not you", s.path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLogins+1))
	if err != nil {
		return all, fmt.Errorf("read logins: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&all); err != nil || len(b) > maxLogins {
		return all, fmt.Errorf("%s is damaged: remove it and log in again", s.path)
	}
	if all.Servers == nil {
		all.Servers = map[Address]Login{}
	}
	if all.Kept == nil {
		all.Kept = map[string]Kept{}
	}
	if all.Ambient == nil {
		all.Ambient = map[string]Ambient{}
	}
	return all, nil
}

// Alone does something to the configurations of clients while no other process of
// this tool does.
func (s Store) Alone(do func() error) error { return s.alone("clients.lock", do) }

func (s Store) alone(name string, do func() error) error {
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for logins: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for logins private: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("lock logins: %w", err)
	}
	defer unlock()
	return do()
}

// change reads, changes and replaces the file while no other process does.
func (s Store) change(edit func(*logins)) error {
	return s.alone("login.lock", func() error { return s.changeAlone(edit) })
}

func (s Store) changeAlone(edit func(*logins)) error {
	all, err := s.read()
	if err != nil {
		return err
	}
	edit(&all)
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write logins: %w", err)
	}
	if err := replace(s.path, append(b, '\n')); err != nil {
		return fmt.Errorf("write logins: %w", err)
	}
	return nil
}

// replace writes b to path at once: whoever reads, and whatever crashes, meets
// the old file or the new one. CreateTemp opens nothing that exists and gives
// mode 0600.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".login-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
