package admin_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client"
)

// definition is a good one.
func definition(name string) string {
	return `name: ` + name + `
issuer:
  url: https://` + name + `.ci.test
  audiences: [reg.test]
claimMappings:
  username: {claim: sub, prefix: ""}
`
}

func issuerTag(f *fixture) string {
	return f.want(f.as("admin"), 200, req{method: "GET", path: "/issuers/ci"}).Header().Get("ETag")
}

// operators is a policy with somebody who operates the registry, and rules for
// what comes from issuers.
const operators = `version: 2
rules:
  - {name: admins, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: operators, subjects: ["user:alice"], repositories: ["**"], actions: [operate]}
  - {name: pushes, subjects: [{issuer: "https://pushes.ci.test", name: "**"}], repositories: ["**"], actions: [pull, push]}
  - {name: manages, subjects: [{issuer: "https://manages.ci.test", name: "**"}], repositories: ["**"], actions: [manage-accounts]}
`

// TestIssuers: who may add what, and what is wrong with the rest.
func TestIssuers(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	f.want(root, 200, req{method: "PUT", path: "/policy", body: operators, contentType: "application/yaml", ifMatch: `"2"`})
	alice := f.as("alice")
	add := func(text string) req {
		return req{method: "POST", path: "/issuers", body: text, contentType: "application/yaml"}
	}
	f.want(alice, 201, add(definition("pushes")))
	if p := f.refused(alice, 403, add(definition("manages"))); !strings.Contains(p.Detail, "more than user:alice") {
		t.Errorf("who vouches for others than herself: %s", p.Detail)
	}
	f.want(root, 201, add(definition("manages")))
	for text, want := range map[string]string{
		"name: a\n": "issuer.url",
		strings.Replace(definition("pushes"), "pushes.ci", "other.ci", 1):                                 "exists",
		strings.Replace(definition("again"), "again.ci", "pushes.ci", 1):                                  "exists",
		strings.Replace(definition("aud"), "audiences: [reg.test]", "audiences: []", 1):                   "issuer.audiences: missing",
		strings.NewReplacer("own.ci.test", "reg.test", "[reg.test]", "[jobs]").Replace(definition("own")): "is this registry",
		definition("file") + "jwks: {file: /etc/passwd}\n":                                                "only definitions of the configured file",
		definition("inside") + "allowPrivateAddresses: [localhost]\n":                                     "federation.allow_private",
		"preset: github\nname: gh\nissuer: {audiences: [reg.test]}\n":                                     "parameters.owner_id: missing",
		"preset: github\nname: gh\nparameters: {owner_id: \"1\"}\nissuer: {audiences: [sigstore]}\n":      "could use them here",
		definition("x") + "claimValidationRules: [{expression: \"claims.nothing ==\", message: none}]\n":  "claimValidationRules[0]",
	} {
		w := f.do(root, add(text))
		if w.Code < 400 || w.Code >= 500 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s\nis answered %d %s, want %q", text, w.Code, w.Body, want)
		}
	}
	f.want(root, 201, add(definition("inside")+"allowPrivateAddresses: [ci.inside]\n"))
	github := read[client.IssuerDocument](f, root, 201, add("preset: github\nname: gh\nparameters: {owner_id: \"1\"}\nissuer: {audiences: [reg.test]}\n"))
	if github.URL != "https://token.actions.githubusercontent.com" || github.Preset != "github" || github.Author != "user:admin" || github.Source != "api" {
		t.Errorf("%+v", github)
	}
	change := req{method: "PUT", path: "/issuers/gh", body: github.Document + "sessions: 5m\n", contentType: "application/yaml"}
	f.refused(root, 428, change)
	change.ifMatch = `"` + github.Revision + `"`
	changed := read[client.IssuerDocument](f, root, 200, change)
	if changed.Revision == github.Revision || !strings.Contains(changed.Document, "5m") {
		t.Errorf("%+v", changed)
	}
	change.path = "/issuers/pushes"
	f.refused(root, 400, change)
	page := read[client.Page[client.Issuer]](f, root, 200, req{method: "GET", path: "/issuers?n=2"})
	if len(page.Items) != 2 || page.Items[0].Name != "gh" || page.Next != "inside" {
		t.Errorf("%+v", page)
	}
	verdict := read[client.TokenVerdict](f, root, 200, req{method: "POST", path: "/issuers/test", body: `{"token":"eyJhbGciOiJub25lIn0.canary.x"}`})
	if verdict.Accepted || verdict.Reason == "" {
		t.Errorf("%+v", verdict)
	}
	if strings.Contains(f.logged(), "canary.x") {
		t.Error("L-01: the log holds a token")
	}
	f.want(root, 204, req{method: "DELETE", path: "/issuers/gh"})
}
