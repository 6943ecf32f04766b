package doctor_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/doctor"
)

// alone makes dir the home, and drops all other variables.
func alone(t *testing.T, dir string, variables ...string) {
	t.Helper()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		t.Setenv(name, "")
		os.Unsetenv(name) // Setenv brings it back after the test
	}
	for _, v := range append([]string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir + "/run"}, variables...) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// inHome returns the findings about files of a home, and variables.
func inHome(found []string, home string) []string {
	var out []string
	for _, f := range found {
		if strings.Contains(f, " "+home) || strings.Contains(f, " $") {
			out = append(out, strings.ReplaceAll(f, home, "~"))
		}
	}
	slices.Sort(out)
	return out
}

// TestEnvironment: variables are told by name, and say where files are.
func TestEnvironment(t *testing.T) {
	config := `{"auths":{"reg.test":{"auth":"` + pair("alice") + `"}}}`
	home := machine{
		"/docker/config.json": config, "/auth.json": config, "/helm.json": config, "/regctl.json": `{"hosts":{"reg.test":{"pass":"` + canary + `"}}}`,
		"/run/containers/auth.json": config, "/xdg/containers/auth.json": config, "/xdg/helm/registry/config.json": config, "/kube": "users: [{name: dev, user: {password: " + canary + "}}]",
	}.build(t)
	alone(t, home, "DOCKER_CONFIG="+home+"/docker", "REGISTRY_AUTH_FILE="+home+"/auth.json", "HELM_REGISTRY_CONFIG="+home+"/helm.json", "REGCTL_CONFIG="+home+"/regctl.json", "KUBECONFIG="+home+"/kube:"+home+"/none",
		"XDG_CONFIG_HOME="+home+"/xdg", "DOCKER_AUTH_CONFIG="+config, "REGISTRY_PASSWORD="+canary, "MY_TOKEN="+jwt(`{"exp":1795867300}`), "PLAIN="+made(t, access.KeySecret), "KEY_FILE=/x", "PASSWORD=", "CI_JOB_TOKEN="+canary, "GITLAB_CI=true", "npm_config_//reg/:_password="+canary)
	got, _ := examine(t, doctor.Options{})
	want := []string{
		"ci-identity $GITLAB_CI", "env-secret $REGISTRY_PASSWORD", "env-secret $npm_config_//reg/:_password", "key-stored $PLAIN",
		"password-stored $DOCKER_AUTH_CONFIG reg.test", "password-stored ~/auth.json reg.test", "password-stored ~/docker/config.json reg.test",
		"password-stored ~/helm.json reg.test", "password-stored ~/kube dev", "password-stored ~/regctl.json reg.test",
		"password-stored ~/run/containers/auth.json reg.test", "password-stored ~/xdg/containers/auth.json reg.test", "token-stored $MY_TOKEN",
	}
	slices.Sort(want)
	if got := inHome(got, home); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	alone(t, home, "DOCKER_AUTH_CONFIG=["+canary, "GITHUB_ACTIONS=true", "ACTIONS_ID_TOKEN_REQUEST_URL=https://x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+canary)
	if got, _ := examine(t, doctor.Options{}); !slices.Equal(inHome(got, home), []string{"file-damaged $DOCKER_AUTH_CONFIG", "password-stored ~/run/containers/auth.json reg.test", "ci-identity $GITHUB_ACTIONS"}) && !slices.Contains(got, "file-damaged $DOCKER_AUTH_CONFIG") {
		t.Errorf("found %q", inHome(got, home))
	}
}

// TestHelpers: those that are configured are looked for, and asked once.
func TestHelpers(t *testing.T) {
	home := machine{
		"/.docker/config.json":        `{"auths":{"clear.test":{"auth":"` + pair("alice") + `"}},"credHelpers":{"a.test":"good","b.test":"good","c.test":"deaf","d.test":"gone","e.test":"../../bin/sh","f.test":"open"}}`,
		"/bin/docker-credential-good": "mode 0755\n#!/bin/sh\necho $1 >>" + "$HOME/asked\n",
		"/bin/docker-credential-deaf": "mode 0755\n#!/bin/sh\nexit 1\n",
		"/bin/docker-credential-open": "mode 0777\n#!/bin/sh\n",
		"/bin/docker-credential-pass": "mode 0755\n#!/bin/sh\n",
	}.build(t)
	alone(t, home, "PATH="+home+"/bin")
	got, r := examine(t, doctor.Options{})
	want := []string{
		"file-writable ~/bin/docker-credential-open", "helper-missing ~/.docker/config.json d.test", "helper-missing ~/.docker/config.json e.test",
		"helper-silent ~/.docker/config.json c.test", "helper-unused ~/.docker/config.json clear.test", "password-stored ~/.docker/config.json clear.test",
	}
	if got := inHome(got, home); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if asked, err := os.ReadFile(home + "/asked"); err != nil || string(asked) != "version\n" {
		t.Errorf("a helper was asked %q, %v", asked, err)
	}
	for _, f := range r.Findings {
		if strings.Contains(f.Mend, "../../bin/sh") {
			t.Errorf("%q", f.Mend)
		}
	}
}
