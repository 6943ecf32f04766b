package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}}

// A request is what an operation sends.
type request struct {
	method, url string
	header      http.Header
	body        []byte
	want        int
	by          *http.Client // nil is client
}

// send sends r, reads the whole answer and returns headers and, when keep is
// asked for by a nil sink, the body.
func (r request) send(keep bool) (http.Header, []byte, error) {
	req, err := http.NewRequest(r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, nil, err
	}
	// CNCF distribution hides OCI manifests from whoever does not ask for them.
	req.Header.Set("Accept", manifestType+", application/vnd.oci.image.index.v1+json, */*")
	for k, v := range r.header {
		req.Header[k] = v
	}
	resp, err := cmp.Or(r.by, client).Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var body []byte
	if keep || resp.StatusCode != r.want {
		body, err = io.ReadAll(resp.Body)
	} else {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err == nil && resp.StatusCode != r.want {
		err = fmt.Errorf("%s %s: status %d, want %d: %.200s", r.method, r.url, resp.StatusCode, r.want, body)
	}
	return resp.Header, body, err
}

// decode sends r and reads the answer's JSON.
func (r request) decode(into any) error {
	_, body, err := r.send(true)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// A result is what one measurement found.
type result struct {
	ops       int64
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // of the server, for one operation
	peak      int64         // bytes resident
}

// measure runs op from so many workers for a while, and reads the server's
// processor time before and after.
func measure(p *process, workers int, long time.Duration, op func(worker, n int) error) (result, error) {
	var (
		mu    sync.Mutex
		times []time.Duration
		first atomic.Pointer[error]
		wg    sync.WaitGroup
	)
	p.resetPeak()
	cpu, began := p.cpu(), time.Now()
	for w := range workers {
		wg.Go(func() {
			var own []time.Duration
			for n := 0; time.Since(began) < long && first.Load() == nil; n++ {
				start := time.Now()
				if err := op(w, n); err != nil {
					first.CompareAndSwap(nil, &err)
					break
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			times = append(times, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	took, used := time.Since(began), p.cpu()-cpu
	if err := first.Load(); err != nil {
		return result{}, *err
	}
	slices.Sort(times)
	n := len(times)
	_, peak := p.memory()
	return result{
		ops: int64(n), perSecond: float64(n) / took.Seconds(), p50: times[n/2], p99: times[n*99/100],
		cpu: time.Duration(used / float64(n) * float64(time.Second)), peak: peak,
	}, nil
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// token asks ours for an access token.
func (b *bench) token(scope string) (string, error) { return tokenOf(b.ours, adminPassword, scope) }

func basic(user, password string) http.Header {
	r, _ := http.NewRequest("GET", "http://x/", nil)
	r.SetBasicAuth(user, password)
	return r.Header
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// with returns h with one more field.
func with(h http.Header, key, value string) http.Header {
	out := h.Clone()
	if out == nil {
		out = http.Header{}
	}
	out.Set(key, value)
	return out
}

// pushBlob uploads with POST and PUT, as most clients do.
func pushBlob(base, repo string, auth http.Header, blob []byte, digest string) error {
	start := request{method: "POST", url: base + "/v2/" + repo + "/blobs/uploads/", header: auth, want: 202}
	h, _, err := start.send(false)
	if err != nil {
		return err
	}
	location := h.Get("Location")
	if strings.HasPrefix(location, "/") {
		location = base + location
	}
	sep := "?"
	if strings.Contains(location, "?") {
		sep = "&"
	}
	put := request{method: "PUT", url: location + sep + "digest=" + digest, header: with(auth, "Content-Type", "application/octet-stream"), body: blob, want: 201}
	_, _, err = put.send(false)
	return err
}

func putManifest(base, repo, ref string, auth http.Header, manifest []byte) error {
	put := request{method: "PUT", url: base + "/v2/" + repo + "/manifests/" + ref, header: with(auth, "Content-Type", manifestType), body: manifest, want: 201}
	_, _, err := put.send(false)
	return err
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

// manifestOf builds a manifest whose config is the first blob.
func manifestOf(blobs ...[]byte) []byte {
	var all []descriptor
	for _, b := range blobs {
		all = append(all, descriptor{"application/vnd.oci.image.layer.v1.tar", digestOf(b), len(b)})
	}
	all[0].MediaType = "application/vnd.oci.image.config.v1+json"
	m, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": all[0], "layers": all[1:]})
	return m
}

// sampleBlobs are the config and five layers of the image that reads are made of.
func sampleBlobs() [][]byte {
	blobs := [][]byte{[]byte(`{"architecture":"amd64","os":"linux"}`)}
	for i := range 5 {
		blobs = append(blobs, bytes.Repeat([]byte{byte('a' + i)}, 1024))
	}
	return blobs
}

func sampleManifest() []byte { return manifestOf(sampleBlobs()...) }
