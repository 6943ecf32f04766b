package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// A composite is an action: action.yml, as far as ours goes.
type composite struct {
	Name, Description, Author string
	Branding                  struct{ Icon, Color string }
	Inputs                    map[string]struct {
		Description, Default string
		Required             bool
	}
	Runs struct {
		Using string
		Steps []struct {
			Run, Shell string
			Env        map[string]string
		}
	}
}

// A workflow is what the recipe's uses.
type workflow struct {
	Name        string
	On          struct{ Push struct{ Branches []string } }
	Permissions map[string]string
	Jobs        map[string]struct {
		RunsOn      string `yaml:"runs-on"`
		Permissions map[string]string
		Steps       []struct {
			Uses, Run string
			With, Env map[string]string
		}
	}
}

func strict(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Load([]byte(text), into, yaml.WithKnownFields()); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// github stands for GitHub: it gives a job the token that claims says.
type github struct {
	*httptest.Server
	claims claims
	tokens []string
}

func newGitHub(t *testing.T, c *cook) *github {
	g := &github{}
	g.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !strings.EqualFold(r.Header.Get("Authorization"), "Bearer request-token") || q.Get("api-version") != "2.0" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		g.tokens = append(g.tokens, c.tokenFor(q.Get("audience"), "github", g.claims))
		fmt.Fprintf(w, `{"count":%d,"value":"%s"}`, len(g.tokens[len(g.tokens)-1]), g.tokens[len(g.tokens)-1])
	}))
	t.Cleanup(g.Close)
	return g
}

// env is what the runner has for every step of a job that may ask for a token.
func (g *github) env(c *cook) []string {
	return []string{
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + g.URL + "/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=request-token",
		"GITHUB_SHA=5b8b2d0f5a3c1e9d7f6a4b3c2d1e0f9a8b7c6d5e", "RUNNER_TEMP=" + c.home, "GITHUB_PATH=" + filepath.Join(c.home, "github-path"),
	}
}

// action runs the composite action as the runner does: inputs only in env.
func (c *cook) action(t *testing.T, with map[string]string, env []string) (string, error) {
	t.Helper()
	text, err := os.ReadFile("../actions/login/action.yml")
	must(t, err)
	var a composite
	strict(t, string(text), &a)
	for name := range with {
		if _, known := a.Inputs[name]; !known {
			t.Errorf("the action has no input %q", name)
		}
	}
	path, err := filepath.Abs("../actions/login")
	must(t, err)
	env = append(env, "GITHUB_ACTION_PATH="+path)
	var out strings.Builder
	for _, step := range a.Runs.Steps {
		if step.Shell != "bash" || strings.Contains(step.Run, "${{") {
			t.Errorf("a step runs %q in %q", step.Run, step.Shell)
		}
		for name, value := range step.Env {
			input := regexp.MustCompile(`^\$\{\{ inputs\.(\w+) \}\}$`).FindStringSubmatch(value)
			if input == nil {
				t.Fatalf("%s is %q", name, value)
			}
			given, ok := with[input[1]]
			if !ok {
				given = a.Inputs[input[1]].Default
			}
			env = append(env, name+"="+given)
		}
		printed, err := c.sh(c.home, step.Run, env...)
		if out.WriteString(printed); err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

func cookGitHub(t *testing.T, c *cook) {
	c.lintWorkflow(t)
	var w workflow
	strict(t, c.blocks[".github/workflows/push.yml"], &w)
	steps := w.Jobs["push"].Steps
	if len(steps) != 3 || !strings.HasPrefix(steps[1].Uses, "sallyport/sallyport/actions/login@") || len(w.Permissions) != 0 {
		t.Fatalf("the workflow is %+v", w)
	}
	g := newGitHub(t, c)
	push := func() (string, error) {
		env := g.env(c)
		for name, value := range steps[2].Env {
			env = append(env, name+"="+value)
		}
		return c.sh(c.bundle.dir, steps[2].Run, env...)
	}
	g.claims = claims{"event_name": "push", "environment": nil, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}
	out, err := c.action(t, steps[1].With, g.env(c))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mask := "::add-mask::" + g.tokens[0] + "\n"
	if !strings.Contains(out, mask) || strings.Contains(strings.ReplaceAll(out, mask, ""), "eyJ") {
		t.Errorf("the action prints\n%s", out)
	}
	if out, err := push(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if found := search(t, []string{c.home}, g.tokens...); len(found) > 0 {
		t.Errorf("the ID token is in %q", found)
	}
	c.otherClients(t, g, steps[1].With["registry"])

	// Another branch logs in, and no rule lets it push.
	g.claims = claims{"event_name": "push", "ref": "refs/heads/evil", "environment": nil, "sub": "repo:octo-org/octo-repo:ref:refs/heads/evil"}
	if out, err := c.action(t, steps[1].With, g.env(c)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := push(); err == nil || !strings.Contains(out, "denied") {
		t.Errorf("another branch's push: %v\n%s", err, out)
	}
	for name, change := range map[string]claims{
		"the pull request of a fork":         {"event_name": "pull_request", "ref": "refs/pull/7/merge", "sub": "repo:octo-org/octo-repo:pull_request"},
		"pull_request_target":                {"event_name": "pull_request_target"},
		"another repository of the owner":    {"repository_id": "99"},
		"another owner who took over a name": {"repository_owner_id": "66"},
	} {
		g.claims = change
		if out, err := c.action(t, steps[1].With, g.env(c)); err == nil || !strings.Contains(out, "the registry refused the job") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	c.badInputs(t, g)
}

// otherClients: the action for podman, and without any login.
func (c *cook) otherClients(t *testing.T, g *github, registry string) {
	t.Helper()
	c.does(c.home, "docker logout "+registry)
	if out, err := c.action(t, map[string]string{"registry": registry, "client": "podman"}, g.env(c)); err != nil {
		t.Errorf("podman: %v\n%s", err, out)
	}
	c.does(c.home, "podman logout "+registry)
	if out, err := c.action(t, map[string]string{"registry": registry, "client": "helper"}, g.env(c)); err != nil {
		t.Fatalf("helper: %v\n%s", err, out)
	}
	added, err := os.ReadFile(filepath.Join(c.home, "github-path"))
	must(t, err)
	c.does(c.home, "PATH="+strings.TrimSpace(string(added))+":$PATH\ncrane push image "+registry+"/octo-org/octo-repo:helper", g.env(c)...)
	must(t, os.RemoveAll(filepath.Join(c.home, ".docker")))
	must(t, os.RemoveAll(filepath.Join(c.home, ".config")))
}

// badInputs: nothing of an input is run, and a job without an identity is told so.
func (c *cook) badInputs(t *testing.T, g *github) {
	t.Helper()
	asked := len(g.tokens)
	for _, with := range []map[string]string{
		{"registry": "$(touch owned)"}, {"registry": "host; touch owned"}, {"registry": "--help"}, {"registry": "https://host"}, {"registry": ""},
		{"registry": "host\n::add-path::/evil"}, {"registry": c.s.Host, "audience": "a b"}, {"registry": c.s.Host, "client": "sh -c id"},
	} {
		if out, err := c.action(t, with, g.env(c)); err == nil || !strings.Contains(out, "::error") || strings.Contains(out, "evil") {
			t.Errorf("%q: %v\n%s", with, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(c.home, "owned")); err == nil || len(g.tokens) != asked {
		t.Errorf("an input was run: %v", err)
	}
	if out, err := c.action(t, map[string]string{"registry": c.s.Host}, nil); err == nil || !strings.Contains(out, "GitHub gives this job no identity") {
		t.Errorf("without id-token: %v\n%s", err, out)
	}
}

// lintWorkflow has actionlint read the workflow, and the action as one of its own
// repository.
func (c *cook) lintWorkflow(t *testing.T) {
	t.Helper()
	action, err := os.ReadFile("../actions/login/action.yml")
	must(t, err)
	page := c.blocks[".github/workflows/push.yml"]
	remote := regexp.MustCompile(`sallyport/sallyport/actions/login@\S+`)
	for name, text := range map[string]string{
		".github/workflows/push.yml":  page,
		".github/workflows/local.yml": remote.ReplaceAllString(page, "./actions/login"),
		"actions/login/action.yml":    string(action),
	} {
		c.place(filepath.Join(c.home, "repository", name), text)
	}
	dir := filepath.Join(c.home, "repository")
	(run{}).ok(t, tool(t, "shellcheck"), "../actions/login/login.sh")
	c.does(dir, "mkdir .git && "+tool(t, "actionlint")+" -no-color")
	c.place(filepath.Join(dir, ".github/workflows/local.yml"), strings.Replace(remote.ReplaceAllString(page, "./actions/login"), "registry:", "regstry:", 1))
	c.fails(regexp.MustCompile(`input "regstry" is not defined in action`), dir, tool(t, "actionlint")+" -no-color")
}

// A pipeline is the part of GitLab's keywords that the recipe uses.
type pipelineJob struct {
	Extends, Image string
	IDTokens       map[string]struct{ Aud string } `yaml:"id_tokens"`
	Variables      map[string]string
	BeforeScript   []string `yaml:"before_script"`
	Script         []string
	Rules          []struct{ If string }
}

type pipeline struct {
	Include []struct {
		Component string
		Inputs    map[string]string
	}
	Push pipelineJob
}

type componentSpec struct {
	Spec struct {
		Inputs map[string]struct {
			Description, Regex, Default string
			Options                     []string
		}
	}
}

// component returns the template's job with the inputs put in, as GitLab does it.
func component(t *testing.T, inputs map[string]string) (componentSpec, pipelineJob) {
	t.Helper()
	b, err := os.ReadFile("../templates/login.yml")
	must(t, err)
	head, body, ok := strings.Cut(string(b), "\n---\n")
	if !ok {
		t.Fatal("the component has no header")
	}
	var spec componentSpec
	strict(t, head, &spec)
	for name, input := range spec.Spec.Inputs {
		value, given := inputs[name]
		if !given && input.Default == "" {
			t.Errorf("the pipeline does not give %q", name)
		}
		if !given {
			value = input.Default
		}
		body = strings.ReplaceAll(body, "$[[ inputs."+name+" ]]", value)
	}
	var jobs map[string]pipelineJob
	strict(t, body, &jobs)
	return spec, jobs[".sallyport-login"]
}

func cookGitLab(t *testing.T, c *cook) {
	var p, without pipeline
	strict(t, c.blocks[".gitlab-ci.yml"], &p)
	strict(t, c.blocks["without-component/.gitlab-ci.yml"], &without)
	spec, login := component(t, p.Include[0].Inputs)
	for name, input := range spec.Spec.Inputs {
		if len(input.Options) > 0 {
			continue
		}
		pattern := regexp.MustCompile(input.Regex)
		for _, bad := range []string{"", "$(id)", "a; id", "a b", "`id`", "a\nb", "a'b", `a"b`, "$HOST", "-a", "a|b", "a>b", "a&b", "a*", "~a"} {
			if pattern.MatchString(bad) {
				t.Errorf("the component's %s takes %q", name, bad)
			}
		}
	}
	if len(login.Variables) > 0 {
		t.Errorf("variables that a pipeline can be started with others of: %v", login.Variables)
	}
	if p.Push.Extends != ".sallyport-login" || login.IDTokens["SALLYPORT_ID_TOKEN"].Aud != c.s.Host || without.Push.IDTokens["SALLYPORT_ID_TOKEN"].Aud != c.s.Host {
		t.Fatalf("the pipelines are %+v, %+v, %+v", p, login, without)
	}
	env := func(token string, jobs ...pipelineJob) []string {
		out := []string{"SALLYPORT_ID_TOKEN=" + token, "CI_COMMIT_SHA=714a629c0b401fdce83e847fc9589983fc6f46bc"}
		for _, job := range jobs {
			for name, value := range job.Variables {
				out = append(out, name+"="+value)
			}
		}
		return out
	}
	before, script := strings.Join(login.BeforeScript, "\n"), strings.Join(p.Push.Script, "\n")
	plain := strings.Join(without.Push.Script, "\n")
	onMain := claims{"ref": "main", "ref_protected": "true", "sub": "project_path:my-group/my-project:ref_type:branch:ref:main"}
	c.does(c.bundle.dir, before+"\n"+script, env(c.token("gitlab", onMain), login, p.Push)...)
	c.does(c.home, "docker logout "+c.s.Host)
	c.does(c.home, plain, env(c.token("gitlab", onMain))...)

	for name, change := range map[string]claims{
		"a fork's merge request in the parent": {"project_id": "22", "job_project_id": "20", "ref_protected": "true"},
		"the parent's job with a fork's code":  {"job_project_id": "22", "ref_protected": "true"},
		"a merge request":                      {"pipeline_source": "merge_request_event", "ref_protected": "true"},
		"another project":                      {"project_id": "21", "ref_protected": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			c.fails(refused, c.bundle.dir, before, env(c.token("gitlab", change), login)...)
		})
	}
	c.fails(regexp.MustCompile("Cannot perform an interactive login from a non TTY device"), c.home, before, env("", login)...)
	open := c.token("gitlab", nil)
	c.does(c.bundle.dir, before, env(open, login)...)
	c.fails(denied, c.bundle.dir, script, env(open, login, p.Push)...)
	c.does(c.home, "docker logout "+c.s.Host)
	c.fails(denied, c.home, plain, env(open)...)
}

func cookJenkins(t *testing.T, c *cook) {
	file := c.blocks["Jenkinsfile"]
	var scripts []string
	for _, found := range regexp.MustCompile(`(?s)\bsh '''\n(.*?)'''|\bsh '([^'\n]+)'`).FindAllStringSubmatch(file, -1) {
		scripts = append(scripts, found[1]+found[2])
	}
	image := regexp.MustCompile(`IMAGE = '([^']+)'`).FindStringSubmatch(file)
	if len(scripts) != 3 || image == nil || regexp.MustCompile(`\bsh "`).MatchString(file) {
		t.Fatalf("the Jenkinsfile has the scripts %q", scripts)
	}
	env := func(job string) []string {
		url := "https://jenkins.example.com/job/" + job + "/"
		token := c.k.issuer.Token(t, time.Now(), 5*time.Minute, c.s.Host, claims{"iss": "https://jenkins.example.com/oidc", "sub": url, "build_number": 7})
		return []string{"ID_TOKEN=" + token, "BUILD_NUMBER=7", "IMAGE=" + image[1]}
	}
	ours := env("shop/job/app/job/main")
	for _, script := range scripts {
		shellcheck(t, "Jenkinsfile", script)
		c.does(c.bundle.dir, script, ours...)
	}
	if config, err := os.ReadFile(filepath.Join(c.home, ".docker/config.json")); err != nil || strings.Contains(string(config), "identitytoken") {
		t.Errorf("the logout left %s, %v", config, err)
	}
	request := env("shop/job/app/job/PR-7")
	c.does(c.bundle.dir, scripts[0], request...)
	c.fails(denied, c.bundle.dir, scripts[1], request...)
	c.fails(refused, c.bundle.dir, scripts[0], env("other/job/app/job/main")...)
}
