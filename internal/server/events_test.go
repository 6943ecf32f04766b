package server_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
)

const (
	eventAgent = "docker/99 (test)"
	emptyIndex = `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[]}`
	eventRepo  = "/v2/team/app/manifests/"
)

// A provoked event is a request, and what the event that it leaves holds beside
// who, how, from where and which request: fields by their names in JSON, in
// detail by "detail.NAME"; "*" is any text.
type provoked struct {
	kind                 ledger.Kind
	action               string
	method, target, body string
	header               []string
	by                   string // a role: see roles; "" is the administrator
	decision             ledger.Decision
	fields               string
}

// TestEveryEvent: L-03, an event of every kind, provoked through the whole
// server, says who, how proven, with which credential, what, where, by which rule
// and which version of the policy, from which client and in which request.
func TestEveryEvent(t *testing.T) {
	m := startMatrix(t)
	m.admin = m.login("admin", matrixPassword("admin"), allScopes).access
	for _, name := range []string{"pusher", "nobody", "leaver"} {
		m.api("POST", "/users", fmt.Sprintf(`{"name":%q,"password":%q}`, name, matrixPassword(name)))
	}
	version := m.api("GET", "/policy", "")["version"]
	m.ask("PUT", "/api/v1/policy", matrixPolicy, "Bearer "+m.admin, "Content-Type", "application/yaml", "If-Match", fmt.Sprintf(`"%v"`, version))
	tokens := map[string]string{"": m.admin}
	for _, role := range []string{"pusher", "nobody"} {
		tokens[role] = m.login(role, matrixPassword(role), allScopes).access
	}
	key, _ := m.key("pusher", "")
	m.login("leaver", matrixPassword("leaver"), "")
	digest := string(oci.FromBytes([]byte(emptyIndex)))
	moved := strings.Replace(emptyIndex, "{", "{ ", 1)
	index := []string{"Content-Type", oci.MediaTypeImageIndex}
	yaml := []string{"Content-Type", "application/yaml", "If-Match", `"2"`}
	basic := func(name, password string) []string {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(name, password)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	seen := map[ledger.Kind]bool{ledger.Audit: true} // of the start; below
	for _, p := range []provoked{
		{ledger.Login, "login", "GET", "/token?offline_token=true&client_id=x", "", basic("pusher", matrixPassword("pusher")), "pusher", ledger.Allowed, "token=* detail.client=x* policyVersion=2"},
		{ledger.Login, "login", "GET", "/token", "", basic("pusher", "wrong"), "pusher", ledger.Denied, "reason=bad_credential"},
		{ledger.Token, "issue", "GET", "/token?" + url.Values{"scope": {"repository:team/app:pull"}}.Encode(), "", basic("pusher", matrixPassword("pusher")), "pusher", ledger.Allowed, "token=* detail.scope=repository:team/app:pull policyVersion=2"},
		{ledger.Push, "create-tag", "PUT", eventRepo + "v1", emptyIndex, index, "pusher", ledger.Allowed, "repository=team/app tag=v1 digest=" + digest + " rule=pushers"},
		{ledger.Push, "move-tag", "PUT", eventRepo + "v1", moved, index, "pusher", ledger.Allowed, "repository=team/app tag=v1 digest=* rule=pushers detail.previous=" + digest},
		{ledger.Push, "push", "PUT", eventRepo + "v1", emptyIndex, index, "nobody", ledger.Denied, "repository=team/app tag=v1 reason=policy detail.needs=push"},
		{ledger.Pull, "manifest", "GET", eventRepo + "v1", "", nil, "pusher", ledger.Allowed, "repository=team/app tag=v1 digest=* rule=pushers"},
		{ledger.Pull, "pull", "GET", eventRepo + "v1", "", nil, "nobody", ledger.Denied, "repository=team/app tag=v1 reason=policy detail.needs=pull"},
		{ledger.List, "list", "GET", "/v2/team/app/tags/list", "", nil, "nobody", ledger.Denied, "repository=team/app reason=policy"},
		{ledger.Delete, "delete-tag", "DELETE", eventRepo + "v1", "", nil, "pusher", ledger.Allowed, "repository=team/app tag=v1 rule=pushers"},
		{ledger.Delete, "delete-manifest", "DELETE", eventRepo + digest, "", nil, "pusher", ledger.Allowed, "repository=team/app rule=pushers digest=" + digest},
		{ledger.API, "read", "GET", "/api/v1/who-can?action=pull&repository=team/app", "", nil, "nobody", ledger.Denied, "reason=policy detail.needs=manage-policy"},
		{ledger.Account, "add", "POST", "/api/v1/robots", `{"name":"bot"}`, nil, "", ledger.Allowed, "object=robot:bot rule=administrators"},
		{ledger.Account, "disable", "PATCH", "/api/v1/robots/bot", `{"disabled":true}`, nil, "", ledger.Allowed, "object=robot:bot rule=administrators"},
		{ledger.Account, "remove", "DELETE", "/api/v1/robots/bot", "", nil, "nobody", ledger.Denied, "object=robot:bot reason=policy detail.needs=manage-accounts detail.over=bot"},
		{ledger.Account, "remove", "DELETE", "/api/v1/robots/bot", "", nil, "", ledger.Allowed, "object=robot:bot rule=administrators"},
		{ledger.Group, "set", "PUT", "/api/v1/groups/dev/members/user:nobody", "", nil, "", ledger.Allowed, "object=group:dev detail.member=user:nobody rule=administrators"},
		{ledger.Key, "change", "PATCH", "/api/v1/keys/" + key, `{"actions":["pull"]}`, nil, "pusher", ledger.Allowed, "object=key:" + key + " detail.owner=user:pusher detail.to=*pull*"},
		{ledger.Key, "rotate", "POST", "/api/v1/keys/" + key + "/rotate", `{"overlap":3600}`, nil, "", ledger.Allowed, "object=key:" + key + " rule=administrators detail.owner=user:pusher detail.successor=* detail.until=*"},
		{ledger.Key, "remove", "DELETE", "/api/v1/keys/" + key, "", nil, "", ledger.Allowed, "object=key:" + key + " rule=administrators detail.owner=user:pusher"},
		{ledger.Key, "add", "POST", "/api/v1/keys", `{"owner":"user:pusher"}`, nil, "", ledger.Allowed, "object=key:* rule=administrators detail.owner=user:pusher"},
		{ledger.Session, "remove", "DELETE", "/api/v1/sessions?owner=user:leaver", "", nil, "", ledger.Allowed, "object=user:leaver rule=administrators detail.ended=1"},
		{ledger.Password, "set", "PUT", "/api/v1/users/leaver/password", `{"password":"another word of leaver 7301"}`, nil, "", ledger.Allowed, "object=user:leaver rule=administrators"},
		{ledger.Policy, "set", "PUT", "/api/v1/policy?reason=tidy", matrixPolicy + "# tidy\n", yaml, "", ledger.Allowed, "rule=administrators policyVersion=2 detail.version=3 detail.why=tidy"},
		{ledger.SigningKey, "add", "POST", "/api/v1/signing-keys", `{}`, nil, "", ledger.Allowed, "rule=administrators detail.next=* detail.signs=*"},
		{ledger.Federation, "add", "POST", "/api/v1/issuers", matrixIssuer("ci"), []string{"Content-Type", "application/yaml"}, "", ledger.Allowed, "object=issuer:ci rule=administrators detail.url=https://ci.ci.test detail.revision=* detail.ended=0"},
		{ledger.Federation, "remove", "DELETE", "/api/v1/issuers/ci", "", nil, "", ledger.Allowed, "object=issuer:ci rule=administrators detail.ended=0"},
		{ledger.Sweep, "run", "POST", "/api/v1/gc", `{}`, nil, "", ledger.Allowed, "rule=administrators detail.blobs=*"},
	} {
		seen[p.kind] = true
		m.provoke(p, tokens[p.by])
	}
	start := m.events("/audit?what=audit&after=0&n=1")
	if len(start) != 1 || start[0].Action != "start" || start[0].Principal != ledger.System || start[0].Detail["pulls"] == "" {
		t.Errorf("L-03 the start: %+v", start)
	}
	for kind := range documentedKinds(t) {
		if !seen[kind] {
			t.Errorf("L-03 docs/audit.md has the kind %q, and no request here provokes it", kind)
		}
		delete(seen, kind)
	}
	for kind := range seen {
		t.Errorf("docs/audit.md does not have the kind %q", kind)
	}
}

// events asks for a part of the record.
func (m *matrix) events(path string) []client.AuditEvent {
	m.t.Helper()
	var page client.AuditPage
	m.read(m.ask("GET", "/api/v1"+path, "", "Bearer "+m.admin), &page)
	return page.Items
}

// provoke sends the request of p and checks what it leaves.
func (m *matrix) provoke(p provoked, token string) {
	m.t.Helper()
	name := fmt.Sprintf("L-03 %s %s (%s)", p.kind, p.action, p.decision)
	r := m.request(p.method, p.target, p.body)
	r.Header.Set("User-Agent", eventAgent)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(p.header); i += 2 {
		r.Header.Set(p.header[i], p.header[i+1])
	}
	w := m.send(r, false)
	if failed := w.Code >= 400; failed != (p.decision != ledger.Allowed) {
		m.t.Errorf("%s: %d %s", name, w.Code, w.Body)
		return
	}
	id := w.Header().Get("X-Request-Id")
	all := m.events("/audit?request=" + id)
	if len(all) != 1 {
		m.t.Errorf("%s: %d events", name, len(all))
		return
	}
	e := all[0]
	who := p.by
	if who == "" {
		who = "admin"
	}
	address, _, _ := strings.Cut(r.RemoteAddr, ":")
	if e.Kind != p.kind || e.Action != p.action || e.Decision != p.decision || e.Principal != "user:"+who || e.Method != "password" ||
		e.Address != address || e.UserAgent != eventAgent || e.RequestID != id || e.Time.IsZero() {
		m.t.Errorf("%s: %+v", name, e.Event)
	}
	// A login that is refused proved nobody; what an answer to Basic or a key
	// came with is no session.
	if proven := p.kind != ledger.Login || p.decision == ledger.Allowed; proven && (e.UID == "" || e.PolicyVersion == 0 || e.Token == "" ||
		e.Credential == "" && p.kind != ledger.Token) {
		m.t.Errorf("%s: who and how is not whole: %+v", name, e.Event)
	}
	m.holds(name, e, p.fields)
}

// holds compares the fields of an event, as it is written, with those wanted.
func (m *matrix) holds(name string, e client.AuditEvent, fields string) {
	m.t.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		m.t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(line, &written); err != nil {
		m.t.Fatal(err)
	}
	for field := range strings.FieldsSeq(fields) {
		path, want, _ := strings.Cut(field, "=")
		in := written
		if rest, ok := strings.CutPrefix(path, "detail."); ok {
			in, _ = written["detail"].(map[string]any)
			path = rest
		}
		got := ""
		if v := in[path]; v != nil && !reflect.ValueOf(v).IsZero() {
			got = strings.ReplaceAll(fmt.Sprint(v), " ", "_")
		}
		before, after, any := strings.Cut(want, "*")
		if got == "" || got != want && !(any && strings.HasPrefix(got, before) && strings.Contains(got, strings.TrimSuffix(after, "*"))) {
			m.t.Errorf("%s: %s is %q, want %q: %s", name, path, got, want, line)
		}
	}
}

var kindsRow = regexp.MustCompile("(?m)^\\| ((?:`[a-z-]+`(?:, )?)+) \\| ")

// documentedKinds returns those of the first table of docs/audit.md.
func documentedKinds(t *testing.T) map[ledger.Kind]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "\n\n`decision`")
	out := map[ledger.Kind]bool{}
	for _, row := range kindsRow.FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			out[ledger.Kind(strings.Trim(name, "`"))] = true
		}
	}
	return out
}
