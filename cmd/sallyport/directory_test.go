package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

// TestDirectoryCheck runs what docs/ldap.md shows, with a real directory.
func TestDirectoryCheck(t *testing.T) {
	s := slapdtest.Start(t)
	s.AddGroup("dev", s.AddPerson("alice"))
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	for name, text := range map[string]string{
		"ca.pem": string(s.CA), "password": slapdtest.BindPassword + "\n",
		"sallyport.yaml": fmt.Sprintf(`login:
  directories:
    - name: corp
      schema: rfc2307bis
      urls: [%s, %s]
      ca_file: %[3]s/ca.pem
      bind_dn: %[4]s
      bind_password_file: %[3]s/password
      user_base: %[5]s
      group_base: %[6]s
`, s.URL, s.StartTLS, dir, slapdtest.BindDN, slapdtest.People, slapdtest.Groups),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"corp"}, 0, []string{s.URL, s.StartTLS, "bind", "there are some below " + slapdtest.People, "1 below"}},
		{[]string{"corp", "--user", "alice"}, 0, []string{"group:corp/dev"}},
		{[]string{"corp", "--user", "bob"}, 1, []string{"problem", "login_attributes", "there are problems"}},
		{[]string{"other"}, 1, []string{`no directory "other" is configured`, "name one of corp"}},
	} {
		var out bytes.Buffer
		code := run(append([]string{"directory", "check", "--config", file}, c.args...), &out, &out)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, code, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", c.args, want, &out)
			}
		}
		if strings.Contains(out.String(), "canary") {
			t.Errorf("%s shows a password: %s", c.args, &out)
		}
	}
}
