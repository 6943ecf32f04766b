package doctor

import (
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// jobVariables are those that CI systems give to every job, and that end with it.
var jobVariables = map[string]bool{
	"GITHUB_TOKEN": true, "ACTIONS_RUNTIME_TOKEN": true, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": true,
	"CI_JOB_TOKEN": true, "CI_JOB_JWT": true, "CI_REGISTRY_PASSWORD": true, "CI_DEPENDENCY_PROXY_PASSWORD": true,
	"SYSTEM_ACCESSTOKEN": true, "BUILDKITE_AGENT_ACCESS_TOKEN": true, "CIRCLE_OIDC_TOKEN": true, "CIRCLE_OIDC_TOKEN_V2": true,
}

// isSecretVariable reports whether a variable's name says that it holds a secret.
// Those that say where one is do not.
func isSecretVariable(name string) bool {
	if name == "PWD" {
		return false
	}
	for _, end := range []string{"_FILE", "_PATH", "_DIR", "_URL", "_NAME", "_ID"} {
		if strings.HasSuffix(strings.ToUpper(name), end) {
			return false
		}
	}
	return secretName.MatchString(name)
}

// environment examines the variables of who runs us. Of their values only what
// they are is told.
func (e *exam) environment() {
	for _, name := range sortedKeys(e.env) {
		value, place := e.env[name], "$"+name
		if value == "" || jobVariables[name] {
			continue
		}
		if name == "DOCKER_AUTH_CONFIG" {
			c, err := dockerconfig.Parse([]byte(value))
			e.config(place, c, nil)
			if err != nil {
				e.tell(problem{id: "file-damaged", place: place, reason: err.Error(), mend: e.edit(place)})
			}
			continue
		}
		_, isJWT := parseJWT(value)
		switch {
		case isJWT, access.KeySecret.Valid(value), access.RefreshSecret.Valid(value):
			e.secret(held{place: place, slot: passwordSlot, value: access.NewSecret(value), mend: e.edit(place)})
		case isSecretVariable(name):
			e.stored = true
			e.tell(problem{id: "env-secret", place: place, reason: "its name says that it holds a secret", mend: e.edit(place)})
		}
	}
	e.ci()
}

// A ci is a system that can prove who a job is.
var cis = []struct {
	system  string
	here    string // a variable that every job has
	proof   string // a variable that a job has when it may prove who it is; "" for none
	how     string
	command string
}{
	{"GitHub Actions", "GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_URL", "give the job permissions: {id-token: write}", ""},
	{"GitLab CI", "GITLAB_CI", "", "give the job id_tokens: with the registry's audience", ""},
	{"Buildkite", "BUILDKITE", "", "ask the agent for a token", "buildkite-agent oidc request-token --audience https://REGISTRY"},
	{"CircleCI", "CIRCLECI", "", "ask for a token", `circleci run oidc get --claims '{"aud":"https://REGISTRY"}'`},
}

// ci tells a job that keeps a secret how to be rid of it.
func (e *exam) ci() {
	if !e.stored {
		return
	}
	for _, c := range cis {
		if e.env[c.here] == "" {
			continue
		}
		reason := c.system + " can prove who this job is, so that it needs no secret: " + c.how
		if c.proof != "" && e.env[c.proof] != "" {
			reason = "this job can prove to the registry who it is, and needs no secret"
		}
		e.tell(problem{id: "ci-identity", place: "$" + c.here, reason: reason, mend: c.command})
	}
}
