package distribution_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/oci"
)

func decodeIndex(t *testing.T, body io.ReadCloser) []oci.Descriptor {
	t.Helper()
	defer body.Close()
	var index struct{ Manifests []oci.Descriptor }
	if err := json.NewDecoder(body).Decode(&index); err != nil {
		t.Fatal(err)
	}
	return index.Manifests
}

// everyRequest is a request of each kind on a repository.
func everyRequest(repo, digest, upload string) [][2]string {
	base := "/v2/" + repo
	return [][2]string{
		{"GET", base + "/manifests/v1"}, {"HEAD", base + "/manifests/v1"}, {"GET", base + "/manifests/v9"},
		{"GET", base + "/manifests/" + digest}, {"HEAD", base + "/manifests/" + digest},
		{"PUT", base + "/manifests/v1"}, {"PUT", base + "/manifests/" + digest + "?tag=v1"},
		{"DELETE", base + "/manifests/v1"}, {"DELETE", base + "/manifests/" + digest},
		{"GET", base + "/blobs/" + digest}, {"HEAD", base + "/blobs/" + digest}, {"DELETE", base + "/blobs/" + digest},
		{"GET", base + "/tags/list"}, {"HEAD", base + "/tags/list"}, {"GET", base + "/tags/list?n=1&last=a"},
		{"GET", base + "/referrers/" + digest}, {"GET", base + "/referrers/" + digest + "?artifactType=x"},
		{"POST", base + "/blobs/uploads/"}, {"POST", base + "/blobs/uploads/?digest=" + digest},
		{"POST", base + "/blobs/uploads/?mount=" + digest}, {"POST", base + "/blobs/uploads/?from=team-b/base&mount=" + digest},
		{"GET", base + "/blobs/uploads/" + upload}, {"PATCH", base + "/blobs/uploads/" + upload},
		{"PUT", base + "/blobs/uploads/" + upload + "?digest=" + digest}, {"DELETE", base + "/blobs/uploads/" + upload},
	}
}

// S-17: to one without the right, a repository that is there and one that is
// not give the same answers, byte for byte.
func TestS17NoDifference(t *testing.T) {
	h := newHouse(t)
	bob := token("bob", "repository:team-b/secret:pull,push")
	digest := string(oci.FromBytes([]byte(emptied)))
	lines := []string{"Content-Type: " + oci.MediaTypeImageIndex}
	h.expect("manifest", h.do("PUT", "/v2/team-b/secret/manifests/v1", bob, lines, emptied), 201, "")
	h.expect("blob", h.do("POST", "/v2/team-b/secret/blobs/uploads/?digest="+digest, bob, nil, emptied), 201, "")
	upload := h.do("POST", "/v2/team-b/secret/blobs/uploads/", bob, nil, "").Header.Get("Docker-Upload-UUID")

	both := "repository:team-b/secret:pull,push,delete repository:team-b/sealed:pull,push,delete repository:team-b/base:pull"
	for name, bearer := range map[string]string{
		"anonymous": "", "anonymous token": token("", both), "mallory": token("mallory", both), "alice": token("alice", both),
		"mallory, expired": token("mallory!", both), "forged": "forged", "mallory, no scopes": token("mallory"),
	} {
		there, absent := everyRequest("team-b/secret", digest, upload), everyRequest("team-b/sealed", digest, upload)
		for i := range there {
			for _, more := range [][]string{lines, append([]string{"Range: bytes=0-0", `If-None-Match: "` + digest + `"`}, lines...)} {
				a := h.do(there[i][0], there[i][1], bearer, more, "")
				b := h.do(absent[i][0], absent[i][1], bearer, more, "")
				if a.StatusCode != 401 && a.StatusCode != 403 {
					t.Errorf("%s: %v gives %d", name, there[i], a.StatusCode)
				}
				if diff := cmp.Diff(dump(a), strings.ReplaceAll(dump(b), "team-b/sealed", "team-b/secret")); diff != "" {
					t.Errorf("%s: %v: (-there +absent):\n%s", name, there[i], diff)
				}
			}
		}
	}
}

// dump writes an answer with everything but its date.
func dump(a answer) string {
	header := maps.Clone(a.Header)
	delete(header, "Date")
	return fmt.Sprintf("%s\n%v\n%s", a.Status, header, a.body)
}

// S-12: a mount of what one may not pull gives what a mount of nothing gives.
func TestS12MountOfAnothersBlob(t *testing.T) {
	h := newHouse(t)
	secret, random := oci.FromBytes([]byte("secret")), oci.FromBytes([]byte("random"))
	h.expect("blob", h.do("POST", "/v2/team-b/secret/blobs/uploads/?digest="+string(secret), token("bob", "repository:team-b/secret:pull,push"), nil, "secret"), 201, "")
	for _, from := range []string{"", "&from=team-b/secret", "&from=team-b/sealed", "&from=team-a/app", "&from=team-a/none"} {
		var dumps []string
		for _, d := range []oci.Digest{secret, random} {
			got := h.do("POST", "/v2/team-a/app/blobs/uploads/?mount="+string(d)+from, token("alice", pushApp+" repository:team-b/secret:pull repository:team-a/none:pull"), nil, "")
			h.expect("mount"+from, got, 202, "")
			dumps = append(dumps, strings.ReplaceAll(dump(got), got.Header.Get("Docker-Upload-UUID"), "ID"))
		}
		if diff := cmp.Diff(dumps[0], dumps[1]); diff != "" {
			t.Errorf("mount%s (-secret +random):\n%s", from, diff)
		}
	}
	h.expect("look", h.do("GET", "/v2/team-a/app/blobs/"+string(secret), token("alice", pushApp), nil, ""), 404, oci.BlobUnknown)
}

// HEAD answers as GET does, without the body.
func TestR29HeadIsGet(t *testing.T) {
	h := newHouse(t)
	alice := token("alice", pushApp, "registry:catalog:*")
	digest := string(oci.FromBytes([]byte(emptied)))
	h.expect("manifest", h.do("PUT", "/v2/team-a/app/manifests/v1", alice, []string{"Content-Type: " + oci.MediaTypeImageIndex}, emptied), 201, "")
	h.expect("blob", h.do("POST", "/v2/team-a/app/blobs/uploads/?digest="+digest, alice, nil, emptied), 201, "")
	targets := []string{"/v2/", "/v2/_catalog", "/v2/_catalog?n=0", "/v2/_catalog?n=x", "/v2/nothing", "/v2/team-a/App/tags/list", h.start()}
	for _, repo := range []string{"team-a/app", "team-a/none", "team-b/secret", "public/base"} {
		for _, request := range everyRequest(repo, digest, "0") {
			if request[0] == "GET" {
				targets = append(targets, request[1])
			}
		}
	}
	for _, target := range targets {
		for _, bearer := range []string{alice, "", token("alice!", pushApp), "forged"} {
			for _, match := range []string{"x", digest} {
				lines := []string{"If-None-Match: \"" + match + `"`}
				get, head := h.do("GET", target, bearer, lines, ""), h.do("HEAD", target, bearer, lines, "")
				if head.body != "" {
					t.Errorf("HEAD %s has a body", target)
				}
				head.body = get.body
				if diff := cmp.Diff(dump(get), dump(head)); diff != "" {
					t.Errorf("%s (-GET +HEAD):\n%s", target, diff)
				}
			}
		}
	}
}

// D-16: "_" in a name is a letter, not a wildcard.
func TestD16Wildcards(t *testing.T) {
	h := newHouse(t)
	root := func(repo string) string { return token("root", "repository:"+repo+":pull,push,delete") }
	digest := string(oci.FromBytes([]byte(emptied)))
	for _, repo := range []string{"team_a", "teamxa"} {
		h.expect(repo, h.do("PUT", "/v2/"+repo+"/manifests/v_1", root(repo), []string{"Content-Type: " + oci.MediaTypeImageIndex}, emptied), 201, "")
	}
	h.expect("tag", h.do("GET", "/v2/team_a/manifests/vx1", root("team_a"), nil, ""), 404, oci.ManifestUnknown)
	h.expect("delete", h.do("DELETE", "/v2/team_a/manifests/"+digest, root("team_a"), nil, ""), 202, "")
	h.expect("the other", h.do("GET", "/v2/teamxa/manifests/v_1", root("teamxa"), nil, ""), 200, "")
}

// FuzzDoor: whatever comes, a stranger is asked for a token and one without
// rights gets nowhere near team-b, and neither makes us fail (S-07, T-33, H-06).
func FuzzDoor(f *testing.F) {
	g, r := newRooms(f)
	door := distribution.New(r, g, distribution.Options{})
	for _, target := range []string{"/v2/", "/v2", "/v2/_catalog", "/v2/team-b/../team-a/app/manifests/v1", "/v2/x/%2e%2e/y", "/v3"} {
		f.Add("GET", target, "", "bytes=0-0", "")
	}
	for _, request := range everyRequest("team-b/secret", string(oci.FromBytes(nil)), "0") {
		f.Add(request[0], request[1], "Bearer x", "0-5", "hello")
	}
	f.Fuzz(func(t *testing.T, method, target, authorization, ranges, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http answers these
		}
		answer := func(authorization string) int {
			r := &http.Request{
				Method: method, URL: u, ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
				Header: http.Header{"Range": {ranges}, "Content-Range": {ranges}, "If-None-Match": {ranges}, "Content-Type": {ranges}},
			}
			if authorization != "" {
				r.Header["Authorization"] = []string{authorization}
			}
			w := httptest.NewRecorder()
			door.ServeHTTP(w, r.WithContext(t.Context()))
			if w.Code >= 400 && method != "HEAD" && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%q %q: body %q", method, target, w.Body)
			}
			return w.Code
		}
		for _, stranger := range []string{"", authorization} {
			if code := answer(stranger); code != 401 && code != 405 {
				t.Fatalf("%q %q of a stranger gives %d", method, target, code)
			}
		}
		code := answer("Bearer " + token("mallory", "repository:team-b/secret:pull,push,delete"))
		switch known := u.Path == "/v2" || u.Path == "/v2/"; {
		case code >= 500, code < 400 && !known:
			t.Fatalf("%q %q of mallory gives %d", method, target, code)
		}
	})
}
