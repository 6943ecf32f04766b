package doctor

import (
	"encoding/base64"
	"net/url"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// containerd examines what containerd, its CRI plugin, nerdctl and k3s read.
func (e *exam) containerd(config string) {
	e.certificates("/etc/containerd/certs.d")
	e.certificates(config + "/containerd/certs.d")
	e.read("/etc/containerd/config.toml", (*exam).containerdConfig)
	for _, name := range []string{e.variable("NERDCTL_TOML", ""), "/etc/nerdctl/nerdctl.toml", config + "/nerdctl/nerdctl.toml"} {
		if name != "" {
			e.read(name, (*exam).nerdctl)
		}
	}
	e.read("/etc/rancher/k3s/registries.yaml", (*exam).k3sRegistries)
}

// A object is a value of TOML, JSON or YAML with fields.
type object = map[string]any

// inside returns an object's field that is an object; nil for none.
func inside(o object, names ...string) object {
	for _, name := range names {
		o, _ = o[name].(object)
	}
	return o
}

func text(o object, name string) string {
	s, _ := o[name].(string)
	return s
}

func isTrue(o object, name string) bool {
	b, _ := o[name].(bool)
	return b
}

// containerdConfig reads the daemon's configuration, of every version, and what it
// imports. The registries are below a plugin's name that changed with them.
func (e *exam) containerdConfig(f file) (secret bool, err error) {
	var c object
	if !decodeTOML(f.text, &c) {
		return false, errDamaged
	}
	var dirs []string
	plugins := inside(c, "plugins")
	for _, name := range sortedKeys(plugins) {
		registry := inside(plugins, name, "registry")
		secret = e.criRegistry(f.path, registry) || secret
		dirs = append(dirs, strings.FieldsFunc(text(registry, "config_path"), func(r rune) bool { return r == ':' })...)
	}
	for _, dir := range few(e, f.path, dirs) {
		e.certificates(dir)
	}
	imports, _ := c["imports"].([]any)
	for _, i := range few(e, f.path, imports) {
		name, _ := i.(string)
		if name != "" && !path.IsAbs(name) {
			name = path.Join(path.Dir(f.path), name)
		}
		if before, after, star := strings.Cut(path.Base(name), "*"); star {
			for _, of := range e.tree.list(path.Dir(name)) {
				if strings.HasPrefix(of, before) && strings.HasSuffix(of, after) {
					e.read(path.Join(path.Dir(name), of), (*exam).containerdConfig)
				}
			}
		} else if name != "" {
			e.read(name, (*exam).containerdConfig)
		}
	}
	return secret, nil
}

// criRegistry reads [registry] of the CRI plugin: configs.HOST.auth and .tls.
func (e *exam) criRegistry(place string, registry object) (secret bool) {
	configs := inside(registry, "configs")
	for _, host := range sortedKeys(configs) {
		secret = e.criAuth(place, host, inside(configs, host, "auth")) || secret
		if isTrue(inside(configs, host, "tls"), "insecure_skip_verify") {
			e.insecure(place, host, "tls.insecure_skip_verify is true")
		}
	}
	for _, host := range sortedKeys(inside(registry, "auths")) { // of the first version
		secret = e.criAuth(place, host, inside(registry, "auths", host)) || secret
	}
	mirrors := inside(registry, "mirrors")
	for _, host := range sortedKeys(mirrors) {
		endpoints, _ := inside(mirrors, host)["endpoint"].([]any)
		for _, at := range endpoints {
			if s, _ := at.(string); strings.HasPrefix(s, "http://") {
				e.insecure(place, s, "it is an endpoint with http://")
			}
		}
	}
	return secret
}

// criAuth reads username, password, auth and identitytoken, as CRI has them.
func (e *exam) criAuth(place, host string, auth object) bool {
	entry := dockerconfig.Entry{
		Registry: host, Username: text(auth, "username"),
		Password:      access.NewSecret(text(auth, "password")),
		IdentityToken: access.NewSecret(text(auth, "identitytoken") + text(auth, "identity_token")),
	}
	if pair := text(auth, "auth"); pair != "" && entry.Password.IsZero() {
		entry = pairEntry(host, pair)
	}
	e.entry(place, entry, e.edit(place))
	return entry.HasSecret()
}

// pairEntry is an entry of base64(NAME:PASSWORD).
func pairEntry(host, pair string) dockerconfig.Entry {
	b, err := base64.StdEncoding.DecodeString(pair)
	name, password, ok := strings.Cut(string(b), ":")
	if err != nil || !ok {
		return dockerconfig.Entry{Registry: host, Password: access.NewSecret(pair), Fault: dockerconfig.BadAuth}
	}
	return dockerconfig.Entry{Registry: host, Username: name, Password: access.NewSecret(password)}
}

// hosts reads a hosts.toml: "server" and "host" say where, and how.
func (e *exam) hosts(f file) (secret bool, err error) {
	var c object
	if !decodeTOML(f.text, &c) {
		return false, errDamaged
	}
	server := text(c, "server")
	if server == "" {
		server = path.Base(path.Dir(f.path))
	}
	secret = e.hostOf(f.path, server, c)
	for _, name := range sortedKeys(inside(c, "host")) {
		secret = e.hostOf(f.path, name, inside(c, "host", name)) || secret
	}
	return secret, nil
}

func (e *exam) hostOf(place, server string, o object) (secret bool) {
	if strings.HasPrefix(server, "http://") {
		e.insecure(place, server, "it begins with http://")
	}
	if isTrue(o, "skip_verify") {
		e.insecure(place, server, "skip_verify is true")
	}
	headers := inside(o, "header")
	for _, name := range sortedKeys(headers) {
		values, _ := headers[name].([]any)
		for _, v := range append(values, headers[name]) {
			if s, _ := v.(string); s != "" {
				secret = e.header(place, server, name, s) || secret
			}
		}
	}
	if u, err := url.Parse(server); err == nil && u.User != nil {
		secret = true
		e.tell(problem{id: "stray-secret", place: place, entry: u.Host, reason: "its URL has a user name, and maybe a password", mend: e.edit(place)})
	}
	return secret
}

// header tells of a header that proves something.
func (e *exam) header(place, server, name, value string) bool {
	scheme, rest, _ := strings.Cut(value, " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		e.entry(place, pairEntry(server, strings.TrimSpace(rest)), e.edit(place))
	case strings.EqualFold(scheme, "Bearer"):
		e.secret(held{place: place, entry: server, registry: server, slot: bearerSlot, value: access.NewSecret(strings.TrimSpace(rest)), mend: e.edit(place)})
	case secretName.MatchString(name) || strings.EqualFold(name, "Authorization"):
		e.tell(problem{id: "stray-secret", place: place, entry: server, reason: "the header " + show(name) + " holds a secret", mend: e.edit(place)})
	default:
		return false
	}
	return true
}

func (e *exam) nerdctl(f file) (bool, error) {
	var c object
	if !decodeTOML(f.text, &c) {
		return false, errDamaged
	}
	if isTrue(c, "insecure_registry") {
		e.insecure(f.path, "every registry", "insecure_registry is true")
	}
	dirs, _ := c["hosts_dir"].([]any)
	for _, d := range few(e, f.path, dirs) {
		if s, _ := d.(string); path.IsAbs(s) {
			e.certificates(s)
		}
	}
	return false, nil
}

// k3sRegistries reads the file in which k3s and RKE2 have CRI's registries.
func (e *exam) k3sRegistries(f file) (bool, error) {
	var c object
	if !decodeYAML(f.text, &c) {
		return false, errDamaged
	}
	return e.criRegistry(f.path, c), nil
}

// maxYAML bounds what is read as YAML, in bytes.
const maxYAML = 1 << 20

func decodeYAML(text []byte, into any) bool {
	return len(text) <= maxYAML && yaml.Load(text, into) == nil
}

// secretName is a name that says that its value is a secret.
var secretName = regexp.MustCompile(`(?i)(^|[_.-])(passwd|password|passphrase|pass|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]config)([_.-]|$)`)
