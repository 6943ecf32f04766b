package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCredentialHelper: one login by sallyport, and every client pushes and pulls
// through the helper; afterwards neither the password nor the identity token is
// anywhere in clear but in the one file for it, nor was in a list of processes.
func TestCredentialHelper(t *testing.T) {
	s := newServer(t, serverOptions{})
	e := startEngines(t, s)
	b := newBundle(t, e, 2, 256<<10)
	s.Login()
	alice := s.AddUser("alice")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	d := newDesk(t, s, e, b)
	t.Setenv("PATH", filepath.Join(d.home, "bin")+":"+os.Getenv("PATH"))
	t.Setenv("SALLYPORT_KEYCHAIN", "none")
	config := filepath.Join(d.home, ".config", "sallyport", "login.json")
	sallyport := func(stdin string, args ...string) string {
		r := d.run()
		r.Stdin = stdin
		return r.ok(t, append([]string{binary}, args...)...)
	}
	watch := watchProcesses(t)
	sallyport(alice, "login", s.Host, "--username", "alice", "--password-stdin", "--ca-file", s.CA)
	sallyport("", "helper", "install", s.Host, "--dir", filepath.Join(d.home, "bin"))
	sallyport("", "helper", "install", s.Host, "--dir", filepath.Join(d.home, "bin"), "--config", filepath.Join(d.home, "auth.json"))
	token := identityToken(t, config, "https://"+s.Host)

	for _, c := range clients {
		if !slices.Contains([]string{"docker", "podman", "skopeo", "crane", "oras", "regctl"}, c.name) {
			continue // ctr has no configuration; buildah is podman's library
		}
		t.Run(c.name, func(t *testing.T) {
			was := d.t
			d.t = t
			defer func() { d.t = was }()
			must(t, os.RemoveAll(filepath.Join(d.home, "pulled")))
			ref := s.Host + "/team/" + c.name + ":v1"
			if out, err := c.push(d, ref, "", ""); err != nil {
				t.Fatalf("push: %v\n%s", err, out)
			}
			c.pull(d, ref, "", "")
		})
	}
	if os.Getenv("SALLYPORT_TEST_ALL") != "" {
		t.Run("heavy", func(t *testing.T) { heavyThroughHelper(t, d) })
	}
	found := search(t, []string{d.home, s.Dir, filepath.Dir(e.dockerSocket), "/etc/docker", "/etc/containers"}, alice, token)
	if !slices.Equal(found, []string{config}) {
		t.Errorf("secrets are in clear in %q, and should be in %s alone", found, config)
	}
	if info, err := os.Stat(config); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("C-09: %v, %v", info, err)
	}
	if seen := watch(alice, token); len(seen) > 0 {
		t.Errorf("secrets are in the arguments of %q", seen)
	}

	// C-20: a logout of docker ends the session, at the server too.
	kept, err := os.ReadFile(config)
	must(t, err)
	d.ok("docker", "logout", s.Host)
	if found := search(t, []string{d.home}, alice, token); len(found) > 0 {
		t.Errorf("after docker logout secrets are in %q", found)
	}
	must(t, os.WriteFile(config, kept, 0o600))
	if out := d.run().fails(t, binary, "whoami"); !strings.Contains(out, "the login has ended") {
		t.Errorf("after docker logout the identity token says %s", out)
	}
}

func identityToken(t *testing.T, file, server string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	var logins struct {
		Servers map[string]struct{ IdentityToken string }
	}
	must(t, json.Unmarshal(text, &logins))
	token := logins.Servers[server].IdentityToken
	if token == "" {
		t.Fatal("there is no identity token in " + file)
	}
	return token
}

// forms are how clients write a secret into files.
func forms(secrets ...string) [][]byte {
	var out [][]byte
	for _, s := range secrets {
		out = append(out, []byte(s))
		for _, user := range []string{"alice:", "kubernetes:", "sa:", "<token>:", ":", ""} {
			out = append(out, []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(user+s)), "=")))
		}
	}
	return out
}

// search returns the files below dirs that hold one of the secrets.
func search(t *testing.T, dirs []string, secrets ...string) []string {
	t.Helper()
	wanted := forms(secrets...)
	var out []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
			if err != nil || !f.Type().IsRegular() {
				return nil // gone meanwhile, or a socket
			}
			text, err := os.ReadFile(path)
			if err == nil && slices.ContainsFunc(wanted, func(w []byte) bool { return bytes.Contains(text, w) }) {
				out = append(out, path)
			}
			return nil
		})
		must(t, err)
	}
	return out
}

// watchProcesses collects the arguments of all processes until what it returns is
// called, which gives those that hold one of the secrets.
func watchProcesses(t *testing.T) func(secrets ...string) []string {
	t.Helper()
	seen := map[string]bool{}
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				if text, err := os.ReadFile(f); err == nil {
					seen[string(text)] = true
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return func(secrets ...string) []string {
		close(stop)
		done.Wait()
		var out []string
		for line := range seen {
			if slices.ContainsFunc(forms(secrets...), func(w []byte) bool { return strings.Contains(line, string(w)) }) {
				out = append(out, strings.ReplaceAll(line, "\x00", " "))
			}
		}
		return out
	}
}
