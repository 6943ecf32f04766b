package distribution_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// A recorded door is one with a ledger.
type recorded struct {
	*testing.T
	db       *metadata.DB
	url      string
	recorder *ledger.Recorder
	door     http.Handler
	registry registry.Registry
}

func newRecorded(t *testing.T, url string, o distribution.Options) *recorded {
	t.Helper()
	pol, err := access.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := file.New(t.TempDir(), file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{T: t, url: url, db: metadatatest.Open(t, url, metadata.Options{})}
	r.recorder = ledger.NewRecorder(r.db.Ledger(), ledger.RecorderOptions{})
	t.Cleanup(func() { r.recorder.Close() })
	o.Ledger = r.recorder
	r.registry = registry.New(r.db.Catalog(), blobs, registry.Options{})
	r.door = distribution.New(r.registry, gate{pol}, o)
	return r
}

// ask sends a request and returns the status of the answer.
func (r *recorded) ask(method, target, bearer, body string) int {
	q := httptest.NewRequest(method, target, strings.NewReader(body))
	if bearer != "" {
		q.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	}
	q.Header.Set("User-Agent", "agent\r\n{\"seq\":1}\x1b[31m")
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", requestID)
	r.door.ServeHTTP(w, q)
	io.Copy(io.Discard, w.Body)
	return w.Code
}

// events returns what was recorded after the event with the number after.
func (r *recorded) events(after int64) []ledger.Sealed {
	r.Helper()
	if err := r.recorder.Flush(r.Context()); err != nil {
		r.Fatal(err)
	}
	var out []ledger.Sealed
	q := ledger.Query{After: ledger.Seq{N: after, Given: true}, Limit: 1000}
	for {
		page, err := r.db.Ledger().Read(r.Context(), q)
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, page.Events...)
		if !page.Next.Given {
			return out
		}
		q.After = page.Next
	}
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// TestRecord: L-03, exactly one event for each pull, push, delete and refusal,
// and none for a challenge or for what tells nothing.
func TestRecord(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		r := newRecorded(t, url, distribution.Options{})
		digest := string(oci.FromBytes([]byte(emptyIndex)))
		all := token("alice", "repository:team-a/app:pull,push,delete")
		for _, c := range []struct {
			name, method, target, bearer, body string
			status                             int
			kind                               ledger.Kind // "" for no event
			decision                           ledger.Decision
		}{
			{"push", "PUT", "/v2/team-a/app/manifests/v1", all, emptyIndex, 201, ledger.Push, ledger.Allowed},
			{"pull by tag", "GET", "/v2/team-a/app/manifests/v1", all, "", 200, ledger.Pull, ledger.Allowed},
			{"pull by digest", "GET", "/v2/team-a/app/manifests/" + digest, all, "", 200, ledger.Pull, ledger.Allowed},
			{"head", "HEAD", "/v2/team-a/app/manifests/v1", all, "", 200, "", ""},
			{"ping", "GET", "/v2/", all, "", 200, "", ""},
			{"list", "GET", "/v2/team-a/app/tags/list", all, "", 200, "", ""},
			{"missing", "GET", "/v2/team-a/app/manifests/none", all, "", 404, "", ""},
			{"challenge", "GET", "/v2/team-a/app/manifests/v1", "", "", 401, "", ""},
			{"the token lacks it", "GET", "/v2/team-a/app/manifests/v1", token("alice"), "", 401, "", ""},
			{"invalid token", "GET", "/v2/team-a/app/manifests/v1", "garbage", "", 401, ledger.Token, ledger.Denied},
			{"no right to pull", "GET", "/v2/team-b/secret/manifests/v1", token("mallory"), "", 403, ledger.Pull, ledger.Denied},
			{"no right to push", "PUT", "/v2/team-b/secret/manifests/v1", token("mallory"), emptyIndex, 403, ledger.Push, ledger.Denied},
			{"no right to upload", "POST", "/v2/team-b/secret/blobs/uploads/", token("mallory"), "", 403, ledger.Push, ledger.Denied},
			{"no right to delete", "DELETE", "/v2/team-b/secret/manifests/v1", token("mallory"), "", 403, ledger.Delete, ledger.Denied},
			{"no right to list", "GET", "/v2/team-b/secret/tags/list", token("mallory"), "", 403, ledger.List, ledger.Denied},
			{"a push that fails", "PUT", "/v2/team-a/app/manifests/v2", all, "{}", 400, ledger.Push, ledger.Failed},
			{"a delete that fails", "DELETE", "/v2/team-a/app/manifests/none", all, "", 404, ledger.Delete, ledger.Failed},
			{"delete a tag", "DELETE", "/v2/team-a/app/manifests/v1", all, "", 202, ledger.Delete, ledger.Allowed},
			{"delete a manifest", "DELETE", "/v2/team-a/app/manifests/" + digest, all, "", 202, ledger.Delete, ledger.Allowed},
		} {
			t.Run("L-03 "+c.name, func(t *testing.T) {
				before := int64(len(r.events(0)))
				if status := r.ask(c.method, c.target, c.bearer, c.body); status != c.status {
					t.Fatalf("status %d, want %d", status, c.status)
				}
				got := r.events(before)
				if c.kind == "" {
					if len(got) != 0 {
						t.Errorf("recorded %s", got[0].Line())
					}
					return
				}
				if len(got) != 1 || got[0].Kind != c.kind || got[0].Decision != c.decision || got[0].RequestID != requestID || got[0].Repository == "" {
					t.Fatalf("%d events: %+v", len(got), got)
				}
				// L-02: what a client sends forges no line.
				if line := string(got[0].Line()); strings.ContainsAny(line, "\r\n\x1b") || strings.Count(line, `{"seq":`) != 1 {
					t.Errorf("L-02: %q", line)
				}
			})
		}
	})
}

// TestUnrecordedPush: L-04 and L-08, a push or a delete that cannot be recorded
// is not done and not reported as done.
func TestUnrecordedPush(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		r := newRecorded(t, url, distribution.Options{})
		all := token("alice", "repository:team-a/app:pull,push,delete")
		if status := r.ask("PUT", "/v2/team-a/app/manifests/v1", all, emptyIndex); status != 201 {
			t.Fatal(status)
		}
		digest := string(oci.FromBytes([]byte(emptyIndex)))
		other := strings.Replace(emptyIndex, "{", "{ ", 1)
		metadatatest.Exec(t, url, `ALTER TABLE audit_event RENAME TO audit_gone`)
		for _, q := range []struct{ what, method, target, body string }{
			{"create a tag", "PUT", "v2", emptyIndex},
			{"move a tag", "PUT", "v1", other},
			{"push by digest", "PUT", string(oci.FromBytes([]byte(other))), other},
			{"push by digest with tags", "PUT", digest + "?tag=v1&tag=v2", emptyIndex},
			{"delete a tag", "DELETE", "v1", ""},
			{"delete a manifest", "DELETE", digest, ""},
		} {
			if status := r.ask(q.method, "/v2/team-a/app/manifests/"+q.target, all, q.body); status < 500 {
				t.Errorf("L-04 %s: %d", q.what, status)
			}
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_gone RENAME TO audit_event`)
		for ref, want := range map[string]int{"v1": 200, digest: 200, "v2": 404, string(oci.FromBytes([]byte(other))): 404} {
			if status := r.ask("HEAD", "/v2/team-a/app/manifests/"+ref, all, ""); status != want {
				t.Errorf("L-04 %s: %d afterwards, want %d", ref, status, want)
			}
		}
		if m, err := r.registry.Manifest(t.Context(), "team-a/app", oci.ByTag("v1")); err != nil || string(m.Digest) != digest {
			t.Errorf("L-04: the tag is at %s (%v)", m.Digest, err)
		}
	})
}

// TestPullCount: 100,000 requests leave exactly 100,000 events.
func TestPullCount(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const clients, each = 8, 12_500
	r := newRecorded(t, metadatatest.SQLite(t), distribution.Options{})
	all := token("alice", "repository:team-a/app:pull,push,delete")
	if status := r.ask("PUT", "/v2/team-a/app/manifests/v1", all, emptyIndex); status != 201 {
		t.Fatal(status)
	}
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range each {
				if status := r.ask("GET", "/v2/team-a/app/manifests/v1", all, ""); status != 200 {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	group.Wait()
	chain, pulls := ledger.From(ledger.Link{}), 0
	for _, s := range r.events(0) {
		if err := chain.Add(s); err != nil {
			t.Fatal(err)
		}
		if s.Kind == ledger.Pull {
			pulls++
		}
	}
	if pulls != clients*each {
		t.Errorf("%d events of %d pulls", pulls, clients*each)
	}
}

func TestOmitPulls(t *testing.T) {
	r := newRecorded(t, metadatatest.SQLite(t), distribution.Options{OmitPulls: true})
	all := token("alice", "repository:team-a/app:pull,push,delete")
	r.ask("PUT", "/v2/team-a/app/manifests/v1", all, emptyIndex)
	r.ask("GET", "/v2/team-a/app/manifests/v1", all, "")
	if got := r.events(0); len(got) != 1 || got[0].Kind != ledger.Push {
		t.Errorf("recorded %+v", got)
	}
}
