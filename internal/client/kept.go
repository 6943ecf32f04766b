package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client/keychain"
)

// TokenUser is the user name that credential helpers and clients write for an
// identity token.
const TokenUser = "<token>"

// A Kept is a credential that a client gave the credential helper.
type Kept struct {
	Username string `json:"username"`
	Secret   Secret `json:"secret,omitzero"`
	Keychain string `json:"keychain,omitempty"` // its key there; "" when the secret is in the file
}

// An Ambient says how the environment proves to a registry who it is.
type Ambient struct {
	Identity string `json:"identity"`     // where it is looked for: see package ambient
	CA       string `json:"ca,omitempty"` // PEM; "" for the system's CAs alone
}

// A keychainError keeps a secret out of the file as long as there is a keychain
// that could have it.
type keychainError struct{ error }

func (e keychainError) Unwrap() error { return e.error }
func (keychainError) Hint() string {
	return "unlock it; or set SALLYPORT_KEYCHAIN=none to keep secrets in a file of mode 0600"
}

// deposit gives a secret to the keychain and returns its key there; without one,
// the secret for the file.
func deposit(s Secret) (inFile Secret, key string, err error) {
	key = "login-" + rand.Text()
	err = keychain.Set(key, s.Reveal())
	switch {
	case errors.Is(err, keychain.ErrNone):
		return s, "", nil
	case err != nil:
		return Secret{}, "", keychainError{err}
	}
	return Secret{}, key, nil
}

// fetch is the other way.
func fetch(inFile Secret, key string) (Secret, error) {
	if key == "" {
		return inFile, nil
	}
	text, err := keychain.Get(key)
	if err != nil {
		return Secret{}, keychainError{fmt.Errorf("the secret is in the keychain (%s): %w", keychain.Name(), err)}
	}
	return Secret{Secret: access.NewSecret(text)}, nil
}

// exchange changes the file and then forgets in the keychain what edit says that
// the file no longer names. When the file cannot be changed it forgets fresh.
func (s Store) exchange(fresh string, edit func(*logins) []string) error {
	var stale []string
	err := s.change(func(all *logins) { stale = edit(all) })
	if err != nil {
		stale = []string{fresh}
	}
	for _, key := range stale {
		if key == "" {
			continue
		}
		if gone := keychain.Remove(key); gone != nil {
			err = errors.Join(err, keychainError{gone})
		}
	}
	return err
}

// Place says where the secret of the login to a server is.
func (s Store) Place(server Address) (string, error) {
	all, err := s.read()
	return s.place(all.Servers[server].Keychain), err
}

func (s Store) place(key string) string {
	if key == "" {
		return "the file " + s.path + ", mode 0600: whoever can read your files can read it"
	}
	return "the keychain (" + keychain.Name() + ")"
}

// CheckHost refuses what cannot name a registry in a client's configuration. It
// is host[:port], or for Docker Hub a URL. Case matters.
func CheckHost(host string) error {
	if len(host) > maxAddress {
		return fmt.Errorf("the registry's name is longer than %d bytes", maxAddress)
	}
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '\\' || c == '"' || i == 0 && c == '-' {
			return fmt.Errorf("the registry's name %q holds %q", Printable(host), host[i:i+1])
		}
	}
	return nil
}

// servers returns the addresses that a registry's name can stand for: those that
// have no other name.
func servers(host string) []Address {
	var out []Address
	for _, scheme := range []string{"https://", "http://"} {
		if a, err := ParseAddress(scheme + host); err == nil && string(a) == scheme+host {
			out = append(out, a)
		}
	}
	return out
}

// ServerOf returns the address of a registry by its name host[:port]: HTTPS.
func ServerOf(host string) (Address, error) {
	a, err := ParseAddress("https://" + host)
	if err == nil && string(a) != "https://"+host {
		err = fmt.Errorf("%q is not how a registry is named: write %s", Printable(host), strings.TrimPrefix(string(a), "https://"))
	}
	return a, err
}

// Keep stores what a client gave the credential helper for a host, in place of
// an older one, and says where. It contacts nobody.
func (s Store) Keep(host, username string, secret Secret) (place string, err error) {
	k := Kept{Username: username}
	if k.Secret, k.Keychain, err = deposit(secret); err != nil {
		return "", err
	}
	err = s.exchange(k.Keychain, func(all *logins) []string {
		old := all.Kept[host]
		all.Kept[host] = k
		return []string{old.Keychain}
	})
	return s.place(k.Keychain), err
}

// Kept returns the credential for a host: what a client gave the helper, or else
// the login of "sallyport login" to that very server. Errors: *NotLoggedIn.
func (s Store) Kept(host string) (Kept, error) {
	all, err := s.read()
	if err != nil {
		return Kept{}, err
	}
	if k, ok := all.Kept[host]; ok {
		k.Secret, err = fetch(k.Secret, k.Keychain)
		return k, err
	}
	for _, server := range servers(host) {
		if l, ok := all.Servers[server]; ok {
			secret, err := fetch(l.Token, l.Keychain)
			return Kept{Username: TokenUser, Secret: secret}, err
		}
	}
	return Kept{}, &NotLoggedIn{Address(host)}
}

// Hosts returns the user name of every host that Kept answers for.
func (s Store) Hosts() (map[string]string, error) {
	all, err := s.read()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for server := range all.Servers {
		_, host, _ := strings.Cut(string(server), "://")
		out[host] = TokenUser
	}
	for host, k := range all.Kept {
		out[host] = k.Username
	}
	return out, nil
}

// Forget removes every credential for a host, and returns the identity tokens
// that were among them, for EndLogin. found says whether there was any credential.
func (s Store) Forget(host string) (ended []Login, found bool, err error) {
	all, err := s.read()
	if err != nil {
		return nil, false, err
	}
	ca := all.Ambient[host].CA
	for _, server := range servers(host) {
		if l, ok := all.Servers[server]; ok {
			l.Server, ca = server, l.CA
			ended = append(ended, l)
		}
	}
	k, kept := all.Kept[host]
	if server, err := ServerOf(host); kept && err == nil && k.Username == TokenUser {
		ended = append(ended, Login{Server: server, Token: k.Secret, Keychain: k.Keychain, CA: ca})
	}
	if !kept && len(ended) == 0 {
		return nil, false, nil
	}
	for i, l := range ended {
		// One that cannot be read can still be forgotten, only not ended.
		ended[i].Token, _ = fetch(l.Token, l.Keychain)
	}
	return ended, true, s.exchange("", func(all *logins) []string {
		stale := []string{all.Kept[host].Keychain}
		delete(all.Kept, host)
		for _, server := range servers(host) {
			stale = append(stale, all.Servers[server].Keychain)
			delete(all.Servers, server)
			if all.Current == server {
				all.Current = ""
			}
		}
		return stale
	})
}

// SetAmbient says that the environment's own identity is for a host; nil takes
// that back.
func (s Store) SetAmbient(host string, a *Ambient) error {
	return s.change(func(all *logins) {
		if delete(all.Ambient, host); a != nil {
			all.Ambient[host] = *a
		}
	})
}

// Ambient returns how the environment proves to a host who it is, if it was told
// to.
func (s Store) Ambient(host string) (Ambient, bool, error) {
	all, err := s.read()
	a, ok := all.Ambient[host]
	return a, ok, err
}

// AmbientHosts returns the hosts of SetAmbient, in order.
func (s Store) AmbientHosts() ([]string, error) {
	all, err := s.read()
	return slices.Sorted(maps.Keys(all.Ambient)), err
}
