package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const adminPassword = "correct-horse-battery-staple-1"

// A server is one running sallyport with a data directory of its own.
type server struct {
	t        *testing.T
	Dir      string // holds data/, the configuration, the CLI's home
	Data     string
	Host     string // host:port that clients use
	CA       string // path of the CA certificate
	Port     int    // that it listens on
	wrap     []string
	cmd      *exec.Cmd
	log      *os.File
	exited   chan error
	stopped  bool
	health   int
	database string
	extra    string
	plain    bool
}

// serverOptions change a server from its defaults.
type serverOptions struct {
	Database string   // URL; "" is SQLite in the data directory
	Extra    string   // more configuration, YAML
	Front    int      // port that clients use instead, of a proxy in front
	Wrap     []string // command that runs the server, such as strace
	Dir      string   // an existing directory; "" makes one
	Plain    bool     // plain HTTP on loopback
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", registryIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newServer writes a configuration and starts the server, until the test ends.
func newServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	s := prepareServer(t, o)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// prepareServer writes a configuration.
func prepareServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	s := &server{t: t, Dir: o.Dir, Port: freePort(t), health: freePort(t), database: o.Database, extra: o.Extra, wrap: o.Wrap, plain: o.Plain}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	s.Data = filepath.Join(s.Dir, "data")
	s.CA = filepath.Join(s.Data, "tls", "ca.pem")
	front := s.Port
	if o.Front != 0 {
		front = o.Front
	}
	s.Host = fmt.Sprintf("%s:%d", registryName, front)
	must(t, os.WriteFile(filepath.Join(s.Dir, "admin-password"), []byte(adminPassword+"\n"), 0o600))
	config := fmt.Sprintf("data: %s\nlisten: %s:%d\nexternal_url: https://%s\nadmin_password_file: %s\nhealth:\n  listen: 127.0.0.1:%d\n",
		s.Data, registryIP, s.Port, s.Host, filepath.Join(s.Dir, "admin-password"), s.health)
	if s.plain {
		s.Host = fmt.Sprintf("127.0.0.1:%d", s.Port)
		config = fmt.Sprintf("data: %s\nlisten: %s\ninsecure_http: true\nadmin_password_file: %s\nhealth:\n  listen: 127.0.0.1:%d\n",
			s.Data, s.Host, filepath.Join(s.Dir, "admin-password"), s.health)
	}
	if s.database != "" {
		config += "database: " + s.database + "\n"
	}
	must(t, os.WriteFile(filepath.Join(s.Dir, "sallyport.yaml"), []byte(config+s.extra), 0o600))
	return s
}

// Base is the address that clients use.
func (s *server) Base() string {
	if s.plain {
		return "http://" + s.Host
	}
	return "https://" + s.Host
}

// Start runs the server and returns when it is ready.
func (s *server) Start() {
	s.t.Helper()
	if err := s.TryStart(); err != nil {
		s.t.Fatal(err)
	}
}

// TryStart is Start for a server that may refuse.
func (s *server) TryStart() error {
	var err error
	if s.log, err = os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	args := append(append([]string{}, s.wrap...), binary, "serve", "--config", filepath.Join(s.Dir, "sallyport.yaml"))
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.stopped = false
	exited := make(chan error, 1)
	go func(c *exec.Cmd) { exited <- c.Wait() }(s.cmd)
	ready := fmt.Sprintf("http://127.0.0.1:%d/readyz", s.health)
	for range 600 {
		select {
		case err := <-exited:
			s.stopped = true
			return fmt.Errorf("the server exited: %v\n%s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
		resp, err := http.Get(ready)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			s.exited = exited
			return nil
		}
	}
	return fmt.Errorf("the server was not ready after 12 s\n%s", s.Log())
}

// Stop ends the server gracefully and checks that it says so.
func (s *server) Stop() {
	if s.stopped {
		return
	}
	s.stopped = true
	s.signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		if err != nil {
			s.t.Errorf("the server ended with %v\n%s", err, s.Log())
		}
	case <-time.After(40 * time.Second):
		s.t.Errorf("the server did not end on SIGTERM\n%s", s.Log())
		s.signal(syscall.SIGKILL)
	}
	s.log.Close()
}

// Kill ends the server as kill -9 does.
func (s *server) Kill() {
	s.stopped = true
	s.signal(syscall.SIGKILL)
	<-s.exited
	s.log.Close()
}

func (s *server) signal(sig syscall.Signal) { s.cmd.Process.Signal(sig) }

// Log returns what the server wrote.
func (s *server) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(b)
}

// KEK returns the file that the server made for its key-encryption key. Those
// that share its database need the same one.
func (s *server) KEK() string { return filepath.Join(s.Data, "keys", "signing.kek") }

// URL returns the address of path.
func (s *server) URL(path string) string { return "https://" + s.Host + path }

// HTTP returns a client that trusts the server's CA.
func (s *server) HTTP() *http.Client {
	pem, err := os.ReadFile(s.CA)
	must(s.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: pool},
			MaxIdleConnsPerHost: 64,
		},
	}
}

// CLI runs the sallyport command as the administrator and returns its output.
func (s *server) CLI(stdin string, args ...string) string {
	s.t.Helper()
	return s.CLIAs("admin", stdin, args...)
}

// CLIAs runs the sallyport command with the stored login of one person.
func (s *server) CLIAs(who, stdin string, args ...string) string {
	s.t.Helper()
	home := filepath.Join(s.Dir, "cli-"+who)
	r := run{Stdin: stdin, Env: []string{"XDG_CONFIG_HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, "docker"), "REGISTRY_AUTH_FILE=", "XDG_RUNTIME_DIR=" + home}}
	return r.ok(s.t, append([]string{binary}, args...)...)
}

// Login logs the CLI in as the administrator.
func (s *server) Login() {
	s.t.Helper()
	s.CLI(adminPassword+"\n", "login", "https://"+s.Host, "--username", "admin", "--password-stdin", "--ca-file", s.CA)
}

// AddUser adds a person with a password and returns that.
func (s *server) AddUser(name string) string {
	s.t.Helper()
	password := "correct-horse-of-" + name + "-staple"
	s.CLI(password+"\n", "user", "add", name, "--password-stdin")
	return password
}

// Policy applies a policy: the administrators' rule and the given ones.
func (s *server) Policy(rules string) {
	s.t.Helper()
	doc := "version: 1\nrules:\n  - who: [\"group:admins\"]\n    what: [\"**\"]\n    may: [pull, push, delete, admin]\n" + rules
	s.CLI(doc, "policy", "apply", "-", "--base", "latest")
}

// A run is a command to run: with what input and what beside the environment.
type run struct {
	Stdin string
	Env   []string
	Dir   string
}

// ok runs the command and returns its standard output; failure ends the test.
func (r run) ok(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := r.try(t, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// fails runs the command, which must fail, and returns all it printed.
func (r run) fails(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := r.try(t, args...)
	if err == nil {
		t.Fatalf("%s succeeded, and should not have:\n%s%s", strings.Join(args, " "), stdout, stderr)
	}
	return stdout + stderr
}

func (r run) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(r.Stdin), &out, &errs
	c.Env, c.Dir = append(os.Environ(), r.Env...), r.Dir
	err = c.Run()
	return out.String(), errs.String(), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool returns the path of a program, or fails naming the cure.
func tool(t *testing.T, name string) string {
	t.Helper()
	if here, err := filepath.Abs(filepath.Join("..", ".tools", "bin", name)); err == nil {
		if _, err := os.Stat(here); err == nil {
			return here
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run .ci/tools", name)
	}
	return path
}
