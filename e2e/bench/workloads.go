package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	repo   = "bench/app"
	bigOne = 256 << 20
)

// inputs are what the workloads use: content that every server holds, and
// credentials for ours.
type inputs struct {
	manifest           []byte
	small              []byte
	big                []byte
	bigDigest          string
	auth               http.Header // ours: a bearer for the bench repositories
	login              http.Header // distribution with htpasswd
	identityToken, key string
	serial             atomic.Int64
}

// A workload runs the same work on several servers; the first is ours.
type workload struct {
	name    string
	workers int
	long    time.Duration
	sides   []side
}

type side struct {
	p      *process
	op     func(worker, n int) error
	target float64 // ours may use so many times this side's CPU; 0 is no target
	speed  float64 // ours must be so many times as fast as this side
}

func (b *bench) fill() (*inputs, error) {
	in := &inputs{manifest: sampleManifest(), login: basic("admin", adminPassword)}
	in.small = sampleBlobs()[1]
	in.big = make([]byte, bigOne)
	rand.NewChaCha8([32]byte{1}).Read(in.big)
	in.bigDigest = digestOf(in.big)
	var err error
	if in.auth, err = b.bearerFor("repository:" + repo + ":pull,push"); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		p    *process
		auth http.Header
	}{{b.ours, in.auth}, {b.dist, nil}, {b.distLogin, in.login}} {
		for _, blob := range append(sampleBlobs(), in.big) {
			if err := pushBlob(s.p.base, repo, s.auth, blob, digestOf(blob)); err != nil {
				return nil, err
			}
		}
		if err := putManifest(s.p.base, repo, "latest", s.auth, in.manifest); err != nil {
			return nil, err
		}
	}
	// The floor serves the very files that ours does: how large the pages are
	// that the system keeps of a file depends on how it was written, and what
	// sendfile costs depends on that.
	for name, digest := range map[string]string{"small": digestOf(in.small), "big": in.bigDigest} {
		hex := strings.TrimPrefix(digest, "sha256:")
		if err := os.Link(filepath.Join(b.dir, "sallyport", "data", "blobs", "sha256", hex[:2], hex), filepath.Join(b.dir, "floor", name)); err != nil {
			return nil, err
		}
	}
	if in.identityToken, err = b.identityToken(); err != nil {
		return nil, err
	}
	in.key, err = accessKeyOf(b.ours, client)
	return in, err
}

func (b *bench) bearerFor(scope string) (http.Header, error) {
	token, err := b.token(scope)
	return bearer(token), err
}

func (b *bench) identityToken() (string, error) {
	r := request{method: "GET", url: b.ours.base + "/token?offline_token=true&client_id=bench", header: b.login(), want: 200}
	_, body, err := r.send(true)
	if err != nil {
		return "", err
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.RefreshToken, err
}

func (b *bench) login() http.Header { return basic("admin", adminPassword) }

// accessKeyOf returns an access key of p for the administrator.
func accessKeyOf(p *process, by *http.Client) (string, error) {
	var token struct{ Token string }
	ask := request{method: "GET", url: p.base + "/token?scope=registry:api:*", header: basic("admin", adminPassword), want: 200, by: by}
	if err := ask.decode(&token); err != nil {
		return "", err
	}
	var key struct{ Secret string }
	create := request{method: "POST", url: p.base + "/api/v1/keys", header: with(bearer(token.Token), "Content-Type", "application/json"),
		body: []byte(`{}`), want: 201, by: by}
	err := create.decode(&key)
	return key.Secret, err
}

// get is an operation that fetches one URL.
func get(address string, auth http.Header) func(int, int) error {
	r := request{method: "GET", url: address, header: auth, want: 200}
	return func(int, int) error { _, _, err := r.send(false); return err }
}

func (b *bench) workloads() []workload {
	in := b.in
	at := func(p *process, path string) string { return p.base + "/v2/" + repo + path }
	digest := digestOf(in.manifest)
	reads := func(name, path, floorPath string, target float64, workers int, long time.Duration) workload {
		return workload{name: name, workers: workers, long: long, sides: []side{
			{p: b.ours, op: get(at(b.ours, path), in.auth)},
			{p: b.floor, op: get(b.floor.base+floorPath, nil), target: target},
			{p: b.dist, op: get(at(b.dist, path), nil)},
			{p: b.distLogin, op: get(at(b.distLogin, path), in.login)},
		}}
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {"bench"}, "scope": {"repository:" + repo + ":pull"}, "refresh_token": {in.identityToken}}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	tokenFloor := request{method: "POST", url: b.floor.base + "/token", header: form, body: []byte("refresh_token=secret"), want: 200}
	byIdentity := request{method: "POST", url: b.ours.base + "/token", header: form, body: []byte(refresh.Encode()), want: 200}
	tokenURL := b.ours.base + "/token?scope=" + url.QueryEscape("repository:"+repo+":pull")
	floorOp := func(int, int) error { _, _, err := tokenFloor.send(false); return err }
	return []workload{
		reads("manifest by digest", "/manifests/"+digest, "/manifest", 2, 16, 2*time.Second),
		reads("manifest by tag", "/manifests/latest", "/manifest", 3, 16, 2*time.Second),
		{name: "token for an identity token", workers: 16, long: 2 * time.Second, sides: []side{
			{p: b.ours, op: func(int, int) error { _, _, err := byIdentity.send(false); return err }},
			{p: b.floor, op: floorOp, target: 2},
		}},
		{name: "token for an access key", workers: 16, long: 2 * time.Second, sides: []side{
			{p: b.ours, op: get(tokenURL, basic("bench", in.key))},
			{p: b.floor, op: floorOp, target: 2},
		}},
		{name: "token for a password, verified moments ago", workers: 16, long: 2 * time.Second, sides: []side{
			{p: b.ours, op: get(tokenURL, b.login())},
			{p: b.floor, op: floorOp},
		}},
		reads("blob 1 KiB", "/blobs/"+digestOf(in.small), "/blob/small", 1.5, 16, 2*time.Second),
		reads("blob 256 MiB", "/blobs/"+in.bigDigest, "/blob/big", 1.1, 1, 3*time.Second),
		{name: "blob upload 256 MiB", workers: 1, long: 2 * time.Second, sides: []side{
			{p: b.ours, op: b.uploadBig(b.ours, in.auth)},
			{p: b.floor, op: b.uploadFloor(), target: 1.25},
			{p: b.dist, op: b.uploadBig(b.dist, nil)},
		}},
		{name: "image push, config + 5 layers + manifest", workers: 8, long: 3 * time.Second, sides: []side{
			{p: b.ours, op: b.pushImage(b.ours, in.auth)},
			{p: b.dist, op: b.pushImage(b.dist, nil), speed: 3},
			{p: b.distLogin, op: b.pushImage(b.distLogin, in.login)},
		}},
	}
}

// unique returns big bytes that no server has seen.
func (in *inputs) unique() ([]byte, string) {
	copy(in.big, fmt.Sprintf("%020d", in.serial.Add(1)))
	return in.big, digestOf(in.big)
}

func (b *bench) uploadBig(p *process, auth http.Header) func(int, int) error {
	return func(int, int) error {
		blob, digest := b.in.unique()
		return pushBlob(p.base, repo, auth, blob, digest)
	}
}

func (b *bench) uploadFloor() func(int, int) error {
	return func(int, int) error {
		blob, _ := b.in.unique()
		r := request{method: "PUT", url: b.floor.base + "/blob", body: blob, want: 201}
		_, _, err := r.send(false)
		return err
	}
}

// pushImage pushes an image nobody has: config, five layers of 1 to 64 KiB, manifest.
func (b *bench) pushImage(p *process, auth http.Header) func(int, int) error {
	return func(worker, _ int) error {
		n := b.in.serial.Add(1)
		blobs := [][]byte{fmt.Appendf(nil, `{"n":%d}`, n)}
		for i := range 5 {
			blobs = append(blobs, bytes.Repeat(fmt.Appendf(nil, "%d %d ", n, i), 1<<(6+2*i)/8))
		}
		for _, blob := range blobs {
			if err := pushBlob(p.base, repo, auth, blob, digestOf(blob)); err != nil {
				return err
			}
		}
		return putManifest(p.base, repo, fmt.Sprintf("w%d", worker), auth, manifestOf(blobs...))
	}
}

// compare measures all sides in turn, as often as there are runs, and prints
// medians and ratios.
func (b *bench) compare(w workload) error {
	results := make([][]result, len(w.sides))
	for range b.runs {
		for i, s := range w.sides {
			if s.p == b.ours {
				fresh, err := b.bearerFor("repository:" + repo + ":pull,push")
				if err != nil {
					return err
				}
				b.in.auth["Authorization"] = fresh["Authorization"]
			}
			r, err := measure(s.p, w.workers, w.long, s.op)
			if err != nil {
				return fmt.Errorf("%s: %w", s.p.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	fmt.Printf("\n%s (%d clients)\n", w.name, w.workers)
	fmt.Printf("  %-24s %10s %10s %10s %12s %9s\n", "", "op/s", "p50", "p99", "CPU/op", "peak")
	for i, s := range w.sides {
		m := medians(results[i])
		fmt.Printf("  %-24s %10.0f %10s %10s %12s %6d MB", s.p.name, m.perSecond, short(m.p50), short(m.p99), short(m.cpu), m.peak>>20)
		if i > 0 {
			cpu, speed := ratios(results[0], results[i])
			fmt.Printf("   ours: %.2f x its CPU, %.2f x its speed%s%s", cpu, speed, verdict(s.target, cpu <= s.target, "CPU <="), verdict(s.speed, speed >= s.speed, "speed >="))
		}
		fmt.Println()
	}
	return nil
}

func verdict(target float64, met bool, what string) string {
	if target == 0 {
		return ""
	}
	word := "MISSED"
	if met {
		word = "met"
	}
	return fmt.Sprintf("  [target %s %.2g x: %s]", what, target, word)
}

// ratios returns the medians over the runs of ours against theirs.
func ratios(ours, theirs []result) (cpu, speed float64) {
	var c, s []float64
	for i := range ours {
		c = append(c, float64(ours[i].cpu)/float64(theirs[i].cpu))
		s = append(s, ours[i].perSecond/theirs[i].perSecond)
	}
	return median(c), median(s)
}

func median[T int64 | float64 | time.Duration](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

func medians(rs []result) result {
	pick := func(f func(result) float64) float64 {
		var v []float64
		for _, r := range rs {
			v = append(v, f(r))
		}
		return median(v)
	}
	return result{
		perSecond: pick(func(r result) float64 { return r.perSecond }),
		p50:       time.Duration(pick(func(r result) float64 { return float64(r.p50) })),
		p99:       time.Duration(pick(func(r result) float64 { return float64(r.p99) })),
		cpu:       time.Duration(pick(func(r result) float64 { return float64(r.cpu) })),
		peak:      int64(pick(func(r result) float64 { return float64(r.peak) })),
	}
}

func short(d time.Duration) string {
	return strings.Replace(d.Round(max(time.Microsecond, d/1000)).String(), "µ", "u", 1)
}
