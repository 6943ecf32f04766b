package server_test

import (
	"fmt"
	"strings"
)

const (
	jsonBody  = "Content-Type: application/json"
	indexBody = "Content-Type: application/vnd.oci.image.index.v1+json"
	noDigest  = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	noUpload  = "/v2/team/app/blobs/uploads/none"
	newIndex  = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"n":"{n}"}}`
)

// matrixRows has what is asked of every route: of a thing in the part of the
// tree that is managed, and, where that makes a difference, of one outside.
// Nothing that a row does changes what a later one gets.
var matrixRows = []matrixRow{
	{route: "health /healthz", method: "GET", target: "/healthz"},
	{route: "health /readyz", method: "GET", target: "/readyz"},
	{route: "health /metrics", method: "GET", target: "/metrics"},
	{route: "jwks", method: "GET", target: "/.well-known/jwks.json"},

	{route: "ui", method: "GET", target: "/.well-known/oauth-authorization-server"},
	{route: "ui", method: "GET", target: "/oauth/device"},
	{route: "ui", method: "POST", target: "/oauth/device/confirm", note: "without Origin", body: "decision=approve", header: "Content-Type: application/x-www-form-urlencoded"},
	{route: "token", method: "GET", target: "/token"},
	{route: "token", method: "GET", target: "/token", slot: asBasic},
	{route: "token", method: "POST", target: "/token", slot: asRefresh},

	{route: "end-1 GET", method: "GET", target: "/v2/"},
	{route: "end-1 HEAD", method: "HEAD", target: "/v2/"},
	{route: "catalog GET", method: "GET", target: "/v2/_catalog"},
	{route: "catalog HEAD", method: "HEAD", target: "/v2/_catalog"},
	{route: "end-3 GET", method: "GET", target: "/v2/team/app/manifests/fixed"},
	{route: "end-3 GET", method: "GET", target: "/v2/open/app/manifests/fixed"},
	{route: "end-3 GET", method: "GET", target: "/v2/other/app/manifests/fixed"},
	{route: "end-3 HEAD", method: "HEAD", target: "/v2/team/app/manifests/fixed"},
	{route: "end-2 GET", method: "GET", target: "/v2/team/app/blobs/" + noDigest},
	{route: "end-2 HEAD", method: "HEAD", target: "/v2/team/app/blobs/" + noDigest},
	{route: "end-8 GET", method: "GET", target: "/v2/team/app/tags/list"},
	{route: "end-8 HEAD", method: "HEAD", target: "/v2/team/app/tags/list"},
	{route: "end-12 GET", method: "GET", target: "/v2/team/app/referrers/" + noDigest},
	{route: "end-12 HEAD", method: "HEAD", target: "/v2/team/app/referrers/" + noDigest},
	{route: "end-4 end-11 POST", method: "POST", target: "/v2/team/app/blobs/uploads/"},
	{route: "end-4 end-11 POST", method: "POST", target: "/v2/open/app/blobs/uploads/"},
	{route: "end-4 end-11 POST", method: "POST", target: "/v2/team/app/blobs/uploads/?mount=" + noDigest + "&from=other/app"},
	{route: "end-13 GET", method: "GET", target: noUpload},
	{route: "end-13 HEAD", method: "HEAD", target: noUpload},
	{route: "end-5 PATCH", method: "PATCH", target: noUpload, body: "x"},
	{route: "end-6 PUT", method: "PUT", target: noUpload + "?digest=" + noDigest},
	{route: "end-14 DELETE", method: "DELETE", target: noUpload},
	{route: "end-7 PUT", note: "a new tag", method: "PUT", target: "/v2/team/app/manifests/new-{n}", body: newIndex, header: indexBody},
	{route: "end-7 PUT", note: "moving it", method: "PUT", target: "/v2/team/app/manifests/fixed", body: newIndex, header: indexBody},
	{route: "end-7 PUT", note: "a new tag", method: "PUT", target: "/v2/other/app/manifests/new-{n}", body: newIndex, header: indexBody},
	{route: "end-9 DELETE", method: "DELETE", target: "/v2/team/app/manifests/none"},
	{route: "end-9 DELETE", method: "DELETE", target: "/v2/team/app/manifests/" + noDigest},
	{route: "end-9 DELETE", method: "DELETE", target: "/v2/open/app/manifests/none"},
	{route: "end-10 DELETE", method: "DELETE", target: "/v2/team/app/blobs/" + noDigest},

	{route: "whoami", method: "GET", target: "/api/v1/whoami"},
	{route: "openapi", method: "GET", target: "/api/v1/openapi.json"},

	{route: "listUsers", method: "GET", target: "/api/v1/users"},
	{route: "addUser", method: "POST", target: "/api/v1/users", note: "team/new", body: `{"name":"team/new-{n}","password":"a long enough word 7301"}`, header: jsonBody},
	{route: "addUser", method: "POST", target: "/api/v1/users", note: "other/new", body: `{"name":"other/new-{n}","password":"a long enough word 7301"}`, header: jsonBody},
	{route: "getUser", method: "GET", target: "/api/v1/users/team~victim"},
	{route: "getUser", method: "GET", target: "/api/v1/users/other~victim"},
	{route: "changeUser", method: "PATCH", target: "/api/v1/users/team~victim", body: `{"disabled":false}`, header: jsonBody},
	{route: "changeUser", method: "PATCH", target: "/api/v1/users/other~victim", body: `{"disabled":false}`, header: jsonBody},
	{route: "removeUser", method: "DELETE", target: "/api/v1/users/team~none"},
	{route: "removeUser", method: "DELETE", target: "/api/v1/users/other~none"},
	{route: "setPassword", method: "PUT", target: "/api/v1/users/team~victim/password", body: `{"password":"a long enough word 7302"}`, header: jsonBody},
	{route: "setPassword", method: "PUT", target: "/api/v1/users/other~victim/password", body: `{"password":"a long enough word 7302"}`, header: jsonBody},
	{route: "resetPassword", method: "POST", target: "/api/v1/users/team~victim/reset"},
	{route: "resetPassword", method: "POST", target: "/api/v1/users/other~victim/reset"},
	{route: "linkUser", method: "POST", target: "/api/v1/users/team~victim/links", body: `{"issuer":"https://idp.test","subject":"1"}`, header: jsonBody},
	{route: "linkUser", method: "POST", target: "/api/v1/users/other~victim/links", body: `{"issuer":"https://idp.test","subject":"1"}`, header: jsonBody},
	{route: "unlinkUser", method: "DELETE", target: "/api/v1/users/team~victim/links?issuer=https://idp.test&subject=none"},
	{route: "unlinkUser", method: "DELETE", target: "/api/v1/users/other~victim/links?issuer=https://idp.test&subject=none"},
	{route: "redeemReset", note: "a weak password", method: "POST", target: "/api/v1/password-resets", body: `{"code":"{it}","password":"weak"}`, header: jsonBody, before: codeOf("team/victim")},
	{route: "importHtpasswd", method: "POST", target: "/api/v1/htpasswd", body: "# nobody\n", header: "Content-Type: text/plain"},

	{route: "listRobots", method: "GET", target: "/api/v1/robots"},
	{route: "addRobot", method: "POST", target: "/api/v1/robots", note: "team/ci", body: `{"name":"team/ci"}`, header: jsonBody},
	{route: "addRobot", method: "POST", target: "/api/v1/robots", note: "other/ci", body: `{"name":"other/ci"}`, header: jsonBody},
	{route: "getRobot", method: "GET", target: "/api/v1/robots/team~ci"},
	{route: "getRobot", method: "GET", target: "/api/v1/robots/other~ci"},
	{route: "changeRobot", method: "PATCH", target: "/api/v1/robots/team~ci", body: `{"disabled":false}`, header: jsonBody},
	{route: "changeRobot", method: "PATCH", target: "/api/v1/robots/other~ci", body: `{"disabled":false}`, header: jsonBody},
	{route: "removeRobot", method: "DELETE", target: "/api/v1/robots/team~none"},
	{route: "removeRobot", method: "DELETE", target: "/api/v1/robots/other~none"},

	{route: "listGroups", method: "GET", target: "/api/v1/groups"},
	{route: "addMember", method: "PUT", target: "/api/v1/groups/team~dev/members/robot:team~ci"},
	{route: "addMember", method: "PUT", target: "/api/v1/groups/admins/members/robot:team~ci"},
	{route: "removeMember", method: "DELETE", target: "/api/v1/groups/team~none/members/robot:team~ci"},
	{route: "removeMember", method: "DELETE", target: "/api/v1/groups/none/members/robot:team~ci"},

	{route: "listKeys", note: "one's own", method: "GET", target: "/api/v1/keys"},
	{route: "listKeys", method: "GET", target: "/api/v1/keys?owner=robot:team/ci"},
	{route: "listKeys", method: "GET", target: "/api/v1/keys?owner=robot:other/ci"},
	{route: "listKeys", method: "GET", target: "/api/v1/keys?owner=all"},
	{route: "createKey", note: "one's own", method: "POST", target: "/api/v1/keys", body: `{}`, header: jsonBody},
	{route: "createKey", note: "of team/ci", method: "POST", target: "/api/v1/keys", body: `{"owner":"robot:team/ci"}`, header: jsonBody},
	{route: "createKey", note: "of other/ci", method: "POST", target: "/api/v1/keys", body: `{"owner":"robot:other/ci"}`, header: jsonBody},
	{route: "narrowKey", note: "of team/ci", method: "PATCH", target: "/api/v1/keys/{it}", body: `{"actions":["pull"]}`, header: jsonBody, before: keyOf("robot:team/ci"), hidden: true},
	{route: "narrowKey", note: "of other/ci", method: "PATCH", target: "/api/v1/keys/{it}", body: `{"actions":["pull"]}`, header: jsonBody, before: keyOf("robot:other/ci"), hidden: true},
	{route: "rotateKey", note: "of team/ci", method: "POST", target: "/api/v1/keys/{it}/rotate", body: `{}`, header: jsonBody, before: keyOf("robot:team/ci"), hidden: true},
	{route: "rotateKey", note: "of other/ci", method: "POST", target: "/api/v1/keys/{it}/rotate", body: `{}`, header: jsonBody, before: keyOf("robot:other/ci"), hidden: true},
	{route: "revokeKey", note: "of team/ci", method: "DELETE", target: "/api/v1/keys/{it}", before: keyOf("robot:team/ci"), hidden: true},
	{route: "revokeKey", note: "of other/ci", method: "DELETE", target: "/api/v1/keys/{it}", before: keyOf("robot:other/ci"), hidden: true},

	{route: "listSessions", note: "one's own", method: "GET", target: "/api/v1/sessions"},
	{route: "listSessions", method: "GET", target: "/api/v1/sessions?owner=user:team/victim"},
	{route: "listSessions", method: "GET", target: "/api/v1/sessions?owner=user:other/victim"},
	{route: "listSessions", method: "GET", target: "/api/v1/sessions?owner=all"},
	{route: "revokeSessions", method: "DELETE", target: "/api/v1/sessions?owner=user:team/victim"},
	{route: "revokeSessions", method: "DELETE", target: "/api/v1/sessions?owner=user:other/victim"},
	{route: "revokeSession", note: "of team/ci", method: "DELETE", target: "/api/v1/sessions/{it}", before: sessionOf("robot:team/ci"), hidden: true},
	{route: "revokeSession", note: "of other/ci", method: "DELETE", target: "/api/v1/sessions/{it}", before: sessionOf("robot:other/ci"), hidden: true},

	{route: "showPolicy", method: "GET", target: "/api/v1/policy"},
	{route: "applyPolicy", method: "PUT", target: "/api/v1/policy", body: matrixPolicy, header: "Content-Type: application/yaml\nIf-Match: \"1\""},
	{route: "listPolicyVersions", method: "GET", target: "/api/v1/policy/versions"},
	{route: "explain", method: "POST", target: "/api/v1/explain", note: "about team/app", body: `{"principal":"anonymous","action":"pull","repository":"team/app"}`, header: jsonBody},
	{route: "explain", method: "POST", target: "/api/v1/explain", note: "about other/app", body: `{"principal":"anonymous","action":"pull","repository":"other/app"}`, header: jsonBody},
	{route: "replayPolicy", method: "POST", target: "/api/v1/policy/replay?since=2026-01-01T00:00:00Z", body: matrixPolicy, header: "Content-Type: application/yaml"},
	{route: "whoCan", method: "GET", target: "/api/v1/who-can?action=push&repository=team/app"},
	{route: "whoCan", method: "GET", target: "/api/v1/who-can?action=push&repository=other/app"},
	{route: "showPolicyVersion", method: "GET", target: "/api/v1/policy/versions/1"},

	{route: "listAudit", method: "GET", target: "/api/v1/audit?n=1"},
	{route: "listSigningKeys", method: "GET", target: "/api/v1/signing-keys"},
	{route: "rotateSigningKey", method: "POST", target: "/api/v1/signing-keys", body: `{"now":false}`, header: jsonBody},
	{route: "revokeSigningKey", method: "DELETE", target: "/api/v1/signing-keys/none"},
	{route: "showKeySet", method: "GET", target: "/api/v1/signing-keys/jwks"},
	{route: "listIssuers", method: "GET", target: "/api/v1/issuers"},
	{route: "addIssuer", method: "POST", target: "/api/v1/issuers", note: "a good one", body: matrixIssuer("matrix-{n}"), header: "Content-Type: application/yaml"},
	{route: "getIssuer", method: "GET", target: "/api/v1/issuers/none"},
	{route: "replaceIssuer", method: "PUT", target: "/api/v1/issuers/none", body: matrixIssuer("none"), header: "Content-Type: application/yaml\nIf-Match: \"1\""},
	{route: "removeIssuer", method: "DELETE", target: "/api/v1/issuers/none"},
	{route: "checkIssuer", method: "POST", target: "/api/v1/issuers/none/check"},
	{route: "testToken", method: "POST", target: "/api/v1/issuers/test", body: `{"token":"a.b.c"}`, header: jsonBody},
	{route: "listPresets", method: "GET", target: "/api/v1/issuer-presets"},
	{route: "getPreset", method: "GET", target: "/api/v1/issuer-presets/github"},
	{route: "sweepStatus", method: "GET", target: "/api/v1/gc"},
	{route: "sweep", method: "POST", target: "/api/v1/gc", body: `{"dryRun":true}`, header: jsonBody},
}

// matrixIssuer is a definition that nobody asks for keys.
func matrixIssuer(name string) string {
	return "name: " + name + "\nissuer: {url: \"https://" + name + ".ci.test\", audiences: [jobs]}\nclaimMappings: {username: {claim: sub, prefix: \"\"}}\n"
}

// keyOf makes an access key and returns its id.
func keyOf(owner string) func(*matrix) string {
	return func(m *matrix) string {
		id, _ := m.api("POST", "/keys", fmt.Sprintf(`{"owner":%q}`, owner))["id"].(string)
		return id
	}
}

// codeOf makes a one-time code and returns it.
func codeOf(name string) func(*matrix) string {
	return func(m *matrix) string {
		code, _ := m.api("POST", "/users/"+strings.ReplaceAll(name, "/", "~")+"/reset", "")["code"].(string)
		return code
	}
}

// sessionOf begins a session and returns its id.
func sessionOf(owner string) func(*matrix) string {
	return func(m *matrix) string {
		m.t.Helper()
		secret, _ := m.api("POST", "/keys", fmt.Sprintf(`{"owner":%q}`, owner))["secret"].(string)
		var me struct{ SessionID string }
		m.read(m.ask("GET", "/api/v1/whoami", "", "Bearer "+m.login("any", secret, "registry:api:*").access), &me)
		return me.SessionID
	}
}
