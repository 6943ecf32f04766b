package admin_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// events returns what was recorded since the event with the number after.
func (f *fixture) events(after int64) []client.AuditEvent {
	f.t.Helper()
	f.ok(f.ledger.Flush(f.t.Context()))
	var out []client.AuditEvent
	q := ledger.Query{After: ledger.Seq{N: after, Given: true}, Limit: 1000}
	page, err := f.db.Ledger().Read(f.t.Context(), q)
	f.ok(err)
	for _, s := range page.Events {
		out = append(out, client.AuditEvent{Event: s.Event, Prev: s.Prev.String(), Hash: s.Hash.String()})
	}
	return out
}

func (f *fixture) head() int64 {
	f.t.Helper()
	f.ok(f.ledger.Flush(f.t.Context()))
	_, head, err := f.db.Ledger().Ends(f.t.Context())
	f.ok(err)
	return head.Seq
}

// TestEvents: L-03, each request that changes something, fails to, or is
// refused leaves exactly one event; a question and a challenge leave none.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root, mallory := f.as("admin"), f.as("mallory")
		for _, rt := range admin.Routes() {
			s := samples[rt.Method+" "+rt.Pattern]
			s.method = rt.Method
			for _, c := range []struct {
				who  string
				by   bearer
				want int
			}{
				{"anonymous", nobody, 0},
				{"user:mallory", mallory, 1},
				{"user:admin", root, 1},
			} {
				before := f.head()
				w := f.do(c.by, s.req)
				want, decision := c.want, ledger.Allowed
				method, proven := "password", true
				if rt.Open { // whoever asks, nobody is proven
					c.who, want, method, proven = "anonymous", 1, "code", false
				}
				switch {
				case w.Code == 403:
					decision = ledger.Denied
				case rt.Method == "GET" || rt.Quiet:
					want = 0
				case w.Code >= 400:
					decision = ledger.Failed
				}
				got := f.events(before)
				if len(got) != want {
					t.Errorf("L-03 %s by %s (%d): %d events %+v, want %d", s.req, c.who, w.Code, len(got), got, want)
					continue
				}
				for _, e := range got {
					if e.Principal != c.who || e.Decision != decision || e.RequestID != "request-1" || e.Method != method || e.Kind == "" || e.Action == "" || (e.UID != "") != proven {
						t.Errorf("L-03 %s by %s (%d): %+v", s.req, c.who, w.Code, e.Event)
					}
					if e.Kind == ledger.API && rt.Method != "GET" && !rt.Quiet {
						t.Errorf("%s %s has no kind: fill in the route's", rt.Method, rt.Pattern)
					}
				}
			}
		}
		before := f.head()
		f.do(bearer{access: "garbage"}, req{method: "GET", path: "/users"})
		if got := f.events(before); len(got) != 1 || got[0].Reason != ledger.BadToken || got[0].Decision != ledger.Denied {
			t.Errorf("L-03 a token that proves nothing: %+v", got)
		}
		// L-01: nothing that was typed as a secret is in any event.
		for _, e := range f.events(0) {
			line, err := json.Marshal(e)
			f.ok(err)
			if strings.Contains(string(line), "canary") || strings.Contains(string(line), "four horses") || strings.Contains(string(line), "sallyport_key_") || strings.Contains(string(line), "sallyport_rst_") {
				t.Errorf("L-01: %s", line)
			}
			if _, err := ledger.ParseLine(line); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	})
}

// TestEventObjects: an event says to what it was done.
func TestEventObjects(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	for _, c := range []struct {
		req
		kind   ledger.Kind
		action string
		object string
		detail string
	}{
		{req{method: "POST", path: "/robots", body: `{"name":"team-a/bot"}`}, "account", "add", "robot:team-a/bot", ""},
		{req{method: "PATCH", path: "/robots/team-a~bot", body: `{"disabled":true}`}, "account", "disable", "robot:team-a/bot", ""},
		{req{method: "PUT", path: "/groups/dev/members/user:alice"}, "group", "set", "group:dev", "user:alice"},
		{req{method: "PUT", path: "/users/alice/password", body: `{"password":"another horse in a barn"}`}, "password", "set", "user:alice", ""},
		{req{method: "DELETE", path: "/robots/team-a~bot"}, "account", "remove", "robot:team-a/bot", ""},
		{req{method: "POST", path: "/gc", body: `{}`}, "sweep", "run", "", "bytes"},
		{req{method: "PUT", path: "/policy?reason=tidy", body: policy, contentType: "application/yaml", ifMatch: `"2"`}, "policy", "set", "", "tidy"},
	} {
		before := f.head()
		if w := f.do(root, c.req); w.Code >= 400 {
			t.Fatalf("%s: %d %s", c.req, w.Code, w.Body)
		}
		got := f.events(before)
		if len(got) != 1 || got[0].Kind != c.kind || got[0].Action != c.action || got[0].Object != c.object || !strings.Contains(fmt.Sprint(got[0].Detail), c.detail) {
			t.Errorf("%s: %+v", c.req, got)
		}
	}
}

// TestEventsOfOthers: L-06, who reads the record of a part of the tree sees the
// events there and learns nothing of others: whatever is asked about those, the
// answer is the one about what never was.
func TestEventsOfOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root := f.as("admin")
		f.want(root, 200, req{method: "PUT", path: "/policy", contentType: "application/yaml", ifMatch: `"2"`, body: `version: 2
rules:
  - name: administrators
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [admin]
  - name: auditors-of-a-team
    subjects: ["user:alice"]
    repositories: ["team-a/**"]
    actions: [read-audit]
`})
		b := f.as("alice")
		for i := range 30 {
			for _, e := range []ledger.Event{
				{Kind: ledger.Pull, Decision: ledger.Allowed, Principal: "user:mallory", Repository: "team-b/secret", RequestID: "theirs"},
				{Kind: ledger.Push, Decision: ledger.Denied, Principal: "robot:theirs", Repository: "team-b/secret"},
				{Kind: ledger.Account, Decision: ledger.Allowed, Principal: "user:admin", Object: "robot:team-b/bot"},
				{Kind: ledger.Key, Decision: ledger.Allowed, Principal: "user:mallory", Object: "key:theirs"},
				{Kind: ledger.Pull, Decision: ledger.Allowed, Principal: "robot:ci", Repository: fmt.Sprint("team-a/app", i%3)},
			} {
				f.ok(f.ledger.Record(t.Context(), e))
			}
			f.ok(f.ledger.Flush(t.Context()))
		}
		f.ok(f.ledger.Record(t.Context(), ledger.Event{Kind: ledger.Account, Decision: ledger.Allowed, Principal: "user:admin", Object: "robot:team-a/bot"}))
		ask := func(query string) string {
			return f.want(b, 200, req{method: "GET", path: "/audit?" + query}).Body.String()
		}
		for i, n := range []string{"1", "7", "1000"} {
			defer admin.SetStretch([]int64{10_000, 40, 3}[i])()
			for _, order := range []string{"", "&after=0", "&before=60"} {
				for theirs, never := range map[string]string{
					"where=team-b/secret": "where=team-z/none", "where=team-b/**": "where=team-z/**", "who=user:mallory": "who=user:nobody",
					"who=robot:theirs": "who=robot:nobody", "request=theirs": "request=never", "what=key": "what=federation",
					"who=user:mallory&denied=true": "who=user:nobody&denied=true", "where=team-b/secret&what=pull": "where=team-z/none&what=pull",
				} {
					suffix := "&n=" + n + order
					if got, want := ask(theirs+suffix), ask(never+suffix); got != want {
						t.Errorf("L-06 %s%s: %s and of what never was %s", theirs, suffix, got, want)
					}
				}
			}
			seen := 0
			for next := "n=" + n; next != ""; {
				var page client.AuditPage
				f.ok(json.Unmarshal([]byte(ask(next)), &page))
				for _, e := range page.Items {
					if seen++; !strings.HasPrefix(e.Repository+strings.TrimPrefix(e.Object, "robot:"), "team-a/") {
						t.Errorf("L-06: shown %+v", e.Event)
					}
				}
				if page.Anchor != nil || page.Head != nil {
					t.Error("L-06: the ends of the whole record")
				}
				if next = ""; page.Next != "" {
					next = "n=" + n + "&before=" + page.Next
				}
			}
			if seen != 31 {
				t.Errorf("%d events in parts of %s, want 31", seen, n)
			}
		}
	})
}

// changing returns a request for each route that changes something, which is
// done when root sends it: the sample, or one about things that there are.
func (f *fixture) changing() []req {
	f.t.Helper()
	ci := robot("ci")
	k, _, err := f.accounts.CreateKey(f.t.Context(), ci, account.NewKey{Life: time.Hour})
	f.ok(err)
	f.as("alice")
	sessions := read[client.Page[client.Session]](f, f.as("admin"), 200, req{method: "GET", path: "/sessions?owner=user:alice"})
	_, err = f.tokens.RotateSigningKey(f.t.Context())
	f.ok(err)
	keys, err := f.tokens.SigningKeys(f.t.Context())
	f.ok(err)
	f.ok(f.accounts.AddMember(f.t.Context(), "testers", ci))
	_, code, err := f.accounts.ResetPassword(f.t.Context(), "mallory")
	f.ok(err)
	d, err := issuer.Parse([]byte(definition("old")))
	f.ok(err)
	f.ok(f.db.Issuers().SaveIssuer(f.t.Context(), issuer.Stored{Name: "old", Document: d.YAML(), Changed: f.clock()}, ""))
	f.ok(f.accounts.Link(f.t.Context(), "alice", "https://idp.test", "7"))
	own := map[string]req{
		"DELETE /users/{name}/links":              {path: "/users/alice/links?issuer=https://idp.test&subject=7"},
		"PUT /issuers/{issuer}":                   {path: "/issuers/old", body: definition("old") + "sessions: 5m\n", contentType: "application/yaml", ifMatch: `"` + d.Revision() + `"`},
		"DELETE /issuers/{issuer}":                {path: "/issuers/old"},
		"POST /password-resets":                   {path: "/password-resets", body: body(`{"code":%q,"password":"four horses in a barn"}`, code.Reveal())},
		"POST /htpasswd":                          {path: "/htpasswd", body: "erin:$2y$04$7RQ8mXkJ4mUqPHC7wCOiOe4mdFBCwgPDmpJqp5ZBzWkZpUbK0xK0a\n", contentType: "text/plain"},
		"PATCH /users/{name}":                     {path: "/users/alice", body: `{"disabled":true}`},
		"DELETE /users/{name}":                    {path: "/users/alice"},
		"PATCH /robots/{name}":                    {path: "/robots/ci", body: `{"disabled":true}`},
		"DELETE /robots/{name}":                   {path: "/robots/ci"},
		"DELETE /groups/{group}/members/{member}": {path: "/groups/testers/members/robot:ci"},
		"PATCH /keys/{id}":                        {path: "/keys/" + k.ID, body: `{"actions":["pull"]}`},
		"POST /keys/{id}/rotate":                  {path: "/keys/" + k.ID + "/rotate", body: `{"overlap":3600}`},
		"DELETE /keys/{id}":                       {path: "/keys/" + k.ID},
		"DELETE /sessions":                        {path: "/sessions?owner=user:alice"},
		"DELETE /sessions/{id}":                   {path: "/sessions/" + sessions.Items[0].ID},
		"PUT /policy":                             {path: "/policy", body: policy + "# changed\n", contentType: "application/yaml", ifMatch: `"2"`},
		"DELETE /signing-keys/{id}":               {path: "/signing-keys/" + keys[len(keys)-1].ID},
		"POST /gc":                                {path: "/gc", body: `{}`},
	}
	var out []req
	for _, rt := range admin.Routes() {
		if rt.Quiet {
			continue
		}
		q, ok := own[rt.Method+" "+rt.Pattern]
		if s := samples[rt.Method+" "+rt.Pattern]; !ok {
			if q = s.req; s.admin >= 300 {
				f.t.Errorf("%s %s has no request here that is done", rt.Method, rt.Pattern)
			}
		}
		q.method = rt.Method
		out = append(out, q)
	}
	return out
}

// TestUnrecorded: L-04 and L-08, what cannot be recorded is not done, whatever
// route it is asked of.
func TestUnrecorded(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		f := newFixture(t, metadatatest.Open(t, url, metadata.Options{}))
		requests := f.changing()
		root := f.as("admin")
		state := func() []string {
			out := f.state()
			for _, path := range []string{"/signing-keys", "/sessions?owner=user:alice"} {
				out = append(out, f.want(root, 200, req{method: "GET", path: path}).Body.String())
			}
			return out
		}
		before := state()
		f.ok(f.ledger.Flush(t.Context()))
		metadatatest.Exec(t, url, `ALTER TABLE audit_event RENAME TO audit_gone`)
		for _, q := range requests {
			if w := f.doUnchecked(root, q); w.Code < 500 {
				t.Errorf("L-04 %s: %d %s", q, w.Code, w.Body)
			}
		}
		if strings.Contains(f.logged(), "api changed something") {
			t.Error("L-08: the log says that something was changed")
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_gone RENAME TO audit_event`)
		if after := state(); strings.Join(after, "") != strings.Join(before, "") {
			t.Errorf("L-04: state was\n%s\nand is\n%s", before, after)
		}
	})
}

// TestAuditFilters: a filter that no event can match is a mistake, and said to be one.
func TestAuditFilters(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	for query, want := range map[string]string{
		"what=logn": "signing-key", "what=Login": "login", "who=alice": "user:NAME", "who=group:dev": "user:NAME",
		"where=team-*": "/**", "where=**": "/**", "where=a/*/b": "/**",
	} {
		if p := f.refused(b, 400, req{method: "GET", path: "/audit?" + query}); !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %s", query, p.Detail)
		}
	}
	for _, query := range []string{"what=signing-key", "who=system", "who=anonymous", "who=" + url.QueryEscape("external:a (https://i.test)"), "where=team-a", "where=team-a/**"} {
		f.want(b, 200, req{method: "GET", path: "/audit?" + query})
	}
}
