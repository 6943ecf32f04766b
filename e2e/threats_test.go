package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const indexType = "application/vnd.oci.image.index.v1+json"

// S-30: public and private again: the next anonymous request is refused, also
// one that already knows the content.
func TestPublicToPrivate(t *testing.T) {
	s := newServer(t, serverOptions{})
	s.Login()
	admin := &pusher{Base: s.Base(), Client: s.HTTP(), User: "admin", Password: adminPassword}
	must(t, admin.push("public/app", "v1", []byte(`{}`), []byte("layer")))
	digest := admin.acked["public/app:v1"][0].Digest
	anonymous := &pusher{Base: s.Base(), Client: s.HTTP()}
	look := func(header http.Header) int {
		status, _, _, err := anonymous.do("GET", "public/app", "/v2/public/app/manifests/"+digest, header, nil)
		must(t, err)
		return status
	}
	s.Policy("  - who: [anyone]\n    what: [\"public/**\"]\n    may: [pull]\n")
	if got := look(nil); got != http.StatusOK {
		t.Fatalf("public: status %d", got)
	}
	s.Policy("")
	for _, header := range []http.Header{nil, {"If-None-Match": {`"` + digest + `"`}}} {
		if got := look(header); got != http.StatusUnauthorized {
			t.Errorf("private again, %v: status %d", header, got)
		}
	}
	// Every client logs in where it has credentials, since a ping needs a token.
	resp, err := s.HTTP().Get(s.URL("/v2/"))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || len(resp.Header.Values("WWW-Authenticate")) != 1 {
		t.Errorf("ping without a token: %s %q", resp.Status, resp.Header.Values("WWW-Authenticate"))
	}
}

// S-41, X-06: nothing but the doors is on the registry's port, and nothing there
// answers a stranger.
func TestNothingElseOnThePort(t *testing.T) {
	s := newServer(t, serverOptions{})
	for path, want := range map[string]int{
		"/metrics": 404, "/debug/pprof/": 404, "/debug/vars": 404, "/healthz": 404, "/readyz": 404, "/config": 404, "/openapi": 404, "/": 404,
		"/v2/_catalog": 401, "/v2/team/app/tags/list": 401, "/api/v1/users": 401, "/api/v1/policy": 401,
	} {
		resp, err := s.HTTP().Get(s.URL(path))
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
}

// a fresh installation has no credential that anybody could know: two
// have nothing in common, and what scanners try is refused.
func TestNoDefaultCredential(t *testing.T) {
	banners := map[string]bool{}
	for range 2 {
		dir := t.TempDir()
		s := prepareServer(t, serverOptions{Dir: dir, Plain: true})
		config, err := os.ReadFile(filepath.Join(dir, "sallyport.yaml"))
		must(t, err)
		lines := strings.Split(string(config), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "admin_password_file") {
				lines[i] = ""
			}
		}
		must(t, os.WriteFile(filepath.Join(dir, "sallyport.yaml"), []byte(strings.Join(lines, "\n")), 0o600))
		s.Start()
		for line := range strings.Lines(s.Log()) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "password"); ok {
				banners[strings.Fields(rest)[0]] = true
			}
		}
		var guesses sync.WaitGroup // a failure takes a second, so all at once
		for _, user := range []string{"admin", "root", "sallyport"} {
			for _, password := range []string{"", "admin", "password", "changeme", "sallyport", "Harbor12345"} {
				guesses.Go(func() {
					p := &pusher{Base: s.Base(), Client: newPlainClient(), User: user, Password: password}
					if _, err := p.bearer("a"); err == nil {
						t.Errorf("%s/%s gets in", user, password)
					}
				})
			}
		}
		guesses.Wait()
		s.Stop()
		s.Start()
		if n := strings.Count(s.Log(), "shown this once"); n != 1 {
			t.Errorf("the password was shown %d times", n)
		}
		s.Stop()
	}
	if len(banners) != 2 {
		t.Errorf("two installations made the passwords %v", banners)
	}
}

// an index whose levels list their child twice has 2^30 paths and 31
// manifests; only the latter may count.
func TestDeepIndex(t *testing.T) {
	s := newServer(t, serverOptions{})
	p := &pusher{Base: s.Base(), Client: s.HTTP(), User: "admin", Password: adminPassword}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`)
	var digests []string
	for level := range 31 {
		if level > 0 {
			child := map[string]any{"mediaType": indexType, "digest": digestOf(manifest), "size": len(manifest)}
			var err error
			manifest, err = json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": []any{child, child}})
			must(t, err)
		}
		status, _, body, err := p.do("PUT", "deep/index", "/v2/deep/index/manifests/"+digestOf(manifest), http.Header{"Content-Type": {indexType}}, manifest)
		if err != nil || status != http.StatusCreated {
			t.Fatalf("level %d: %d %v %s", level, status, err, body)
		}
		digests = append(digests, digestOf(manifest))
	}
	for i := len(digests) - 1; i >= 0; i-- {
		if status, _, _, err := p.do("GET", "deep/index", "/v2/deep/index/manifests/"+digests[i], nil, nil); err != nil || status != http.StatusOK {
			t.Fatalf("get level %d: %d %v", i, status, err)
		}
		if status, _, body, err := p.do("DELETE", "deep/index", "/v2/deep/index/manifests/"+digests[i], nil, nil); err != nil || status != http.StatusAccepted {
			t.Fatalf("delete level %d: %d %v %s", i, status, err, body)
		}
	}
}

// Content that another registry kept with fallback tags (distribution-spec,
// "Referrers Tag Schema") is listed by the referrers API once it is copied here
// as it is, and is still reachable by the tag.
func TestFallbackTagReferrers(t *testing.T) {
	s := newServer(t, serverOptions{})
	p := &pusher{Base: s.Base(), Client: s.HTTP(), User: "admin", Password: adminPassword}
	must(t, p.push("copied/app", "v1", []byte(`{}`), []byte("layer")))
	image := p.acked["copied/app:v1"][0]
	put := func(ref, mediaType string, manifest []byte) {
		t.Helper()
		status, _, body, err := p.do("PUT", "copied/app", "/v2/copied/app/manifests/"+ref, http.Header{"Content-Type": {mediaType}}, manifest)
		if err != nil || status != http.StatusCreated {
			t.Fatalf("put %s: %d %v %s", ref, status, err, body)
		}
	}
	descriptor := func(mediaType string, content []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digestOf(content), "size": len(content)}
	}
	signature, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "artifactType": "application/vnd.example.signature",
		"config": descriptor("application/vnd.oci.empty.v1+json", []byte(`{}`)), "layers": []any{},
		"subject": descriptor(manifestType, image.Manifest),
	})
	must(t, err)
	put(digestOf(signature), manifestType, signature)
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": []any{descriptor(manifestType, signature)}})
	must(t, err)
	tag := strings.Replace(image.Digest, ":", "-", 1)
	put(tag, indexType, index)

	status, header, body, err := p.do("GET", "copied/app", "/v2/copied/app/referrers/"+image.Digest, nil, nil)
	must(t, err)
	var list struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	must(t, json.Unmarshal(body, &list))
	if status != http.StatusOK || header.Get("Content-Type") != indexType || len(list.Manifests) != 1 ||
		list.Manifests[0].Digest != digestOf(signature) || list.Manifests[0].ArtifactType != "application/vnd.example.signature" {
		t.Errorf("referrers: %d %s %s", status, header.Get("Content-Type"), body)
	}
	if status, _, body, _ := p.do("GET", "copied/app", "/v2/copied/app/manifests/"+tag, nil, nil); status != http.StatusOK || string(body) != string(index) {
		t.Errorf("the fallback tag: %d %s", status, body)
	}
}
