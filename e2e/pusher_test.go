package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A pusher pushes small images as fast as it can and remembers what was
// acknowledged. It is a load for crash tests; clients_test.go has real clients.
type pusher struct {
	Base     string // "https://host:port"
	Client   *http.Client
	User     string
	Password string

	mu    sync.Mutex
	acked map[string][]image // "repo:tag" → images in the order they were acknowledged
	tried map[string][]image // the same for attempts
	token map[string]string
}

type image struct {
	Digest   string
	Manifest []byte
	Blobs    map[string]int // digest → size
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// makeImage builds a manifest over blobs, the first of which is the config.
func makeImage(blobs ...[]byte) image {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	var all []descriptor
	im := image{Blobs: map[string]int{}}
	for _, b := range blobs {
		all = append(all, descriptor{"application/vnd.oci.image.layer.v1.tar", digestOf(b), len(b)})
		im.Blobs[digestOf(b)] = len(b)
	}
	all[0].MediaType = "application/vnd.oci.image.config.v1+json"
	im.Manifest, _ = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": all[0], "layers": all[1:],
	})
	im.Digest = digestOf(im.Manifest)
	return im
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// bearer returns an access token for pull and push on repo.
func (p *pusher) bearer(repo string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.token[repo]; t != "" {
		return t, nil
	}
	req, err := http.NewRequest("GET", p.Base+"/token?scope="+url.QueryEscape("repository:"+repo+":pull,push,delete"), nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(p.User, p.Password)
	resp, err := p.Client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("token: status %d: %v", resp.StatusCode, err)
	}
	if p.token == nil {
		p.token = map[string]string{}
	}
	p.token[repo] = answer.Token
	return answer.Token, nil
}

// do sends one request and returns status, headers and the whole body.
func (p *pusher) do(method, repo, path string, header http.Header, body []byte) (int, http.Header, []byte, error) {
	token, err := p.bearer(repo)
	if err != nil {
		return 0, nil, nil, err
	}
	if strings.HasPrefix(path, "/") {
		path = p.Base + path
	}
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := p.Client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, b, err
}

// blob uploads b with a POST, a PATCH and a PUT.
func (p *pusher) blob(repo string, b []byte) error {
	status, h, body, err := p.do("POST", repo, "/v2/"+repo+"/blobs/uploads/", nil, nil)
	if err != nil || status != http.StatusAccepted {
		return fmt.Errorf("start upload: status %d: %w %s", status, err, body)
	}
	status, h, body, err = p.do("PATCH", repo, h.Get("Location"), http.Header{"Content-Type": {"application/octet-stream"}}, b)
	if err != nil || status != http.StatusAccepted {
		return fmt.Errorf("send blob: status %d: %w %s", status, err, body)
	}
	status, _, body, err = p.do("PUT", repo, h.Get("Location")+"?digest="+digestOf(b), nil, nil)
	if err != nil || status != http.StatusCreated {
		return fmt.Errorf("finish upload: status %d: %w %s", status, err, body)
	}
	return nil
}

// push uploads blobs and puts their manifest at tag.
func (p *pusher) push(repo, tag string, blobs ...[]byte) error {
	im := makeImage(blobs...)
	for _, b := range blobs {
		if err := p.blob(repo, b); err != nil {
			return err
		}
	}
	name := repo + ":" + tag
	p.mu.Lock()
	if p.acked == nil {
		p.acked, p.tried = map[string][]image{}, map[string][]image{}
	}
	p.tried[name] = append(p.tried[name], im)
	p.mu.Unlock()
	status, _, body, err := p.do("PUT", repo, "/v2/"+repo+"/manifests/"+tag, http.Header{"Content-Type": {manifestType}}, im.Manifest)
	if err != nil || status != http.StatusCreated {
		return fmt.Errorf("put manifest: status %d: %w %s", status, err, body)
	}
	p.mu.Lock()
	p.acked[name] = append(p.acked[name], im)
	p.mu.Unlock()
	return nil
}

// forgetTokens makes the next request fetch new ones.
func (p *pusher) forgetTokens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.token)
}

// check reads everything that was acknowledged: each manifest by its digest,
// each tag at its last acknowledged manifest or a later attempt, each blob with
// the bytes its digest says.
func (p *pusher) check() error {
	for name, images := range p.acked {
		repo, tag, _ := strings.Cut(name, ":")
		status, _, body, err := p.do("GET", repo, "/v2/"+repo+"/manifests/"+tag, nil, nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%s was acknowledged, and is lost: status %d: %w %s", name, status, err, body)
		}
		if got := digestOf(body); !p.allowed(name, got) {
			return fmt.Errorf("%s is at %s, which is older than what was acknowledged", name, got)
		}
		for _, im := range append(images[max(0, len(images)-3):], p.held(name, digestOf(body))...) {
			if err := p.checkImage(repo, im); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (p *pusher) checkImage(repo string, im image) error {
	status, _, body, err := p.do("GET", repo, "/v2/"+repo+"/manifests/"+im.Digest, nil, nil)
	if err != nil || status != http.StatusOK || digestOf(body) != im.Digest {
		return fmt.Errorf("manifest %s: status %d: %w", im.Digest, status, err)
	}
	for d := range im.Blobs {
		status, _, body, err := p.do("GET", repo, "/v2/"+repo+"/blobs/"+d, nil, nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("blob %s: status %d: %w", d, status, err)
		}
		if digestOf(body) != d {
			return fmt.Errorf("blob %s has bytes of %s", d, digestOf(body))
		}
	}
	return nil
}

// allowed reports whether a tag may be at digest: the last acknowledged image,
// or one whose attempt came after it.
func (p *pusher) allowed(name, digest string) bool {
	last := p.acked[name][len(p.acked[name])-1].Digest
	after := false
	for _, im := range p.tried[name] {
		after = after || im.Digest == last
		if after && im.Digest == digest {
			return true
		}
	}
	return false
}

func (p *pusher) held(name, digest string) []image {
	for _, im := range p.tried[name] {
		if im.Digest == digest {
			return []image{im}
		}
	}
	return nil
}

// newPlainClient returns a client for plain HTTP with short waits.
func newPlainClient() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
}
