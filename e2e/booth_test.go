package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// The provider is of another site than the registry, as browsers see it.
const (
	providerIP   = "10.0.0.21"
	providerName = "login.corp.test"
)

// A booth is a registry with a provider, and a person with a browser.
type booth struct {
	t       *testing.T
	s       *server
	e       *engines
	alice   *desk // signs in on her machine
	bob     *desk // signs in on another machine
	page    *page
	desks   []*desk
	home    string
	secrets []string
	local   string // the password of a local account
	typed   map[string]string
	image   string
}

func newBooth(t *testing.T) *booth {
	t.Helper()
	b := &booth{t: t, home: t.TempDir(), typed: map[string]string{"alice": rand.Text(), "bob": rand.Text()}}
	out, err := exec.Command("ip", "address", "replace", providerIP+"/32", "dev", "lo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hosts, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0) // of this namespace
	must(t, err)
	_, err = fmt.Fprintf(hosts, "%s %s\n", providerIP, providerName)
	must(t, err)
	must(t, hosts.Close())
	ca := ft.NewCA(t, "corp")
	ft.Write(t, b.file("ca.pem"), ft.PEM(ca))
	leaf := ca.Client(ft.DNS(providerName), func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	ft.WriteFiles(t, leaf, b.file("cert.pem"), b.file("key.pem"))
	secret := rand.Text()
	ft.Write(t, b.file("secret"), []byte(secret+"\n"))
	users := map[string]map[string]any{}
	for name, password := range b.typed {
		users["id-"+name] = map[string]any{"ID": "id-" + name, "Username": name, "Password": password, "FirstName": name}
	}
	text, err := json.Marshal(users)
	must(t, err)
	ft.Write(t, b.file("users.json"), text)

	issuer := fmt.Sprintf("https://%s:%d", providerName, freePort(t))
	b.s = newServer(t, serverOptions{Extra: "login:\n  providers:\n  - name: corp\n    issuer: " + issuer + "\n    client_id: reg\n    client_secret_file: " + b.file("secret") +
		"\n    scopes: [profile, offline_access]\n    groups_claim: groups\n    create_accounts: true\n    recheck: 1m\n    ca_file: " + b.file("ca.pem") +
		"\n    private_hosts: [" + providerName + "]\n"})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server says:\n%s", b.s.Log())
		}
	})
	b.page = b.openChromium(t, issuer, leaf.Certificate[0])
	b.s.Login()
	b.local = b.s.AddUser("carol")
	b.s.Policy("  - who: [\"group:corp/dev\"]\n    what: [\"team/**\"]\n    may: [pull]\n")
	layer := archive(t, "a layer")
	p := &pusher{Base: b.s.Base(), Client: b.s.HTTP(), User: "admin", Password: adminPassword}
	must(t, p.push("team/app", "v1", fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}`, digestOf(layer)), layer))
	b.image = b.s.Host + "/team/app:v1"
	b.secrets = append(b.secrets, secret, b.local, b.typed["alice"], b.typed["bob"])
	b.e = startEngines(t, b.s)
	b.alice, b.bob = b.desk(t), b.desk(t)
	return b
}

func (b *booth) file(name string) string { return filepath.Join(b.home, name) }

// desk is where docker and podman come to the helper.
func (b *booth) desk(t *testing.T) *desk {
	t.Helper()
	d := newDesk(b.t, b.s, b.e, nil)
	d.t, b.desks = t, append(b.desks, d)
	bin := filepath.Join(d.home, "bin")
	must(t, os.MkdirAll(bin, 0o755))
	must(t, os.Symlink(binary, filepath.Join(bin, "docker-credential-sallyport")))
	// Whoever opens a page here hands it to the test.
	script := "#!/bin/sh\nprintf %s \"$1\" >" + d.home + "/page.new && mv " + d.home + "/page.new " + d.home + "/page\n"
	must(t, os.WriteFile(filepath.Join(bin, "browser"), []byte(script), 0o755))
	d.env = []string{"REGISTRY_AUTH_FILE=", "SALLYPORT_KEYCHAIN=none", "PATH=" + bin + ":" + os.Getenv("PATH"), "BROWSER=" + filepath.Join(bin, "browser"),
		"SSH_CONNECTION=", "SSH_TTY="}
	return d
}

// openChromium starts the program in e2e/browser: the provider, and Chromium, which
// trusts the keys of both servers and no other.
func (b *booth) openChromium(t *testing.T, issuer string, leaf []byte) *page {
	t.Helper()
	program := b.file("browser")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Dir, build.Env = "browser", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.Create(b.file("browser.log"))
	must(t, err)
	u, err := url.Parse(issuer)
	must(t, err)
	cmd := exec.Command(program, "--issuer", issuer, "--listen", providerIP+":"+u.Port(), "--cert-file", b.file("cert.pem"), "--key-file", b.file("key.pem"),
		"--secret-file", b.file("secret"), "--users-file", b.file("users.json"), "--redirect", b.s.Base()+"/oauth/callback/corp",
		"--profile", b.file("profile"), "--trust", pin(t, leaf)+","+pin(t, b.served(t)))
	cmd.Stderr, cmd.Env = log, append(os.Environ(), "HOME="+b.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait(); log.Close() })
	return &page{json.NewEncoder(in), json.NewDecoder(out), issuer, log.Name()}
}

// served returns the certificate of the registry, which its CA vouches for.
func (b *booth) served(t *testing.T) []byte {
	t.Helper()
	resp, err := b.s.HTTP().Get(b.s.URL("/oauth/device"))
	must(t, err)
	resp.Body.Close()
	return resp.TLS.PeerCertificates[0].Raw
}

// pin is how Chromium is told of a key.
func pin(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	must(t, err)
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A page is what Chromium shows.
type page struct {
	in     *json.Encoder
	out    *json.Decoder
	issuer string
	log    string // a file
}

type shown struct {
	URL, Text string
	Found     []string
	Error     string
}

// do has the person do something, and returns what is shown then.
func (p *page) do(t *testing.T, what, at, text string) shown {
	t.Helper()
	var a shown
	err := p.in.Encode(map[string]string{"Do": what, "At": at, "Text": text})
	if err == nil {
		err = p.out.Decode(&a)
	}
	if err != nil || a.Error != "" {
		log, _ := os.ReadFile(p.log)
		t.Fatalf("%s %s %s: %v %s, at %s: %s\n%s", what, at, text, err, a.Error, a.URL, a.Text, log)
	}
	return a
}

func (p *page) open(t *testing.T, url string)       { t.Helper(); p.do(t, "open", "", url) }
func (p *page) typed(t *testing.T, at, text string) { t.Helper(); p.do(t, "type", at, text) }
func (p *page) click(t *testing.T, at string)       { t.Helper(); p.do(t, "click", at, "") }
func (p *page) scripts(t *testing.T, may string)    { t.Helper(); p.do(t, "script", "", may) }
func (p *page) complaints(t *testing.T) []string {
	t.Helper()
	return p.do(t, "complaints", "", "").Found
}
func (p *page) issued(t *testing.T, kind string) []string {
	t.Helper()
	return p.do(t, "issued", "", kind).Found
}

// see waits for a page that says all of the texts.
func (p *page) see(t *testing.T, texts ...string) shown {
	t.Helper()
	a := p.do(t, "see", "", texts[0])
	for _, text := range texts {
		if !strings.Contains(a.Text, text) {
			t.Errorf("%s does not say %q:\n%s", a.URL, text, a.Text)
		}
	}
	return a
}
