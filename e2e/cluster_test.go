package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// Where the API server is: in the cluster by the name that every pod knows, for
// the world outside by another.
const (
	clusterIP     = "10.0.0.11"
	clusterInside = "kubernetes.default.svc"
	clusterName   = "api.cluster.example"
	clusterIssuer = "https://kubernetes.default.svc.cluster.local"
	nodeName      = "node-1"
)

// A cluster is a kube-apiserver and its etcd: all of Kubernetes that says who a
// pod is. There are no controllers; the test makes what they would make.
type cluster struct {
	t      *testing.T
	dir    string
	ca     *ft.CA
	client *http.Client // of an administrator
	server *exec.Cmd
	took   time.Duration
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), ca: ft.NewCA(t, "kubernetes")}
	out, err := exec.Command("ip", "address", "replace", clusterIP+"/32", "dev", "lo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hosts, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0) // of this namespace
	must(t, err)
	_, err = fmt.Fprintf(hosts, "%s %s %s\n", clusterIP, clusterInside, clusterName)
	must(t, err)
	must(t, hosts.Close())
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ft.Write(t, c.file("sa.key"), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	ft.Write(t, c.file("ca.crt"), ft.PEM(c.ca))
	ft.WriteFiles(t, c.ca.Client(func(x *x509.Certificate) {
		x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		x.DNSNames, x.IPAddresses = []string{clusterInside, clusterName}, []net.IP{net.ParseIP(clusterIP)}
	}), c.file("server.crt"), c.file("server.key"))
	ft.WriteFiles(t, c.person("system:node:"+nodeName, "system:nodes"), c.file("node.crt"), c.file("node.key"))
	pool := x509.NewCertPool()
	pool.AddCert(c.ca.Cert)
	c.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{c.person("root", "system:masters")},
	}}}
	c.start()
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) url() string { return "https://" + clusterName }

func (c *cluster) person(name, group string) tls.Certificate {
	return c.ca.Client(ft.CN(name), func(x *x509.Certificate) { x.Subject.Organization = []string{group} })
}

// start runs etcd and kube-apiserver until the test ends, and returns when they are ready.
func (c *cluster) start() {
	c.t.Helper()
	began := time.Now()
	etcd, peers := fmt.Sprintf("http://127.0.0.1:%d", freePort(c.t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(c.t))
	c.run("etcd", "--data-dir", c.file("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	// Without a controller-manager nothing mends the endpoints or makes the service
	// accounts that two of these would wait for.
	c.server = c.run("kube-apiserver", "--etcd-servers", etcd, "--bind-address", clusterIP, "--advertise-address", clusterIP, "--secure-port", "443",
		"--tls-cert-file", c.file("server.crt"), "--tls-private-key-file", c.file("server.key"), "--client-ca-file", c.file("ca.crt"),
		"--service-account-issuer", clusterIssuer, "--service-account-key-file", c.file("sa.key"), "--service-account-signing-key-file", c.file("sa.key"),
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--disable-admission-plugins", "ServiceAccount",
		"--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "198.51.100.0/24")
	for range 600 {
		if resp, err := c.client.Get(c.url() + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				c.took = time.Since(began)
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatalf("the API server was not ready after a minute\n%s", c.log("kube-apiserver"))
}

func (c *cluster) log(program string) string {
	text, _ := os.ReadFile(c.file(program + ".log"))
	return string(text)
}

func (c *cluster) run(program string, args ...string) *exec.Cmd {
	c.t.Helper()
	log, err := os.Create(c.file(program + ".log"))
	must(c.t, err)
	cmd := exec.Command(tool(c.t, program), args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(c.t, cmd.Start())
	c.t.Cleanup(func() {
		cmd.Process.Kill() // nothing of theirs is kept
		cmd.Wait()
	})
	return cmd
}

// call sends a request of the administrator, whose body is YAML or JSON.
func (c *cluster) call(method, path, body string) (int, []byte) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url()+path, strings.NewReader(body))
	must(c.t, err)
	req.Header.Set("Content-Type", "application/yaml")
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	must(c.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(c.t, err)
	return resp.StatusCode, answer
}

// create makes an object and returns its uid.
func (c *cluster) create(path, body string) string {
	c.t.Helper()
	status, answer := c.call("POST", path, body)
	var made struct{ Metadata struct{ UID string } }
	if err := json.Unmarshal(answer, &made); status != http.StatusCreated || err != nil {
		c.t.Fatalf("POST %s: %d %v\n%s", path, status, err, answer)
	}
	return made.Metadata.UID
}

// apply makes the objects of a document that shows them, as kubectl create does.
func (c *cluster) apply(document string) {
	c.t.Helper()
	kinds := map[string]string{"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}
	for _, object := range strings.Split(document, "\n---\n") {
		kind := regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(object)
		if kind == nil || kinds[kind[1]] == "" {
			c.t.Fatalf("no role and no binding:\n%s", object)
		}
		c.create("/apis/rbac.authorization.k8s.io/v1/"+kinds[kind[1]], object)
	}
}

// A pod is what the kubelet knows of one.
type pod struct{ Namespace, Pod, UID, ServiceAccount string }

// account makes a service account, and its namespace if that is not there.
func (c *cluster) account(namespace, name string) {
	c.t.Helper()
	c.call("POST", "/api/v1/namespaces", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n")
	c.create("/api/v1/namespaces/"+namespace+"/serviceaccounts", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: "+name+", annotations: {reg.test/team: blue}}\n")
}

// pod makes a pod that the node is to run.
func (c *cluster) pod(namespace, name, account, image string) pod {
	c.t.Helper()
	uid := c.create("/api/v1/namespaces/"+namespace+"/pods", fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  serviceAccountName: %s
  nodeName: %s
  containers: [{name: one, image: %q}]
`, name, account, nodeName, image))
	return pod{namespace, name, uid, account}
}

// token asks for a service account's token, bound to the pod, as a projected
// volume has it.
func (c *cluster) token(p pod, audience string) string {
	c.t.Helper()
	bound := ""
	if p.Pod != "" {
		bound = fmt.Sprintf("\n  boundObjectRef: {apiVersion: v1, kind: Pod, name: %s, uid: %s}", p.Pod, p.UID)
	}
	status, answer := c.call("POST", "/api/v1/namespaces/"+p.Namespace+"/serviceaccounts/"+p.ServiceAccount+"/token",
		fmt.Sprintf("apiVersion: authentication.k8s.io/v1\nkind: TokenRequest\nspec:\n  audiences: [%q]\n  expirationSeconds: 3600%s\n", audience, bound))
	var made struct{ Status struct{ Token string } }
	if err := json.Unmarshal(answer, &made); status != http.StatusCreated || err != nil || made.Status.Token == "" {
		c.t.Fatalf("TokenRequest: %d %v\n%s", status, err, answer)
	}
	return made.Status.Token
}

// remove deletes an object at once.
func (c *cluster) remove(path string) {
	c.t.Helper()
	if status, answer := c.call("DELETE", path, "apiVersion: v1\nkind: DeleteOptions\ngracePeriodSeconds: 0\n"); status != http.StatusOK {
		c.t.Fatalf("DELETE %s: %d\n%s", path, status, answer)
	}
}

// A kubelet is the program in e2e/kubelet, with one configuration of providers.
type kubelet struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
	log string // a file
}

type pull struct {
	pod
	Image       string
	Pull        bool
	Credentials []credential
}

type credential struct{ Username, Password string }

type pulled struct {
	Credentials []credential
	Ref, Error  string
}

// kubelet starts one as the node, whose providers are in bin.
func (c *cluster) kubelet(t *testing.T, program, bin, config, runtime string) *kubelet {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credential-providers.yaml")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	log, err := os.CreateTemp(c.dir, "kubelet-*.log")
	must(t, err)
	k := &kubelet{t: t, log: log.Name()}
	cmd := exec.Command(program, "--server", c.url(), "--ca-file", c.file("ca.crt"), "--cert-file", c.file("node.crt"), "--key-file", c.file("node.key"),
		"--image-credential-provider-config", file, "--image-credential-provider-bin-dir", bin, "--container-runtime-endpoint", "unix://"+runtime)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait(); log.Close() })
	k.in, k.out = json.NewEncoder(in), json.NewDecoder(out)
	return k
}

func (k *kubelet) Log() string {
	text, _ := os.ReadFile(k.log)
	return string(text)
}

func (k *kubelet) ask(r pull) pulled {
	k.t.Helper()
	var a pulled
	err := k.in.Encode(r)
	if err == nil {
		err = k.out.Decode(&a)
	}
	if err != nil {
		k.t.Fatalf("the kubelet: %v\n%s", err, k.Log())
	}
	return a
}

// credential returns what the providers give for an image, which may be nothing.
func (k *kubelet) credential(p pod, image string) credential {
	k.t.Helper()
	all := k.ask(pull{pod: p, Image: image}).Credentials
	if len(all) > 1 {
		k.t.Fatalf("several credentials for %s", image)
	}
	return append(all, credential{})[0]
}
