package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A finding is one of sallyport doctor.
type finding struct {
	Severity, ID, Place, Entry, Reason, Mend string
	Fixed                                    bool
}

// helmLogin is helm, which is built for "make test-all" alone.
var helmLogin = client{
	name: "helm", stored: ".config/helm/registry/config.json", left: "password",
	login: func(d *desk, user, password string) {
		d.okWith(password, "helm", "registry", "login", "--ca-file", d.s.CA, "--username", user, "--password-stdin", d.s.Host)
	},
}

// TestDoctor: what each client leaves on the disk after its login is found, as
// what it is and by whoever may read it; after --fix and the commands that were
// printed nothing bad is left. nerdctl is not among them: no test installs it.
func TestDoctor(t *testing.T) {
	s := newServer(t, serverOptions{})
	s.Login()
	alice := s.AddUser("alice")
	all := slices.Clone(clients)
	if os.Getenv("SALLYPORT_TEST_ALL") != "" {
		all = append(all, helmLogin)
	}
	for _, c := range all {
		if c.login == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, s, &engines{dockerSocket: "/nowhere"}, nil)
			c.login(d, "alice", alice)
			open := filepath.Join(d.home, c.stored)
			must(t, os.Chmod(open, 0o644))
			for dir := filepath.Dir(open); strings.HasPrefix(dir, d.home); dir = filepath.Dir(dir) {
				must(t, os.Chmod(dir, 0o755))
			}

			found := d.doctor(alice, true, s.Host)
			want := []string{"high file-readable", "high password-stored"}
			if c.left == "identity token" {
				want = []string{"high file-readable", "info identity-stored"}
			}
			for _, f := range found {
				t.Logf("%s %s %s %s: %s\n$ %s", f.Severity, f.ID, f.Place, f.Entry, f.Reason, f.Mend)
				if f.Place == open && (f.Severity == "high" || f.Severity == "info") {
					want = slices.DeleteFunc(want, func(s string) bool { return s == f.Severity+" "+f.ID })
				} else if f.Severity == "high" {
					t.Errorf("found %+v", f)
				}
				if strings.HasSuffix(f.ID, "-stored") && (f.Entry != s.Host || strings.Contains(f.Reason, "alice")) {
					t.Errorf("found %+v", f)
				}
			}
			if len(want) > 0 {
				t.Errorf("%q is not found", want)
			}

			for _, f := range d.doctor(alice, c.left == "password", "--fix") {
				if f.Fixed || f.Severity != "high" {
					continue
				}
				mend := exec.Command("sh", "-c", f.Mend)
				mend.Env, mend.Dir = append(os.Environ(), d.withTools().Env...), d.home
				if out, err := mend.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", f.Mend, err, out)
				}
			}
			d.doctor(alice, false)
			if text, err := os.ReadFile(open); err == nil && strings.Contains(string(text), alice) {
				t.Errorf("the password is still in %s", open)
			}
		})
	}
}

// doctor runs sallyport doctor, which must not show the password, and must find
// something bad or nothing.
func (d *desk) doctor(password string, bad bool, args ...string) []finding {
	d.t.Helper()
	stdout, stderr, err := d.withTools().try(d.t, append([]string{binary, "doctor", "-o", "json"}, args...)...)
	if (err != nil) != bad {
		d.t.Fatalf("doctor %s: %v\n%s%s", args, err, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, password) {
		d.t.Errorf("L-01: doctor %s shows a password:\n%s%s", args, stdout, stderr)
	}
	var found []finding
	must(d.t, json.Unmarshal([]byte(stdout), &found))
	return found
}

// withTools is run with the programs that the tests built in PATH.
func (d *desk) withTools() run {
	d.t.Helper()
	tools, err := filepath.Abs(filepath.Join("..", ".tools", "bin"))
	must(d.t, err)
	r := d.run()
	r.Env = append(r.Env, "PATH="+tools+":"+os.Getenv("PATH"))
	return r
}
