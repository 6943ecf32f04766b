package ambient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/client/ambient"
)

const audience = "https://reg.test"

// A world is an environment: variables and files, below a root of its own.
type world struct {
	env   map[string]string
	files map[string]string
}

func (w world) finder(t *testing.T) ambient.Finder {
	t.Helper()
	root := t.TempDir()
	for name, text := range w.files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return ambient.Finder{Root: root, Getenv: func(name string) string { return w.env[name] }}
}

// issuers stands in for GitHub's endpoint and the metadata servers, and says what
// it was asked.
func issuers(t *testing.T) (url string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		q := r.URL.Query()
		switch {
		case r.URL.Path == "/github" && r.Header.Get("Authorization") == "Bearer request-token" && q.Get("audience") == audience && q.Get("api-version") == "2":
			fmt.Fprint(w, `{"count":1,"value":"of.git.hub"}`)
		case r.URL.Path == "/computeMetadata/v1/instance/service-accounts/default/identity" && r.Header.Get("Metadata-Flavor") == "Google" && q.Get("audience") == audience && q.Get("format") == "full":
			fmt.Fprint(w, "of.goo.gle")
		case r.URL.Path == "/azure" && r.Header.Get("X-Identity-Header") == "header" && q.Get("resource") == audience:
			fmt.Fprint(w, `{"access_token":"of.az.ure"}`)
		case r.URL.Path == "/away":
			http.Redirect(w, r, "/github?api-version=2&audience="+audience, http.StatusFound)
		case r.URL.Path == "/large":
			fmt.Fprint(w, `{"value":"`+strings.Repeat("x", 100<<10)+`"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestToken(t *testing.T) {
	url, asked := issuers(t)
	github := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": url + "/github?api-version=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token"}
	google := map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(url, "http://")}
	with := func(more map[string]string, name, value string) map[string]string {
		out := map[string]string{name: value}
		for k, v := range more {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	projected := map[string]string{"/var/run/secrets/sallyport/token": "of.a.pod\n"}
	for _, c := range []struct {
		name, identity string
		world          world
		want           string // "" for an error
	}{
		{"nothing", "auto", world{}, ""},
		{"a variable", "auto", world{env: map[string]string{"SALLYPORT_ID_TOKEN": "of.a.variable"}}, "of.a.variable"},
		{"a variable before GitHub", "auto", world{env: with(github, "SALLYPORT_ID_TOKEN", "of.a.variable")}, "of.a.variable"},
		{"GitHub", "auto", world{env: github}, "of.git.hub"},
		{"GitHub by name", "github", world{env: github}, "of.git.hub"},
		{"GitHub, half of it", "auto", world{env: with(github, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")}, ""},
		{"GitHub by name elsewhere", "github", world{files: projected}, ""},
		{"GitHub over http to another host", "auto", world{env: with(github, "ACTIONS_ID_TOKEN_REQUEST_URL", "http://evil.test/github")}, ""},
		{"a redirect is not followed", "auto", world{env: with(github, "ACTIONS_ID_TOKEN_REQUEST_URL", url+"/away")}, ""},
		{"a large answer", "auto", world{env: with(github, "ACTIONS_ID_TOKEN_REQUEST_URL", url+"/large")}, ""},
		{"CircleCI", "auto", world{env: map[string]string{"CIRCLE_OIDC_TOKEN_V2": "of.circle.ci"}}, "of.circle.ci"},
		{"a pod", "auto", world{files: projected}, "of.a.pod"},
		{"a pod before its node", "auto", world{files: projected, env: google}, "of.a.pod"},
		{"Google", "auto", world{env: google}, "of.goo.gle"},
		{"Azure", "auto", world{env: map[string]string{"IDENTITY_ENDPOINT": url + "/azure", "IDENTITY_HEADER": "header"}}, "of.az.ure"},
		{"a named variable", "env:CI_TOKEN", world{env: map[string]string{"CI_TOKEN": "of.git.lab"}}, "of.git.lab"},
		{"a named variable that is not set", "env:CI_TOKEN", world{env: github}, ""},
		{"a file that is not there", "file:/nonexistent", world{env: github}, ""},
		{"a directory", "file:/", world{}, ""},
		{"no such identity", "gitub", world{env: github}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.world.finder(t).Token(context.Background(), c.identity, audience)
			if got.Reveal() != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v; want %q", got.Reveal(), err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "request-token") || strings.Contains(err.Error(), "audience=")) {
				t.Errorf("C-10: the error says %v", err)
			}
		})
	}
	// A FIFO that nobody writes to is refused, not waited for.
	fifo := filepath.Join(t.TempDir(), "token")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (world{}).finder(t).Token(context.Background(), "file:"+fifo, audience); err == nil {
		t.Error("a FIFO was read")
	}
	// No metadata server is asked where the environment names none.
	*asked = nil
	_, err := world{}.finder(t).Token(context.Background(), "auto", audience)
	if !errors.Is(err, ambient.ErrNone) || len(*asked) > 0 {
		t.Errorf("with nothing: %v, asked %v", err, *asked)
	}
}
