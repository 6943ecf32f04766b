package doctor

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

const tokenUser = dockerconfig.TokenUser

// docker examines what Docker's client and its daemon read, and those who read it
// too: crane, oras, nerdctl, regctl.
func (e *exam) docker(config string) {
	for _, name := range []string{e.dockerFile(), e.home + "/.docker/config.json"} {
		e.read(name, auths("DOCKER_CONFIG=%D docker logout", "DOCKER_CONFIG=%D crane auth logout", "DOCKER_CONFIG=%D oras logout"))
	}
	e.read(e.home+"/.dockercfg", legacyAuths)
	for _, daemon := range []string{"/etc/docker/daemon.json", config + "/docker/daemon.json"} {
		e.read(daemon, (*exam).dockerDaemon)
	}
	for _, certs := range []string{"/etc/docker/certs.d", config + "/docker/certs.d"} {
		e.certificates(certs)
	}
}

func (e *exam) dockerFile() string {
	return e.variable("DOCKER_CONFIG", e.home+"/.docker") + "/config.json"
}

// helm examines its registries and its repositories.
func (e *exam) helm(config string) {
	config = e.variable("HELM_CONFIG_HOME", config+"/helm")
	e.read(e.variable("HELM_REGISTRY_CONFIG", config+"/registry/config.json"), auths("helm registry logout --registry-config %F"))
	e.read(e.variable("HELM_REPOSITORY_CONFIG", config+"/repositories.yaml"), (*exam).helmRepositories)
}

// auths reads a file of docker's form. The programs are those that can take an
// entry away, the first that is here is named.
func auths(programs ...string) reader {
	return func(e *exam, f file) (bool, error) {
		c, err := dockerconfig.Parse(f.text)
		return e.config(f.path, c, programs), err
	}
}

func legacyAuths(e *exam, f file) (bool, error) {
	c, err := dockerconfig.ParseLegacy(f.text)
	return e.config(f.path, c, nil), err
}

// config tells of what a file of docker's form holds.
func (e *exam) config(place string, c dockerconfig.Config, programs []string) (secret bool) {
	for _, entry := range c.Entries {
		secret = secret || entry.HasSecret()
		e.entry(place, entry, e.logout(place, entry.Registry, programs))
		e.helperOf(place, c, entry)
	}
	for _, s := range c.Strays {
		secret = true
		e.tell(problem{id: "stray-secret", place: place, entry: s.Where, reason: "a secret stands in it", mend: e.edit(place)})
	}
	for _, h := range c.Helpers {
		e.helper(place, h.Registry, "docker-credential-"+h.Name)
	}
	if c.Store != "" {
		e.helper(place, "", "docker-credential-"+c.Store)
	}
	return secret
}

func (e *exam) entry(place string, entry dockerconfig.Entry, mend string) {
	if entry.Fault != dockerconfig.Sound {
		e.tell(problem{id: "entry-damaged", place: place, entry: entry.Registry, reason: string(entry.Fault), mend: mend})
	}
	h := held{place: place, entry: entry.Registry, registry: entry.Registry, user: entry.Username, mend: mend}
	h.slot, h.value = passwordSlot, entry.Password
	e.secret(h)
	h.slot, h.value = identitySlot, entry.IdentityToken
	e.secret(h)
	h.slot, h.value = bearerSlot, entry.RegistryToken
	e.secret(h)
}

// logout is the command that takes an entry out of a file: of the first program
// that is here. In programs, %F is the file and %D its directory.
func (e *exam) logout(place, registry string, programs []string) string {
	if strings.HasPrefix(place, "$") {
		return e.edit(place)
	}
	for _, command := range programs {
		if e.own && (place == e.dockerFile() || place == e.regctlFile()) {
			_, command, _ = strings.Cut(command, " ")
		}
		words := strings.Fields(command)
		name := words[0]
		if strings.Contains(name, "=") {
			name = words[1]
		}
		if _, err := exec.LookPath(name); err == nil {
			return e.naming(place, strings.NewReplacer("%F", e.at(place), "%D", e.at(path.Dir(place))).Replace(command), registry)
		}
	}
	return e.edit(place)
}

// dockerDaemon reads the daemon's configuration.
func (e *exam) dockerDaemon(f file) (bool, error) {
	var d struct {
		Insecure []string `json:"insecure-registries"`
		Mirrors  []string `json:"registry-mirrors"`
	}
	if len(strings.TrimSpace(string(f.text))) > 0 && json.Unmarshal(f.text, &d) != nil {
		return false, errDamaged
	}
	for _, registry := range d.Insecure {
		e.insecure(f.path, registry, "insecure-registries has it")
	}
	for _, mirror := range d.Mirrors {
		if strings.HasPrefix(mirror, "http://") {
			e.insecure(f.path, mirror, "registry-mirrors has it with http://")
		}
	}
	return false, nil
}

// insecure tells of a registry that is taken without TLS, or without verifying it.
func (e *exam) insecure(place, registry, why string) {
	p := problem{id: "insecure-registry", place: place, entry: registry, reason: why, mend: e.edit(place)}
	if onLoopback(registry) {
		p.id = "insecure-loopback"
	}
	e.tell(p)
}

func onLoopback(registry string) bool {
	host := dockerconfig.Host(registry)
	if _, network, err := net.ParseCIDR(registry); err == nil {
		ones, _ := network.Mask.Size()
		return network.IP.IsLoopback() && ones >= 8
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// certificates examines a directory of certs.d: of each registry its CAs (*.crt),
// and the client's certificate and key.
func (e *exam) certificates(dir string) {
	if f, err := e.tree.resolve(dir); err != nil || !e.first(f.real+"/") {
		return
	}
	for _, registry := range e.tree.list(dir) {
		of := path.Join(dir, registry)
		e.readAll(of, (*exam).caFile, ".crt")
		e.readAll(of, func(*exam, file) (bool, error) { return true, nil }, ".key")
		e.readAll(of, (*exam).hosts, "hosts.toml")
	}
}

// caSoon is when a CA's end is near.
const caSoon = 30 * 24 * time.Hour

func (e *exam) caFile(f file) (bool, error) {
	rest, any := f.text, false
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		any = true
		if e.now.Add(caSoon).After(cert.NotAfter) {
			e.tell(problem{id: "ca-expired", place: f.path, entry: cert.Subject.CommonName, reason: "it ends at " + cert.NotAfter.UTC().Format("2006-01-02 15:04Z"), mend: "openssl x509 -noout -subject -enddate -in " + e.at(f.path)})
		}
	}
	if !any {
		return false, errDamaged
	}
	return false, nil
}
