package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

const (
	audience       = "registry.example.com" // as docs/kubernetes.md has it
	kubernetesDocs = "../docs/kubernetes.md"
)

// A yard is a cluster with a node, and a registry that its pods pull from.
type yard struct {
	*cluster
	s          *server
	issuers    string // the file of the registry's configuration
	program    string // the kubelet
	bin        string // its providers
	containerd string // its socket
	dirs       []string
	image      map[string]string // repository → reference

	mu      sync.Mutex
	secrets []string
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{cluster: newCluster(t), image: map[string]string{}, bin: t.TempDir()}
	y.issuers = filepath.Join(t.TempDir(), "issuers.yaml")
	ft.Write(t, y.issuers, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n"))
	y.s = newServer(t, serverOptions{Extra: "federation:\n  allow_private: [" + clusterName + ", " + clusterIP + ", 127.0.0.1]\n  issuers_file: " + y.issuers + "\n"})
	y.s.Login()
	p := &pusher{Base: y.s.Base(), Client: y.s.HTTP(), User: "admin", Password: adminPassword}
	for _, repo := range []string{"prod/app", "prod/tool", "staging/app", "nodes/pause"} {
		layer := archive(t, repo)
		config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}`, digestOf(layer))
		must(t, p.push(repo, "v1", []byte(config), layer))
		y.image[repo] = y.s.Host + "/" + repo + ":v1"
	}
	y.program = filepath.Join(t.TempDir(), "kubelet")
	build := exec.Command("go", "build", "-trimpath", "-o", y.program, ".")
	build.Dir, build.Env = "kubelet", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.Symlink(binary, filepath.Join(y.bin, "sallyport-credential-provider")))
	y.startContainerd(t)
	for _, a := range [][2]string{{"prod", "web"}, {"prod", "other"}, {"staging", "web"}, {"registry", "sallyport"}} {
		y.account(a[0], a[1])
	}
	y.create("/api/v1/nodes", "apiVersion: v1\nkind: Node\nmetadata: {name: "+nodeName+"}\n")
	y.s.CLI(y.shown(t, "version: 2"), "policy", "apply", "-", "--base", "latest")
	y.dirs = append(y.dirs, y.s.Dir, y.dir)
	return y
}

// archive is a layer with one file.
func archive(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// startContainerd starts it as nodes have it, and has it trust the registry.
func (y *yard) startContainerd(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "node-") // short: a socket's path is at most 108 bytes
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	certs := filepath.Join(dir, "certs.d", y.s.Host)
	must(t, os.MkdirAll(certs, 0o755))
	must(t, os.WriteFile(filepath.Join(certs, "hosts.toml"), []byte(fmt.Sprintf("server = %q\n[host.%q]\n  ca = %q\n", y.s.Base(), y.s.Base(), y.s.CA)), 0o644))
	config := filepath.Join(dir, "config.toml")
	must(t, os.WriteFile(config, []byte(fmt.Sprintf("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n"+
		"  cni.conf_dir = %q\n  registry.config_path = %q\n", filepath.Join(dir, "cni"), filepath.Join(dir, "certs.d"))), 0o644))
	y.containerd = filepath.Join(dir, "c.sock")
	daemon(t, dir, y.containerd, tool(t, "containerd"), "--config", config, "--root", filepath.Join(dir, "c"), "--state", filepath.Join(dir, "cs"), "--address", y.containerd)
	y.dirs = append(y.dirs, dir)
}

// shown returns the YAML of docs/kubernetes.md that has some text.
func (y *yard) shown(t *testing.T, text string) string {
	t.Helper()
	page, err := os.ReadFile(kubernetesDocs)
	must(t, err)
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], text) {
			return block[1]
		}
	}
	t.Fatalf("%s shows no YAML with %q", kubernetesDocs, text)
	return ""
}

// secret notes that something may not be found anywhere in clear.
func (y *yard) secret(s string) string {
	y.mu.Lock()
	defer y.mu.Unlock()
	if s != "" && !slices.Contains(y.secrets, s) {
		y.secrets = append(y.secrets, s)
	}
	return s
}

func (y *yard) token(p pod, audience string) string { return y.secret(y.cluster.token(p, audience)) }

// node starts a kubelet with the configuration that the page shows for service
// accounts, changed.
func (y *yard) node(t *testing.T, changes ...string) *kubelet {
	t.Helper()
	config := strings.NewReplacer(append(changes,
		`matchImages: ["registry.example.com"]`, fmt.Sprintf("matchImages: [%q]", y.s.Host),
		`"--registry", "registry.example.com"`, fmt.Sprintf(`"--registry", %q, "--ca-file", %q`, y.s.Host, y.s.CA),
	)...).Replace(y.shown(t, "kind: CredentialProviderConfig"))
	return y.kubelet(t, y.program, y.bin, config, y.containerd)
}

// pulls has a pod's image pulled, and says what with.
func (y *yard) pulls(k *kubelet, p pod, repo string, with ...credential) pulled {
	k.t.Helper()
	a := k.ask(pull{pod: p, Image: y.image[repo], Pull: true, Credentials: with})
	for _, c := range a.Credentials {
		y.secret(c.Password)
	}
	if a.Error == "" && !strings.HasPrefix(a.Ref, "sha256:") {
		k.t.Errorf("pulled %q", a.Ref)
	}
	return a
}

func (y *yard) wantPull(k *kubelet, p pod, repo string, with ...credential) {
	k.t.Helper()
	if a := y.pulls(k, p, repo, with...); a.Error != "" {
		k.t.Errorf("%s/%s pulls %s: %s\n%s", p.Namespace, p.ServiceAccount, repo, a.Error, k.Log())
	}
}

func (y *yard) wantNoPull(k *kubelet, p pod, repo string, with ...credential) {
	k.t.Helper()
	a := y.pulls(k, p, repo, with...)
	if text := strings.ToLower(a.Error); !strings.Contains(text, "denied") && !strings.Contains(text, "authorization failed") && !strings.Contains(text, "401") && !strings.Contains(text, "403") {
		k.t.Errorf("%s/%s pulls %s: %+v", p.Namespace, p.ServiceAccount, repo, a)
	}
}

// until waits for something that comes within a minute.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for range 120 {
		if true() {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("not within a minute: %s", what)
}
