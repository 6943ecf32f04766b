package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/oci"
)

// A meanwhile is a body during which something happens.
type meanwhile struct {
	body   io.Reader
	happen func()
}

func (m *meanwhile) Read(p []byte) (int, error) {
	n, err := m.body.Read(p)
	if err == io.EOF && m.happen != nil {
		m.happen()
		m.happen = nil
	}
	return n, err
}

// during sends q, and lets something happen while its body is on the way.
func (f *fixture) during(b bearer, q req, happen func()) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), q.method, client.APIPath+q.path, &meanwhile{strings.NewReader(q.body), happen})
	r.Header.Set("Authorization", "Bearer "+b.access)
	r.Header.Set("Content-Type", "application/json")
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.ifMatch != "" {
		r.Header.Set("If-Match", q.ifMatch)
	}
	return f.send(r)
}

// TestRightLostMidway: what is taken away while a body is sent is gone when the
// body is in, at every route that takes one.
func TestRightLostMidway(t *testing.T) {
	const membership = "/groups/admins/members/user:alice"
	for _, m := range []struct {
		name   string
		happen func(f *fixture, root bearer)
		admin  int // what an administrator gets who was one
	}{
		{"S-22 the admin right is lost", func(f *fixture, root bearer) {
			f.want(root, 204, req{method: "DELETE", path: membership})
		}, 403},
		{"I-19 the account is disabled", func(f *fixture, root bearer) {
			f.want(root, 200, req{method: "PATCH", path: "/users/alice", body: `{"disabled":true}`})
		}, 401},
		{"I-16 the account is removed", func(f *fixture, root bearer) {
			f.want(root, 204, req{method: "DELETE", path: "/users/alice"})
		}, 401},
	} {
		t.Run(m.name, func(t *testing.T) {
			tested := 0
			for _, rt := range admin.Routes() {
				s := samples[rt.Method+" "+rt.Pattern]
				if s.method = rt.Method; s.body == "" || rt.Open { // there is no right to lose
					continue
				}
				// What is for others here too: administrators alone may do it.
				s.body = strings.Replace(s.body, "{}", `{"owner":"robot:ci"}`, 1)
				s.path = strings.Replace(s.path, "alice", "mallory", 1)
				f := onSQLite(t)
				root := f.as("admin")
				f.want(root, 204, req{method: "PUT", path: membership})
				alice := f.as("alice")
				var before []string
				w := f.during(alice, s.req, func() {
					m.happen(f, root)
					before = f.state()
				})
				want := m.admin
				if want == 403 && strings.HasPrefix(s.path, "/keys/") {
					want = 404 // another's key is one that does not exist
				}
				if w.Code != want {
					t.Errorf("%s: %d %s, want %d", s.req, w.Code, w.Body, want)
				}
				if after := f.state(); !slices.Equal(before, after) {
					t.Errorf("%s: state was\n%s\nand is\n%s", s.req, before, after)
				}
				f.as("mallory") // has her password
				tested++
			}
			if tested < 9 {
				t.Errorf("%d routes tested", tested)
			}
		})
	}
}

// TestNameReusedMidway: who gets a name gets nothing of who had it, and nobody
// gets what belongs to who has it now (I-16).
func TestNameReusedMidway(t *testing.T) {
	f := onSQLite(t)
	mallory := f.as("mallory")
	gate := &afterwards{Gate: f.tokens}
	api := admin.New(admin.Deps{Accounts: f.accounts, Tokens: f.tokens, Gate: gate}, admin.Options{})
	f.api = api
	name := account.Name{Kind: access.User, Name: "mallory"}
	gate.happen = func(asked int) {
		if asked == 2 { // the body is in, and what it asks for is allowed
			f.ok(f.accounts.Remove(t.Context(), name))
			_, err := f.accounts.AddUser(t.Context(), "mallory", secret("somebody else"))
			f.ok(err)
		}
	}
	f.refused(mallory, 401, req{method: "POST", path: "/keys", body: `{}`})
	if gate.asked != 2 {
		t.Fatalf("the gate was asked %d times", gate.asked)
	}
	a, err := f.accounts.Find(t.Context(), name)
	f.ok(err)
	keys, err := f.accounts.ListKeys(t.Context(), a.UID)
	f.ok(err)
	for _, k := range keys {
		if k.Revoked.IsZero() {
			t.Errorf("the other got %+v", k)
		}
	}
}

// afterwards is a gate with something that happens after its answers.
type afterwards struct {
	admin.Gate
	asked  int
	happen func(asked int)
}

func (g *afterwards) Authorize(ctx context.Context, bearer string) (access.Authority, error) {
	au, err := g.Gate.Authorize(ctx, bearer)
	g.asked++
	g.happen(g.asked)
	return au, err
}

// TestTokenEndsMidway: a request outlives the token that it came with.
func TestTokenEndsMidway(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	w := f.during(root, req{method: "POST", path: "/robots", body: `{"name":"late"}`}, func() { f.pass(10 * time.Minute) })
	if w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.refused(root, 401, req{method: "GET", path: "/whoami"})
}

// TestNotNow: what passes says so, and what cures it.
func TestNotNow(t *testing.T) {
	f := onSQLite(t)
	for _, c := range []struct {
		code         oci.Code
		status       int
		kind, detail string
		retry        string
	}{
		{oci.StorageFull, 507, "storage-full", "free some", ""},
		{oci.Unavailable, 503, "unavailable", "try again", "5"},
	} {
		api := admin.New(admin.Deps{Gate: failing{fmt.Errorf("read generation: %w", c.code)}}, admin.Options{Logger: slog.New(slog.NewTextHandler(f, nil))})
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", client.APIPath+"/whoami", nil))
		var p client.Problem
		f.ok(json.Unmarshal(w.Body.Bytes(), &p))
		if w.Code != c.status || p.Status != c.status || p.Type != "urn:sallyport:problem:"+c.kind || !strings.Contains(p.Detail, c.detail) || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%s: %d %v %+v", c.code, w.Code, w.Header(), p)
		}
		if !strings.Contains(f.logged(), string(c.code)) {
			t.Errorf("%s was not logged", c.code)
		}
	}
}

// failing is a gate that cannot decide.
type failing struct{ error }

func (g failing) Authorize(context.Context, string) (access.Authority, error) {
	return access.Authority{}, g.error
}
