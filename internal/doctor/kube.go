package doctor

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// kubernetes examines what the kubelet reads, and kubectl.
func (e *exam) kubernetes() {
	if e.first("kubelet") {
		e.kubelet()
	}
	names := []string{e.home + "/.kube/config", "/etc/kubernetes/admin.conf", "/etc/rancher/k3s/k3s.yaml"}
	for _, name := range strings.Split(e.env["KUBECONFIG"], ":") {
		if path.IsAbs(name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		e.read(name, (*exam).kubeconfig)
	}
}

func (e *exam) kubelet() {
	e.read("/var/lib/kubelet/config.json", auths())
	configs, bin := e.kubeletFlags()
	for _, name := range configs {
		of := func(e *exam, f file) (bool, error) { return e.providers(f, bin) }
		if f, err := e.tree.resolve(name); err == nil && f.info.IsDir() {
			e.readAll(name, of, ".json", ".yaml", ".yml")
			continue
		}
		e.read(name, of)
	}
}

// kubeletFlag is one of those that name the credential providers.
var kubeletFlag = regexp.MustCompile(`--image-credential-provider-(config|bin-dir)[= ]+"?([^\s"']+)`)

// kubeletFlags finds where the providers of the kubelet are: its flags stand in
// what starts it.
func (e *exam) kubeletFlags() (configs []string, bin string) {
	names := []string{"/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"}
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		names = append(names, dir+"/kubelet.service")
		for _, name := range e.tree.list(dir + "/kubelet.service.d") {
			names = append(names, dir+"/kubelet.service.d/"+name)
		}
	}
	for _, name := range names {
		f, err := e.tree.open(name)
		if err != nil {
			continue
		}
		for _, m := range few(e, name, kubeletFlag.FindAllStringSubmatch(string(f.text), maxNamed+1)) {
			switch {
			case m[1] == "bin-dir":
				bin = m[2]
			case path.IsAbs(m[2]) && !slices.Contains(configs, m[2]):
				configs = append(configs, m[2])
			}
		}
	}
	return configs, bin
}

// providers reads a CredentialProviderConfig (kubelet.config.k8s.io/v1).
func (e *exam) providers(f file, bin string) (secret bool, err error) {
	var c struct {
		Providers []struct {
			Name string
			Args []string
			Env  []struct{ Name, Value string }
		}
	}
	if !decodeYAML(f.text, &c) { // JSON is YAML
		return false, errDamaged
	}
	for _, p := range c.Providers {
		e.provider(f.path, bin, p.Name)
		for _, v := range p.Env {
			if v.Value != "" && isSecretVariable(v.Name) {
				secret = true
				e.tell(problem{id: "stray-secret", place: f.path, entry: p.Name, reason: "its variable " + show(v.Name) + " holds a secret", mend: e.edit(f.path)})
			}
		}
		for _, a := range p.Args {
			if name, value, ok := strings.Cut(a, "="); ok && value != "" && secretName.MatchString(name) {
				secret = true
				e.tell(problem{id: "stray-secret", place: f.path, entry: p.Name, reason: "its argument " + show(name) + " holds a secret, which the process list shows", mend: e.edit(f.path)})
			}
		}
	}
	return secret, nil
}

// kubeconfig reads the file of kubectl. Its embedded keys are secrets of which
// nothing is told but who may read them.
func (e *exam) kubeconfig(f file) (secret bool, err error) {
	var c struct {
		Users []struct {
			Name string
			User struct {
				Username, Password, Token string
				Key                       string `yaml:"client-key-data"`
			}
		}
		Clusters []struct {
			Name    string
			Cluster struct {
				Server   string
				Insecure bool `yaml:"insecure-skip-tls-verify"`
			}
		}
	}
	if !decodeYAML(f.text, &c) {
		return false, errDamaged
	}
	for _, u := range c.Users {
		secret = secret || u.User.Password+u.User.Token+u.User.Key != ""
		h := held{place: f.path, entry: u.Name, user: u.User.Username, slot: passwordSlot, value: access.NewSecret(u.User.Password), mend: e.naming(f.path, "kubectl --kubeconfig "+e.at(f.path)+" config delete-user", u.Name)}
		e.secret(h)
		h.slot, h.value = bearerSlot, access.NewSecret(u.User.Token)
		e.secret(h)
	}
	for _, k := range c.Clusters {
		if k.Cluster.Insecure || strings.HasPrefix(k.Cluster.Server, "http://") && !onLoopback(k.Cluster.Server) {
			e.tell(problem{id: "insecure-cluster", place: f.path, entry: k.Name, reason: "it is taken without verifying its certificate, or over http://", mend: e.edit(f.path)})
		}
	}
	return secret, nil
}

// helmRepositories reads the file in which helm has its chart repositories.
func (e *exam) helmRepositories(f file) (secret bool, err error) {
	var c struct {
		Repositories []struct {
			Name, URL, Username, Password string
			Insecure                      bool `yaml:"insecure_skip_tls_verify"`
		}
	}
	if !decodeYAML(f.text, &c) {
		return false, errDamaged
	}
	for _, r := range c.Repositories {
		secret = secret || r.Password != ""
		registry := ""
		if u, err := url.Parse(r.URL); err == nil {
			registry = u.Host
		}
		e.secret(held{place: f.path, entry: r.Name, registry: registry, user: r.Username, slot: passwordSlot, value: access.NewSecret(r.Password), mend: e.naming(f.path, "helm repo remove --repository-config "+e.at(f.path), r.Name)})
		if r.Insecure || strings.HasPrefix(r.URL, "http://") {
			e.insecure(f.path, r.URL, "it is taken without verifying its certificate, or over http://")
		}
	}
	return secret, nil
}

func (e *exam) regctlFile() string { return e.variable("REGCTL_CONFIG", e.home+"/.regctl/config.json") }

// A regctlHost is what regctl has for one registry.
type regctlHost struct{ TLS, User, Pass, Token, ClientKey, CredHelper string }

// regctl reads the configuration of regclient's tools.
func (e *exam) regctl(f file) (secret bool, err error) {
	var c struct {
		Hosts   map[string]regctlHost
		Default regctlHost `json:"hostDefault"`
	}
	if json.Unmarshal(f.text, &c) != nil {
		return false, errDamaged
	}
	for _, name := range sortedKeys(c.Hosts) {
		secret = e.regctlHost(f.path, name, name, c.Hosts[name]) || secret
	}
	return e.regctlHost(f.path, "every registry", "", c.Default) || secret, nil
}

func (e *exam) regctlHost(place, name, registry string, h regctlHost) (secret bool) {
	of := held{place: place, entry: name, registry: registry, user: h.User, slot: passwordSlot, value: access.NewSecret(h.Pass), mend: e.logout(place, name, []string{"REGCTL_CONFIG=%F regctl registry logout"})}
	e.secret(of)
	of.slot, of.value = identitySlot, access.NewSecret(h.Token)
	e.secret(of)
	switch strings.ToLower(h.TLS) {
	case "disabled", "insecure":
		e.insecure(place, name, "tls is "+show(h.TLS))
	}
	if h.CredHelper != "" {
		e.helper(place, name, h.CredHelper)
	}
	return h.Pass+h.Token+h.ClientKey != ""
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
