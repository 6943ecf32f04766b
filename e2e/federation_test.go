package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// indented puts each line of text below a key of YAML.
func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// TestOutsideTokens: clients log in with the token of a trusted issuer as the
// password, push and pull with it, and keep nothing that outlives the job.
func TestOutsideTokens(t *testing.T) {
	s := newServer(t, serverOptions{Extra: "federation:\n  allow_private: [127.0.0.1]\n"})
	issuer := ft.NewIssuer(t)
	e := startEngines(t, s)
	b := newBundle(t, e, 2, 1<<20)
	s.Login()
	s.CLI(`name: ci
issuer:
  url: `+issuer.URL+`
  audiences: [`+s.Host+`]
  certificateAuthority: |
    `+indented(issuer.CA)+`
allowPrivateAddresses: [127.0.0.1]
claimMappings:
  username: {claim: sub, prefix: ""}
  extra: [{key: ci.test/project, valueExpression: claims.project}]
`, "issuer", "add", "-")
	s.CLI(`version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - name: ci-pushes
    subjects: [{issuer: "`+issuer.URL+`", claims: {ci.test/project: web}}]
    repositories: ["team/**"]
    actions: [pull, push]
`, "policy", "apply", "-", "--base", "latest")
	token := func(project string) string {
		return issuer.Token(t, time.Now(), 5*time.Minute, s.Host, map[string]any{"sub": "job:" + project, "project": project})
	}
	for _, c := range clients {
		if !slices.Contains([]string{"docker", "ctr", "podman", "skopeo", "crane", "oras", "regctl"}, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			d, ours := newDesk(t, s, e, b), token("web")
			ref := s.Host + "/team/" + c.name + ":v1"
			if c.login != nil {
				c.login(d, "job", ours)
				d.checkStored(c, ours)
			}
			if out, err := c.push(d, ref, "job", ours); err != nil {
				t.Fatalf("push: %v\n%s", err, out)
			}
			c.pull(d, ref, "job", ours)
			d, theirs := newDesk(t, s, e, b), token("shop")
			if c.login != nil {
				c.login(d, "job", theirs)
			}
			if out, err := c.push(d, ref, "job", theirs); err == nil || !strings.Contains(strings.ToLower(out), "denied") && !strings.Contains(out, "403") {
				t.Errorf("a push of another project's job: %v\n%s", err, out)
			}
		})
	}
	t.Run("docker when the trust ends", func(t *testing.T) {
		d := newDesk(t, s, e, b)
		clients[0].login(d, "job", token("web"))
		s.checkJobSessions(t)
		d.ok("docker", "pull", s.Host+"/team/docker:v1")
		s.CLI("", "issuer", "remove", "ci")
		if out, err := d.try("docker", "pull", s.Host+"/team/docker:v1"); err == nil {
			t.Errorf("pulled after the issuer was removed:\n%s", out)
		}
		home, err := os.ReadFile(filepath.Join(d.home, ".docker/config.json"))
		must(t, err)
		if !strings.Contains(string(home), "identitytoken") {
			t.Errorf("docker keeps %s", home)
		}
	})
	if log := s.Log(); strings.Contains(log, "eyJ") {
		t.Error("L-01: the log holds a token")
	}
}

// checkJobSessions: what docker keeps ends an hour after the login at the latest.
func (s *server) checkJobSessions(t *testing.T) {
	t.Helper()
	var sessions []struct {
		Owner            string
		Created, Expires time.Time
	}
	must(t, json.Unmarshal([]byte(s.CLI("", "session", "list", "--owner", "all", "-o", "json")), &sessions))
	jobs := 0
	for _, one := range sessions {
		if strings.HasPrefix(one.Owner, "external:job:") {
			jobs++
			if life := one.Expires.Sub(one.Created); life > time.Hour {
				t.Errorf("the session of %s lives %s", one.Owner, life)
			}
		}
	}
	if jobs == 0 {
		t.Errorf("there is no session of a job: %v", sessions)
	}
}
