package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

const (
	cliDocs        = "../../docs/cli.md"
	apiDocs        = "../../docs/api.md"
	federationDocs = "../../docs/federation.md"
	// tokenServerDocs is about a registry beside ours, whose files are in
	// /etc/distribution.
	tokenServerDocs = "../../docs/token-server.md"
)

// A shown command is one of a block of a page of docs, with what it prints.
type shownCommand struct {
	line   int
	text   string
	output []string
}

// shownCommands reads the blocks marked "console": commands after "$ ", their
// further lines after "> ", and what they print.
func shownCommands(t *testing.T, page string) []shownCommand {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []shownCommand
	inside := false
	for i, line := range strings.Split(string(b), "\n") {
		last := len(out) - 1
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			out = append(out, shownCommand{line: i + 1, text: line[2:]})
		case strings.HasPrefix(line, "> "):
			out[last].text += "\n" + line[2:]
		default:
			out[last].output = append(out[last].output, line)
		}
	}
	return out
}

var (
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\dZ`)
	anyID   = regexp.MustCompile(`\b[a-z2-7]{24}\b`)
	spaces  = regexp.MustCompile(`  +`)
)

// testCLIDocs runs docs/cli.md, which shows every command. Together they reach
// every route: there is nothing that only the API can do, and what the commands
// do they do through it.
func testCLIDocs(t *testing.T) {
	dir := t.TempDir()
	s, err := startServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	runDocs(t, cliDocs, s)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	asked := s.asked(t)
	for operation, route := range apiOperations(t) {
		if !slices.ContainsFunc(asked, route.MatchString) {
			t.Errorf("no command that %s shows reaches the operation %s of the API (%s)", cliDocs, operation, route)
		}
	}
}

// asked returns the requests that the server's log has: "GET /api/v1/users".
func (s *testServer) asked(t *testing.T) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(s.log.String()) {
		var request struct{ Method, Path string }
		if json.Unmarshal([]byte(line), &request) == nil && request.Method != "" {
			out = append(out, request.Method+" "+request.Path)
		}
	}
	return out
}

// apiOperations returns what the requests of each operation of the API look like.
func apiOperations(t *testing.T) map[string]*regexp.Regexp {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		Servers []struct{ URL string }
		Paths   map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(b, &description); err != nil {
		t.Fatal(err)
	}
	out := map[string]*regexp.Regexp{}
	for path, of := range description.Paths {
		for method, operation := range of {
			pattern := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(description.Servers[0].URL+path, `[^/]+`)
			out[operation.OperationID] = regexp.MustCompile("^" + strings.ToUpper(method) + " " + pattern + "$")
		}
	}
	return out
}

// needShown skips t where the programs that a document shows are missing, which is
// a failure in CI.
func needShown(t *testing.T, document string) {
	t.Helper()
	for _, tool := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("there is no %s here, which %s shows", tool, document)
			}
			t.Skipf("there is no %s here, which %s shows", tool, document)
		}
	}
}

// testAPIDocs runs docs/api.md, with an access key in ci.key.
func testAPIDocs(t *testing.T) {
	needShown(t, apiDocs)
	s := startForDocs(t, "sallyport robot add ci", "sallyport key create --for robot:ci >ci.key")
	runDocs(t, apiDocs, s)
}

// startForDocs starts a server, logs in as its administrator, and runs more
// commands.
func startForDocs(t *testing.T, commands ...string) *testServer {
	t.Helper()
	return startForDocsIn(t, t.TempDir(), commands...)
}

// startForDocsIn is startForDocs in a directory that may hold a configuration.
func startForDocsIn(t *testing.T, dir string, commands ...string) *testServer {
	t.Helper()
	s, err := startServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	login := "sallyport login " + s.address + " --username admin --password-stdin --ca-file data/tls/ca.pem <admin-password.txt"
	for _, text := range append([]string{login}, commands...) {
		if out, err := s.shell(text).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", text, err, out)
		}
	}
	return s
}

// testTokenServerDocs runs docs/token-server.md. Restarting the other registry is
// all that it does not do: a test of its own runs one with such files.
func testTokenServerDocs(t *testing.T) {
	s := startForDocs(t, "mkdir bin distribution", `(echo '#!/bin/sh'; echo 'echo "$@" >>restarts') >bin/systemctl`, "chmod +x bin/systemctl")
	runDocs(t, tokenServerDocs, s)
	for file, want := range map[string]string{"distribution/jwks.json": `"kty"`, "restarts": "restart distribution\n", "policy.yaml": "user:erin"} {
		text, err := os.ReadFile(filepath.Join(s.dir, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s holds %q, %v", file, text, err)
		}
	}
}

// testFederationDocs runs docs/federation.md, with a stand-in for its issuer and a
// token of a job in job.token.
func testFederationDocs(t *testing.T) {
	needShown(t, federationDocs)
	issuer := ft.NewIssuer(t)
	dir := t.TempDir()
	page, err := os.ReadFile(federationDocs)
	if err != nil {
		t.Fatal(err)
	}
	token := issuer.Token(t, time.Now(), 5*time.Minute, "registry.example.com", map[string]any{"sub": "job:web", "project": "web", "event": "push"})
	for name, text := range map[string]string{
		"sallyport.yaml": "federation: {allow_private: [127.0.0.1]}\n",
		"page.md":        strings.ReplaceAll(string(page), "https://ci.example.com", issuer.URL),
		"ci-ca.pem":      issuer.CA, "job.token": token,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runDocs(t, filepath.Join(dir, "page.md"), startForDocsIn(t, dir))
}

// shell returns a command of a shell in the server's directory, with its own
// logins.
func (s *testServer) shell(text string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", text)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.dir, "config"), "DOCKER_CONFIG="+filepath.Join(s.dir, "docker"),
		"XDG_RUNTIME_DIR="+s.dir, "REGISTRY_AUTH_FILE=", "SSH_CONNECTION=a session",
		"PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"))
	return cmd
}

// runDocs runs every command that a page shows, in order, and compares what it
// prints. "…" stands for anything; times, and the width of columns, are not
// compared; an id stands for the one that the server gave.
func runDocs(t *testing.T, page string, s *testServer) {
	t.Helper()
	for name, text := range map[string]string{
		"alice-password.txt": "canary-of-alice\n",
		"next-password.txt":  "canary-of-the-administrator\ncanary-of-the-next-one\n",
		"users.htpasswd":     "erin:$2y$04$7RQ8mXkJ4mUqPHC7wCOiOe4mdFBCwgPDmpJqp5ZBzWkZpUbK0xK0a\n",
		"auth_config.yml": `users: {erin: {password: "$2y$04$7RQ8mXkJ4mUqPHC7wCOiOe4mdFBCwgPDmpJqp5ZBzWkZpUbK0xK0a"}}
acl: [{match: {account: erin, name: "team-a/*"}, actions: [pull, push]}]
`,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]string{} // as the docs have them → as the server gave them
	for _, c := range shownCommands(t, page) {
		text := anyID.ReplaceAllStringFunc(c.text, func(id string) string {
			if given, ok := ids[id]; ok {
				return given
			}
			return id
		})
		text = strings.NewReplacer("localhost:5000", s.address, "/etc/distribution/", "distribution/").Replace(text)
		out, err := s.shell(text).CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatal(err)
		}
		printed := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(out) == 0 {
			printed = nil
		}
		if !same(c.output, printed, s.address, ids) {
			t.Fatalf("%s:%d: %s\nprints\n%s\n\nand the docs say\n%s", page, c.line, c.text, strings.Join(printed, "\n"), strings.Join(c.output, "\n"))
		}
	}
}

// same compares what the docs show with what was printed, and learns ids.
func same(shown, printed []string, address string, ids map[string]string) bool {
	if len(shown) > 0 && shown[len(shown)-1] == "…" {
		n := len(shown) - 1
		return len(printed) >= n && same(shown[:n], printed[:n], address, ids)
	}
	if len(shown) != len(printed) {
		return false
	}
	for i := range shown {
		want := spaces.ReplaceAllString(strings.ReplaceAll(anyTime.ReplaceAllString(shown[i], "…"), "localhost:5000", address), " ")
		got := spaces.ReplaceAllString(printed[i], " ")
		documented := anyID.FindAllString(want, -1)
		pattern := regexp.QuoteMeta(want)
		for _, id := range documented {
			pattern = strings.Replace(pattern, id, `([a-z2-7]{24})`, 1)
		}
		pattern = "^" + strings.ReplaceAll(pattern, "…", ".*") + "$"
		given := regexp.MustCompile(pattern).FindStringSubmatch(got)
		if given == nil {
			return false
		}
		for j, id := range documented {
			if known, ok := ids[id]; ok && known != given[j+1] {
				return false
			}
			ids[id] = given[j+1]
		}
	}
	return true
}

// TestDocsAreWhole: docs/cli.md has a section for every command, shows it in a
// block that is run, and names all its flags.
func TestDocsAreWhole(t *testing.T) {
	b, err := os.ReadFile(cliDocs)
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, c := range shownCommands(t, cliDocs) {
		shown.WriteString(c.text + "\n")
	}
	for _, c := range adminLeaves() {
		path := c.CommandPath()
		_, section, found := strings.Cut(string(b), "\n### "+path+"\n")
		if !found {
			t.Errorf("there is no section %q", path)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		section, _, _ = strings.Cut(section, "\n### ")
		if !strings.Contains(shown.String(), path+" ") && !strings.Contains(shown.String(), path+"\n") {
			t.Errorf("%s is not shown in a block that is run", path)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "output" && !strings.Contains(section, "`--"+f.Name) {
				t.Errorf("the section of %s does not explain --%s", path, f.Name)
			}
		})
	}
}
