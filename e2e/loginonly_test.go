package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestPasswordsForLogins: where passwords are for logins alone, docker logs in
// with one and keeps an identity token; clients that would send it each time are
// refused, right or wrong, and push and pull with an access key.
func TestPasswordsForLogins(t *testing.T) {
	s := newServer(t, serverOptions{Extra: "passwords:\n  login_only: true\n"})
	e := startEngines(t, s)
	b := newBundle(t, e, 1, 1<<16)
	s.Login()
	alice := s.AddUser("alice")
	s.Policy("  - who: [\"user:alice\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n")
	key := strings.TrimSpace(s.CLI("", "key", "create", "--for", "user:alice"))
	use := func(d *desk, c client, secret string) {
		t.Helper()
		c.login(d, "alice", secret)
		ref := s.Host + "/team/" + c.name + ":v1"
		if out, err := c.push(d, ref, "", ""); err != nil {
			t.Fatalf("%s push: %v\n%s", c.name, err, out)
		}
		c.pull(d, ref, "", "")
	}
	named := func(name string) client {
		return clients[slices.IndexFunc(clients, func(c client) bool { return c.name == name })]
	}
	d := newDesk(t, s, e, b)
	use(d, named("docker"), alice)
	d.checkStored(named("docker"), alice)

	const text = "this client needs an access key as its password: sallyport key create"
	for _, c := range []struct {
		name  string
		login []string
		says  string
	}{
		// What is built on containers/image prints the status of a refusal and no
		// more; of a 401 it would say that the password is wrong.
		{"podman", []string{"login", "--cert-dir", "CERTS"}, "403 (Forbidden)"},
		{"oras", []string{"login", "--ca-file", s.CA}, text},
	} {
		d := newDesk(t, s, e, b)
		if c.login[1] == "--cert-dir" {
			c.login[2] = d.certs()
		}
		r := d.run()
		for _, password := range []string{alice, "a wrong one"} {
			r.Stdin = password
			stdout, stderr, err := r.try(t, append(append([]string{tool(t, c.name)}, c.login...), "--username", "alice", "--password-stdin", s.Host)...)
			if err == nil || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("%s login with a password: %v\n%s%s", c.name, err, stdout, stderr)
			}
			t.Logf("%s: %.300s", c.name, lastLine(stderr))
		}
		use(d, named(c.name), key)
	}
}
