package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestAdmin runs the commands that speak to the admin API against servers of
// their own: the scripts of testdata/admin and the examples of docs/cli.md,
// docs/api.md and docs/token-server.md.
func TestAdmin(t *testing.T) {
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/admin",
			Setup: func(env *testscript.Env) error {
				env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
				env.Setenv("SALLYPORT_KEYCHAIN", "none")
				env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, "docker"))
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"server": serverCommand(t), "exits": scriptExits, "remember": scriptRemember, "mode": scriptMode,
			},
		})
	})
	t.Run("docs of the command line", testCLIDocs)
	t.Run("docs of the API", testAPIDocs)
	t.Run("docs of the token server", testTokenServerDocs)
	t.Run("docs of federation", testFederationDocs)
}

// adminPassword is the first password of every server's administrator. All
// secrets in scripts and docs are called canaries: no log may hold one.
const adminPassword = "canary-of-the-administrator"

// A testServer is a process of its own.
type testServer struct {
	dir, address string
	log          bytes.Buffer
	cmd          *exec.Cmd
	exited       chan error
}

// freeAddresses returns two addresses of this machine that nobody listens on.
func freeAddresses() (one, other string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	m, err := net.Listen("tcp", "127.0.0.1:0") // while l is open, so that they differ
	if err != nil {
		return "", "", err
	}
	return l.Addr().String(), m.Addr().String(), m.Close()
}

// startServer starts a server whose data are in dir/data, and returns when it
// is ready.
func startServer(dir string) (*testServer, error) {
	address, health, err := freeAddresses()
	password := filepath.Join(dir, "admin-password.txt")
	err = errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(password, []byte(adminPassword+"\n"), 0o600))
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "sallyport.yaml")
	if !exists(config) {
		if err := os.WriteFile(config, []byte("login: {providers: [{name: corp, issuer: \"https://idp.example.com\", client_id: registry}]}\n"), 0o600); err != nil {
			return nil, err
		}
	}
	s := &testServer{dir: dir, address: address, exited: make(chan error, 1)}
	s.cmd = exec.Command("sallyport", "serve", "--config", config, "--data", filepath.Join(dir, "data"), "--listen", address,
		"--health-listen", health, "--log-format", "json", "--admin-password-file", password)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.exited <- s.cmd.Wait() }()
	for range 1500 {
		if resp, err := http.Get("http://" + health + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		select {
		case err := <-s.exited:
			return nil, fmt.Errorf("the server exited: %v\n%s", err, &s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.cmd.Process.Kill()
	<-s.exited
	return nil, fmt.Errorf("the server was not ready after 30 s\n%s", &s.log)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// stop ends the server and reads its log for secrets (L-01).
func (s *testServer) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-s.exited; err != nil {
		return fmt.Errorf("the server ended with %v\n%s", err, &s.log)
	}
	for _, secret := range []string{"canary", "sallyport_key_", "sallyport_idt_", "sallyport_rst_", "sallyport_aut_", "sallyport_dev_"} {
		if strings.Contains(s.log.String(), secret) {
			return fmt.Errorf("L-01: the log holds %q\n%s", secret, &s.log)
		}
	}
	return nil
}

// serverCommand returns the command "server NAME", which starts a server and
// sets $NAME (its address), $NAME_URL, $NAME_CA and the file
// NAME/admin-password.txt.
func serverCommand(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		name := args[0]
		s, err := startServer(ts.MkAbs(name))
		ts.Check(err)
		ts.Defer(func() {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
		ts.Setenv(name, s.address)
		ts.Setenv(name+"_URL", "https://"+s.address)
		ts.Setenv(name+"_CA", filepath.Join(s.dir, "data", "tls", "ca.pem"))
	}
}

// exits CODE PROGRAM ARG… runs a program that must end with this code.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !failed:
		ts.Fatalf("%v", err)
	case failed && exit.ExitCode() != want, !failed && want != 0:
		ts.Fatalf("%s ended with %v, want exit code %d\n%s", args[1], err, want, ts.ReadFile("stderr"))
	}
}

// remember NAME sets $NAME to the standard output of the last command; with a
// field, to the first value of that field in its JSON.
func scriptRemember(ts *testscript.TestScript, _ bool, args []string) {
	value := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) > 1 {
		_, after, found := strings.Cut(value, `"`+args[1]+`": "`)
		if !found {
			ts.Fatalf("%s has no field %q", value, args[1])
		}
		value, _, _ = strings.Cut(after, `"`)
	}
	ts.Setenv(args[0], value)
}

// mode MODE FILE checks the permissions of a file.
func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%#o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// leaves returns the commands below c that do something.
func leaves(c *cobra.Command) []*cobra.Command {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		out = append(out, leaves(sub)...)
	}
	return out
}

// adminLeaves returns them for all commands of the admin API.
func adminLeaves() []*cobra.Command {
	root := newRoot()
	var out []*cobra.Command
	for _, c := range root.Commands() {
		if slices.ContainsFunc(adminCommands(), func(a *cobra.Command) bool { return a.Name() == c.Name() }) {
			out = append(out, leaves(c)...)
		}
	}
	return out
}

// wordless are the commands whose result is no data: what they did, they did, or
// it is a text of its own.
var wordless = []string{
	"login", "logout", "redeem", "token", "user password", "user link", "user unlink", "user remove", "robot remove", "group add", "group remove",
	"key revoke", "session revoke", "signing-key revoke", "signing-key jwks", "issuer remove", "policy apply", "policy rollback", "policy validate", "openapi",
}

// TestOutputFlag: every command with a result gives it as data too.
func TestOutputFlag(t *testing.T) {
	for _, c := range adminLeaves() {
		path := strings.TrimPrefix(c.CommandPath(), "sallyport ")
		f := c.Flags().Lookup("output")
		if has := f != nil && f.Shorthand == "o" && f.Value.Type() == "table|json|yaml"; has == slices.Contains(wordless, path) {
			t.Errorf("%s has -o: %v", path, has)
		}
	}
}

// TestCompletion: what completes is for commands and flags that there are.
func TestCompletion(t *testing.T) {
	root := newRoot()
	for path := range argumentsOf {
		found, rest, err := root.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 || found.ValidArgsFunction == nil {
			t.Errorf("%q is not completed (%v)", path, err)
		}
	}
	for _, c := range leaves(root) {
		for name := range flagsOf {
			if _, completes := c.GetFlagCompletionFunc(name); completes != (c.Flags().Lookup(name) != nil) {
				t.Errorf("%s: --%s completes: %v", c.CommandPath(), name, completes)
			}
		}
	}
}

// TestHelp: every command explains itself, and its examples are command lines
// that it takes.
func TestHelp(t *testing.T) {
	for _, c := range leaves(newRoot()) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || strings.TrimSpace(c.Example) == "" {
				t.Fatal("there is no description or no example")
			}
			for line := range strings.Lines(c.Example) {
				words := strings.Fields(strings.NewReplacer("'", "", "source <(", "", ")", "").Replace(line))
				if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "<>") }); i >= 0 {
					words = words[:i]
				}
				found, rest, err := newRoot().Find(words[1:])
				if err != nil || found.CommandPath() != c.CommandPath() {
					t.Errorf("%q is not %s (%v)", line, c.CommandPath(), err)
					continue
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%q: %v", line, err)
				} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("--%s is not explained", f.Name)
				}
				for _, word := range []string{"password", "secret", "token"} {
					if f.Name == word {
						t.Errorf("L-12: --%s takes a secret from the command line", f.Name)
					}
				}
			})
		})
	}
}

func TestLife(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration // 0: refused
	}{
		{"90d", 90 * 24 * time.Hour}, {"1d12h", 36 * time.Hour}, {"12h", 12 * time.Hour}, {"1m", time.Minute}, {"1d30m", 24*time.Hour + 30*time.Minute},
		{"", 0}, {"d", 0}, {"0d", 0}, {"-1d", 0}, {"1.5d", 0}, {"90", 0}, {"90D", 0}, {"1s", 0}, {"1d-1h", 0}, {"99999999d", 0}, {"4294967296d", 0}, {"106751d24h", 0}, {"1h1d", 0}, {"1d1d", 0},
	} {
		var l life
		if err := l.Set(c.in); time.Duration(l) != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%q is %s (%v), want %s", c.in, time.Duration(l), err, c.want)
		}
	}
}
