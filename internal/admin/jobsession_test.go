package admin_test

import (
	"context"
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// vouching is a trusted issuer: whoever its tokens name is proven.
type vouching struct{ f *fixture }

const idp = "https://idp.test"

func (v vouching) Authenticate(_ context.Context, c access.Credential) (access.Identity, error) {
	payload := c.(access.IDToken).Secret.Reveal()[len("eyJ."):]
	name, err := base64.RawURLEncoding.DecodeString(payload[:len(payload)-len(".x")])
	return access.Identity{
		Principal: access.ExternalPrincipal(idp, string(name), nil), Expires: v.f.clock().Add(5 * time.Minute), SessionLife: time.Hour,
		Proof: access.Proof{Method: access.MethodIDToken, Trust: "ci@1"},
	}, err
}

func (v vouching) Resolve(_ context.Context, id access.ID, proof access.Proof) (access.Identity, error) {
	return access.Identity{Principal: access.ExternalPrincipal(id.Issuer, id.Name, nil), Proof: proof}, nil
}

// A job's sessions are its own and those of who manages the whole registry: a name
// that an issuer gives is in nobody's part of the tree, whatever it looks like.
func TestSessionsOfJobs(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root := f.as("admin")
		f.want(root, 200, req{method: "PUT", path: "/policy", body: delegated, contentType: "application/yaml", ifMatch: `"2"`})
		alice := f.as("alice")
		job := func(name string) bearer {
			return f.login("any", "eyJ."+base64.RawURLEncoding.EncodeToString([]byte(name))+".x", apiScope)
		}
		const name = "team-a/job"
		owner := access.ExternalPrincipal(idp, name, nil).String()
		inQuery := "owner=" + url.QueryEscape(owner)
		mine, other := job(name), job("team-a/other")
		id := func(b bearer) string {
			return read[client.Whoami](f, b, 200, req{method: "GET", path: "/whoami"}).SessionID
		}
		list := func(b bearer, query string) map[string]string {
			owners := map[string]string{}
			for _, s := range read[client.Page[client.Session]](f, b, 200, req{method: "GET", path: "/sessions?n=100&" + query}).Items {
				owners[s.ID] = s.Owner
			}
			return owners
		}
		myID, otherID := id(mine), id(other)
		if got := list(mine, ""); len(got) != 1 || got[myID] != owner {
			t.Errorf("a job sees %v", got)
		}
		if got := list(root, "owner=all"); got[myID] != owner || got[otherID] == "" {
			t.Errorf("an administrator sees %v", got)
		}
		if got := list(root, inQuery); len(got) != 1 || got[myID] != owner {
			t.Errorf("an administrator sees of %s %v", owner, got)
		}
		for session, owner := range list(alice, "owner=all") {
			if session == myID || session == otherID {
				t.Errorf("who manages team-a sees the session of %s", owner)
			}
		}
		for _, c := range []struct {
			who    string
			by     bearer
			q      req
			status int
		}{
			{"who manages a part lists a job's", alice, req{method: "GET", path: "/sessions?" + inQuery}, 403},
			{"who manages a part ends one", alice, req{method: "DELETE", path: "/sessions/" + myID}, 404},
			{"who manages a part ends all", alice, req{method: "DELETE", path: "/sessions?" + inQuery}, 403},
			{"a job lists everybody's", mine, req{method: "GET", path: "/sessions?owner=all"}, 403},
			{"a job ends another's", mine, req{method: "DELETE", path: "/sessions/" + otherID}, 404},
			{"a job makes a key", mine, req{method: "POST", path: "/keys", body: `{"name":"x"}`}, 404},
			{"a job lists its keys", mine, req{method: "GET", path: "/keys"}, 200},
			{"a job logs out", mine, req{method: "DELETE", path: "/sessions/" + myID}, 204},
			{"a job that has logged out", mine, req{method: "GET", path: "/whoami"}, 401},
			{"another job", other, req{method: "GET", path: "/whoami"}, 200},
			{"an administrator ends a job's", root, req{method: "DELETE", path: "/sessions/" + otherID}, 204},
			{"another job, ended", other, req{method: "GET", path: "/whoami"}, 401},
		} {
			if w := f.do(c.by, c.q); w.Code != c.status {
				t.Errorf("%s: %s: %d %s, want %d", c.who, c.q, w.Code, w.Body, c.status)
			}
		}
		for what, by := range map[string]func() (bearer, string){
			"an administrator": func() (bearer, string) { return root, "?" + inQuery },
			"the job":          func() (bearer, string) { return job(name), "" },
		} {
			first := job(name)
			b, query := by()
			if got := read[client.EndedSessions](f, b, 200, req{method: "DELETE", path: "/sessions" + query}); got.Ended == 0 {
				t.Errorf("%s ends %d sessions", what, got.Ended)
			}
			f.want(first, 401, req{method: "GET", path: "/whoami"})
		}
	})
}
