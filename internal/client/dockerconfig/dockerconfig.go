// Package dockerconfig reads docker's config.json and the files of its form:
// podman's auth.json, helm's registry/config.json, the kubelet's config.json. It
// takes what the clients take, and what they pass over it does not lose.
package dockerconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/access"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 4 << 20

// TokenUser is the user name that stands before an identity token.
const TokenUser = "<token>"

// A Config is what a file says about credentials. The order is that of the file,
// and a key that stands there twice is here twice: clients use the last one.
type Config struct {
	Entries []Entry
	Store   string   // credsStore: the helper of all registries; "" for none
	Helpers []Helper // credHelpers: that of one registry
	Strays  []Stray
}

// An Entry is what "auths" has for one registry. One without any secret says
// that a helper has it.
type Entry struct {
	Registry      string // the key: host[:port], for podman also with a path, sometimes a URL
	Username      string
	Password      access.Secret
	IdentityToken access.Secret
	RegistryToken access.Secret // a bearer token, sent as it is
	Fault         Fault
}

// A Fault says why clients do not take an entry as it was meant.
type Fault string

// The faults.
const (
	Sound      Fault = ""
	NotAnEntry Fault = "it is not an object of texts"
	BadAuth    Fault = "auth is not base64 of NAME:PASSWORD"
	NoName     Fault = "auth is missing beside the identity token, so that podman, skopeo and buildah pass over the entry"
)

// A Helper is the program docker-credential-NAME for one registry.
type Helper struct{ Registry, Name string }

// A Stray is a secret outside of "auths": in the URL of a proxy, or in a header.
type Stray struct {
	Where  string // such as "proxies.default.httpProxy"
	Secret access.Secret
}

// HasSecret reports whether anything secret stands in the entry.
func (e Entry) HasSecret() bool {
	return !e.Password.IsZero() || !e.IdentityToken.IsZero() || !e.RegistryToken.IsZero()
}

// Helper returns the helper that clients ask for a registry, "" for none.
func (c Config) Helper(registry string) string {
	name := c.Store
	for _, h := range c.Helpers {
		if h.Registry == registry {
			name = h.Name
		}
	}
	return name
}

// Host returns the host[:port] of a key of "auths", which may be a URL or have a
// path.
func Host(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	key, _, _ = strings.Cut(key, "/")
	return key[strings.LastIndex(key, "@")+1:]
}

// Read reads the file at path. Errors: fs.ErrNotExist.
func Read(path string) (Config, error) {
	b, err := ReadText(path)
	if err != nil {
		return Config{}, err
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ReadText reads the file at path without understanding it. Errors:
// fs.ErrNotExist, ErrTooLarge.
func ReadText(path string) ([]byte, error) {
	// A FIFO without a writer would hold up who opens it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(b) > MaxSize {
		err = fmt.Errorf("%s: %w", path, ErrTooLarge)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Errors of Parse. They quote nothing of the file.
var (
	ErrTooLarge = fmt.Errorf("it is larger than %d bytes", MaxSize)
	ErrNotJSON  = errors.New("it is not an object of JSON")
)

// Parse reads the text of a file. Names of fields may be in any case, as for the
// clients. Errors: ErrTooLarge, ErrNotJSON.
func Parse(text []byte) (Config, error) {
	var c Config
	if len(text) > MaxSize {
		return c, ErrTooLarge
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil // docker takes an empty file
	}
	fields, err := members(text)
	for _, f := range fields {
		switch strings.ToLower(f.name) {
		case "auths":
			c.Entries = append(c.Entries, entries(f.value)...)
		case "credsstore":
			c.Store = f.text()
		case "credhelpers":
			for _, h := range inner(f.value) {
				c.Helpers = append(c.Helpers, Helper{Registry: h.name, Name: h.text()})
			}
		case "httpheaders":
			for _, h := range inner(f.value) {
				c.Strays = append(c.Strays, stray("HttpHeaders."+h.name, h.text())...)
			}
		case "proxies":
			c.Strays = append(c.Strays, proxies(f.value)...)
		}
	}
	return c, err
}

// ParseLegacy reads the text of a ~/.dockercfg, which is the value of "auths"
// alone. Errors: as Parse.
func ParseLegacy(text []byte) (Config, error) {
	if len(text) > MaxSize {
		return Config{}, ErrTooLarge
	}
	_, err := members(text)
	return Config{Entries: entries(text)}, err
}

func entries(text []byte) []Entry {
	var out []Entry
	for _, f := range inner(text) {
		out = append(out, entry(f.name, f.value))
	}
	return out
}

func entry(registry string, text []byte) Entry {
	e := Entry{Registry: registry}
	fields, err := members(text)
	if err != nil {
		e.Fault = NotAnEntry
	}
	auth := ""
	for _, f := range fields {
		value := f.text()
		switch strings.ToLower(f.name) {
		case "auth":
			auth = value
		case "username":
			e.Username = value
		case "password":
			e.Password = access.NewSecret(value)
		case "identitytoken":
			e.IdentityToken = access.NewSecret(value)
		case "registrytoken":
			e.RegistryToken = access.NewSecret(value)
		default:
			continue
		}
		if f.value[0] != '"' && string(f.value) != "null" {
			e.Fault = NotAnEntry
		}
	}
	e.decode(auth)
	return e
}

// decode takes name and password from auth, which wins over the fields.
func (e *Entry) decode(auth string) {
	if auth == "" {
		if !e.IdentityToken.IsZero() && e.Fault == Sound {
			e.Fault = NoName
		}
		return
	}
	pair, strict := unbase64(auth)
	name, password, found := strings.Cut(pair, ":")
	if !strict || !found || name == "" {
		e.Fault = BadAuth
	}
	if !found {
		// Whatever it is, somebody took it for a secret.
		name, password = e.Username, pair
		if pair == "" {
			password = auth
		}
	}
	e.Username = name
	if password = strings.Trim(password, "\x00"); password != "" {
		e.Password = access.NewSecret(password)
	}
	if name == TokenUser && e.IdentityToken.IsZero() {
		e.IdentityToken, e.Password = e.Password, access.Secret{}
	}
}

// unbase64 decodes every form of base64; strict is the one that clients take.
func unbase64(s string) (text string, strict bool) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return string(b), true
	}
	s = strings.NewReplacer("-", "+", "_", "/", "=", "", " ", "", "\t", "").Replace(s)
	b, _ := base64.RawStdEncoding.DecodeString(s)
	return string(b), false
}

// proxies returns the URLs of proxies that have a password.
func proxies(text []byte) []Stray {
	var out []Stray
	for _, of := range inner(text) {
		for _, p := range inner(of.value) {
			u, err := url.Parse(p.text())
			if err != nil || u.User == nil {
				continue
			}
			password, _ := u.User.Password()
			out = append(out, stray("proxies."+of.name+"."+p.name, password)...)
		}
	}
	return out
}

func stray(where, secret string) []Stray {
	if secret == "" {
		return nil
	}
	return []Stray{{where, access.NewSecret(secret)}}
}

// A member is one of an object.
type member struct {
	name  string
	value json.RawMessage // never empty
}

// text returns a string, and "" for anything else.
func (m member) text() string {
	var s string
	if json.Unmarshal(m.value, &s) != nil {
		return ""
	}
	return s
}

// inner is members of what may be damaged: what comes before the damage.
func inner(text []byte) []member {
	out, _ := members(text)
	return out
}

// members reads an object in its order. What follows it is passed over, as the
// clients do. Errors: ErrNotJSON, and what was read before the damage.
func members(text []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, ErrNotJSON
	}
	var out []member
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return out, ErrNotJSON
		}
		m := member{name: name}
		if err := d.Decode(&m.value); err != nil {
			return out, ErrNotJSON
		}
		out = append(out, m)
	}
	if _, err := d.Token(); err != nil {
		return out, ErrNotJSON
	}
	return out, nil
}
