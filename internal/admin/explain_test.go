package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

func TestExplain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		ask := func(body string) req { return req{method: "POST", path: "/explain", body: body} }
		x := read[client.Explanation](f, b, 200, ask(`{"principal":"user:alice","action":"push","repository":"team-a/app","tag":"v1"}`))
		if !x.Allowed || x.Principal != "user:alice" || len(x.Rules) != 1 || x.Rules[0].Line != 6 {
			t.Errorf("alice: %+v", x)
		}
		x = read[client.Explanation](f, b, 200, ask(`{"principal":"user:mallory","action":"push","repository":"team-a/app"}`))
		if x.Allowed || len(x.Nearest) == 0 || x.Nearest[0].Lacks[0].What != "subject" {
			t.Errorf("mallory: %+v", x)
		}
		// What a key keeps counts, and only its owner's keys are asked about.
		k, _ := f.key(robot("ci"), 3600e9, nil, []string{"pull"})
		x = read[client.Explanation](f, b, 200, ask(`{"principal":"robot:ci","action":"push","repository":"team-a/app","key":"`+k.ID+`"}`))
		if x.Allowed || x.Narrowed == "" || len(x.Rules) != 1 {
			t.Errorf("a narrowed key: %+v", x)
		}
		f.refused(b, 400, ask(`{"principal":"user:alice","action":"push","repository":"team-a/app","key":"`+k.ID+`"}`))
		// Nor is anything allowed to a key that has ended, or to who is disabled.
		pull := `{"principal":"robot:ci","action":"pull","repository":"team-a/app","key":"` + k.ID + `"}`
		for _, then := range []struct {
			change req
			want   int
			says   string
		}{
			{req{method: "GET", path: "/whoami"}, 200, ""},
			{req{method: "DELETE", path: "/keys/" + k.ID}, 204, "the key has ended"},
			{req{method: "PATCH", path: "/robots/ci", body: `{"disabled":true}`}, 200, "the account is disabled"},
		} {
			f.want(b, then.want, then.change)
			x = read[client.Explanation](f, b, 200, ask(pull))
			if x.Allowed != (then.says == "") || x.Standing != then.says || len(x.Rules) == 0 {
				t.Errorf("after %s %s: %+v", then.change.method, then.change.path, x)
			}
		}
		for _, body := range []string{
			`{"principal":"nobody","action":"pull","repository":"a"}`, `{"action":"fly","repository":"a"}`, `{"action":"pull"}`,
			`{"action":"pull","repository":"A"}`, `{"action":"pull","repository":"a","tag":"-"}`, `{"action":"pull","repository":"a","address":"x"}`,
			`{"action":"pull","repository":"a","time":"noon"}`, `{"principal":"anonymous","action":"pull","repository":"a","key":"x"}`,
		} {
			f.refused(b, 400, ask(body))
		}
		f.refused(b, 404, ask(`{"principal":"user:nobody","action":"pull","repository":"a"}`))
	})
}

// S-38: who does not manage that part of the policy learns nothing, whether the
// account and the repository exist or not.
func TestExplainIsForManagers(t *testing.T) {
	f := onSQLite(t)
	b := f.as("alice")
	var first string
	for _, who := range []string{"user:alice", "user:admin", "user:nobody"} {
		p := f.refused(b, 403, req{method: "POST", path: "/explain", body: `{"principal":"` + who + `","action":"pull","repository":"team-a/app"}`})
		if first == "" {
			first = p.Detail
		}
		if p.Detail != first {
			t.Errorf("%s: %q, and before %q", who, p.Detail, first)
		}
	}
	f.refused(b, 403, req{method: "GET", path: "/who-can?action=pull&repository=team-a/app"})
}

func TestWhoCan(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	ask := func(query string) req { return req{method: "GET", path: "/who-can?" + query} }
	found := read[client.WhoCan](f, b, 200, ask("action=push&repository=team-a/app"))
	var subjects []string
	for _, g := range found.Gives {
		subjects = append(subjects, g.Subjects...)
	}
	if got := strings.Join(subjects, " "); got != "group:admins robot:ci user:alice" {
		t.Errorf("push: %s", got)
	}
	for _, query := range []string{"", "action=push", "action=fly&repository=a", "repository=a", "action=push&repository=" + url.QueryEscape("a:b"), "q=x"} {
		f.refused(b, 400, ask(query))
	}
}

// TestReplay puts what is on record to candidates: those that decide alike
// change nothing, others are listed by what they change.
func TestReplay(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		for _, e := range []ledger.Event{
			{Kind: ledger.Pull, Action: "manifest", Decision: ledger.Allowed, Principal: "user:alice", Repository: "team-a/app"},
			{Kind: ledger.Pull, Action: "blob", Decision: ledger.Allowed, Principal: "user:alice", Repository: "team-a/app"},
			{Kind: ledger.Push, Action: "create-tag", Decision: ledger.Allowed, Principal: "robot:ci", Repository: "team-a/app", Tag: "v1"},
			{Kind: ledger.Push, Action: "push", Decision: ledger.Denied, Reason: ledger.ByPolicy, Principal: "user:mallory", Groups: []string{"dev"}, Repository: "team-a/app", Detail: map[string]string{"needs": "create-tag"}},
			{Kind: ledger.Pull, Action: "manifest", Decision: ledger.Denied, Reason: ledger.ByNarrowing, Principal: "robot:ci", Repository: "team-a/app", Detail: map[string]string{"needs": "pull"}},
			{Kind: ledger.Push, Action: "push", Decision: ledger.Failed, Principal: "robot:ci", Repository: "team-a/app"},
			{Kind: ledger.Pull, Action: "manifest", Decision: ledger.Allowed, Principal: "user:alice", Repository: "team-a/app", Time: f.clock().Add(-8 * 24 * time.Hour)},
		} {
			f.ok(f.ledger.Record(t.Context(), e))
		}
		ask := func(document string) client.Replay {
			since := f.clock().Add(-7 * 24 * time.Hour).Format(time.RFC3339)
			return read[client.Replay](f, b, 200, req{method: "POST", path: "/policy/replay?since=" + since, body: document, contentType: "application/yaml"})
		}
		if got := ask(policy); len(got.Changes) != 0 || got.Decisions != 4 {
			t.Errorf("the policy in force: %+v", got)
		}
		got := ask(`version: 2
rules:
  - name: ci
    subjects: ["robot:ci"]
    repositories: ["team-a/**"]
    actions: [pull, push]
  - name: developers
    subjects: ["group:dev"]
    repositories: ["team-a/**"]
    actions: [push]
protections:
  - name: releases
    repositories: ["team-a/**"]
    tags: ["v*"]
    actions: [create-tag]
`)
		var lines []string
		for _, c := range got.Changes {
			lines = append(lines, fmt.Sprintf("%d %s %s %s %t %s", c.Count, c.Principal, c.Action, c.Repository, c.Allowed, c.Rule))
		}
		want := []string{
			"2 user:alice pull team-a/app false ",
			"1 robot:ci create-tag team-a/app false releases",
			"1 user:mallory create-tag team-a/app true developers",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("changes\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(gone, "POST", client.APIPath+"/policy/replay?since=2026-01-01T00:00:00Z", strings.NewReader(policy))
		r.Header.Set("Authorization", "Bearer "+b.access)
		r.Header.Set("Content-Type", "application/yaml")
		if w := f.send(r); w.Code != 499 {
			t.Errorf("R-15 a client that has gone: %d %s", w.Code, w.Body)
		}
		f.refused(b, 400, req{method: "POST", path: "/policy/replay?since=noon", body: policy, contentType: "application/yaml"})
		f.refused(b, 400, req{method: "POST", path: "/policy/replay?since=2026-01-01T00:00:00Z", body: "version: 9\n", contentType: "application/yaml"})
	})
}

// TestReplayTags: what was done to several tags, or to what has none, is asked
// again tag by tag.
func TestReplayTags(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	detail := func(name, value string) map[string]string { return map[string]string{name: value} }
	for _, e := range []ledger.Event{
		{Kind: ledger.Delete, Action: "delete-manifest", Repository: "a/released", Detail: detail("tags", "v1 latest")},
		{Kind: ledger.Delete, Action: "delete-manifest", Repository: "a/untagged"},
		{Kind: ledger.Delete, Action: "delete-blob", Repository: "a/blob"},
		{Kind: ledger.Delete, Action: "delete-tag", Repository: "a/tag", Tag: "v2"},
		{Kind: ledger.Push, Action: "push", Repository: "a/several", Detail: map[string]string{"created": "x v3", "moved": "v4=sha256:0 y=sha256:0"}},
		{Kind: ledger.Push, Action: "push", Repository: "a/again", Tag: "v5"},
		{Kind: ledger.Push, Action: "move-tag", Repository: "a/moved", Tag: "v6"},
	} {
		e.Decision, e.Principal = ledger.Allowed, "user:alice"
		f.ok(f.ledger.Record(t.Context(), e))
	}
	const candidate = `version: 2
rules:
  - {name: all, subjects: ["user:alice"], repositories: ["**"], actions: [push]}
  - {name: rubbish, subjects: ["user:alice"], repositories: ["**"], actions: [delete], when: 'tag != ""'}
protections:
  - {name: releases, repositories: ["**"], tags: ["v*"], actions: [move-tag, delete]}
`
	got := read[client.Replay](f, b, 200, req{method: "POST", path: "/policy/replay?since=2026-01-01T00:00:00Z", body: candidate, contentType: "application/yaml"})
	var lines []string
	for _, c := range got.Changes {
		lines = append(lines, fmt.Sprintf("%d %s %s %t %s", c.Count, c.Action, c.Repository, c.Allowed, c.Rule))
	}
	want := []string{
		"1 delete a/blob false ", "1 move-tag a/moved false releases", "1 delete a/released false releases",
		"1 move-tag a/several false releases", "1 delete a/tag false releases", "1 delete a/untagged false ",
	}
	if !slices.Equal(lines, want) || got.Decisions != 11 {
		t.Errorf("%d decisions, changes\n%s\nwant\n%s", got.Decisions, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// L1: who manages a part is told in which of its groups an account is, and no
// others.
func TestExplainShowsGroupsOfThePart(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	f.want(root, 200, req{method: "PUT", path: "/policy", body: `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [admin]}
  - {name: team-a-manager, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [manage-policy]}
  - {name: grouped, subjects: ["everyone"], repositories: ["team-a/**"], actions: [pull], when: '"admins" in principal.groups'}
`, contentType: "application/yaml", ifMatch: `"2"`})
	f.want(root, 204, req{method: "PUT", path: "/groups/team-a~dev/members/user:admin"})
	ask := req{method: "POST", path: "/explain", body: `{"principal":"user:admin","action":"pull","repository":"team-a/app"}`}
	if x := read[client.Explanation](f, root, 200, ask); fmt.Sprint(x.Groups) != "[admins team-a/dev]" || !strings.Contains(fmt.Sprint(x.Rules[0].Condition.Values), "admins") {
		t.Errorf("to an administrator: %+v", x)
	}
	w := f.want(f.as("alice"), 200, ask)
	var x client.Explanation
	f.ok(json.Unmarshal(w.Body.Bytes(), &x))
	if fmt.Sprint(x.Groups) != "[team-a/dev]" || x.Rules[0].Condition.Values["principal.groups"] != "not shown" {
		t.Errorf("to a manager of a part: %s", w.Body)
	}
}
