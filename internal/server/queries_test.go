package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/server"
)

// TestSteadyRequestsAskNothing: authentication and policy cost a request no
// query, however its token was proven, on either database; what a pull costs is
// its manifest, and that only on PostgreSQL.
func TestSteadyRequestsAskNothing(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, database string) {
		c := settings(t)
		c.Audit.Pulls = false // events of pulls are written in batches of their own
		var err error
		if c.Database, err = config.NewDatabaseURL(database); err != nil {
			t.Fatal(err)
		}
		r := start(t, c, server.Options{})
		password := shownPassword.FindStringSubmatch(r.out.String())[1]
		const scope = "repository:team/app:pull,push registry:api:*"
		api := "Bearer " + r.token(t, url.Values{"grant_type": {"password"}, "username": {"admin"}, "password": {password}, "scope": {scope}}, "access_token")
		const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
		r.send(t, "PUT", "/v2/team/app/manifests/v1", api, "application/vnd.oci.image.index.v1+json", index)
		var key struct{ Secret string }
		if err := json.Unmarshal([]byte(r.send(t, "POST", "/api/v1/keys", api, "application/json", `{"name":"x"}`)), &key); err != nil {
			t.Fatal(err)
		}
		identity := r.token(t, url.Values{"grant_type": {"password"}, "username": {"admin"}, "password": {password}, "access_type": {"offline"}}, "refresh_token")
		for name, form := range map[string]url.Values{
			"password": {"grant_type": {"password"}, "username": {"admin"}, "password": {password}},
			"key":      {"grant_type": {"password"}, "username": {"admin"}, "password": {key.Secret}},
			"identity": {"grant_type": {"refresh_token"}, "refresh_token": {identity}},
		} {
			form.Set("scope", scope)
			bearer := "Bearer " + r.token(t, form, "access_token")
			for path, data := range map[string]int64{"/v2/": 0, "/v2/team/app/manifests/v1": 1} {
				if strings.HasPrefix(database, "sqlite") {
					data = 0
				}
				r.send(t, "GET", path, bearer, "", "")
				const n = 200
				before := r.Queries()
				for range n {
					r.send(t, "GET", path, bearer, "", "")
				}
				// What is written in batches, beside the requests, may fall in between.
				if asked := r.Queries() - before; asked < n*data || asked > n*data+n/4 {
					t.Errorf("%s by %s: %d queries for %d requests, want %d each", path, name, asked, n, data)
				}
			}
		}
	})
}

// token asks the token endpoint for one member of its answer.
func (r *running) token(t *testing.T, form url.Values, member string) string {
	t.Helper()
	form.Set("client_id", "test")
	form.Set("service", r.Address())
	body := r.send(t, "POST", "/token", "", "application/x-www-form-urlencoded", form.Encode())
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(answer[member])
}

// send sends a request that succeeds and returns the body of its answer.
func (r *running) send(t *testing.T, method, path, authorization, contentType, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, text := r.do(t, req)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
	return text
}
