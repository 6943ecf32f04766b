package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lists: the cost of a page of tags and of the catalog, when there is little
// and when there is much.
func (b *bench) lists() error {
	auth, err := b.bearerFor("repository:bench/few:pull,push repository:bench/many:pull,push registry:catalog:*")
	if err != nil {
		return err
	}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	index := with(auth, "Content-Type", "application/vnd.oci.image.index.v1+json")
	tags := func(repo string, n int) error {
		for i := 0; i < n; i += 100 {
			var q []string
			for j := i; j < i+100; j++ {
				q = append(q, fmt.Sprintf("tag=t%06d", j))
			}
			r := request{method: "PUT", url: b.ours.base + "/v2/" + repo + "/manifests/" + digestOf(manifest) + "?" + strings.Join(q, "&"), header: index, body: manifest, want: 201}
			if _, _, err := r.send(false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := tags("bench/few", 1000); err != nil {
		return err
	}
	if err := tags("bench/many", 100_000); err != nil {
		return err
	}
	fmt.Printf("\npages of 100 from the middle (1 client)\n")
	if err := b.pages("tags", "/v2/bench/few/tags/list?n=100&last=t000500", "/v2/bench/many/tags/list?n=100&last=t050000", "1,000", "100,000", auth); err != nil {
		return err
	}
	catalog := "/v2/_catalog?n=100&last=many/r00050"
	if err := b.repositories(manifest, 0, 200); err != nil {
		return err
	}
	few, err := b.page(catalog, auth)
	if err != nil {
		return err
	}
	if err := b.repositories(manifest, 200, 10_000); err != nil {
		return err
	}
	many, err := b.page(strings.Replace(catalog, "r00050", "r05000", 1), auth)
	if err != nil {
		return err
	}
	fmt.Printf("  %-10s at %8s: %8s CPU    at %8s: %8s CPU    ratio %.2f\n", "catalog", "200", short(few.cpu), "10,000", short(many.cpu), float64(many.cpu)/float64(few.cpu))
	return b.littleVisible()
}

func (b *bench) repositories(manifest []byte, from, to int) error {
	for i := from; i < to; i += 50 {
		var scopes []string
		for j := i; j < i+50; j++ {
			scopes = append(scopes, fmt.Sprintf("repository:many/r%05d:push,pull", j))
		}
		auth, err := b.bearerFor(strings.Join(scopes, " "))
		if err != nil {
			return err
		}
		for j := i; j < i+50; j++ {
			r := request{method: "PUT", url: fmt.Sprintf("%s/v2/many/r%05d/manifests/latest", b.ours.base, j), header: with(auth, "Content-Type", "application/vnd.oci.image.index.v1+json"), body: manifest, want: 201}
			if _, _, err := r.send(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// littleVisible asks for the catalog as a key that sees three of 10,000 repositories.
func (b *bench) littleVisible() error {
	api, err := b.bearerFor("registry:api:*")
	if err != nil {
		return err
	}
	r := request{method: "POST", url: b.ours.base + "/api/v1/keys", header: with(api, "Content-Type", "application/json"),
		body: []byte(`{"name":"few","repositories":["many/r00003","many/r07000","many/r09999"],"actions":["pull"]}`), want: 201}
	_, body, err := r.send(true)
	if err != nil {
		return err
	}
	var key struct{ Secret string }
	if err := json.Unmarshal(body, &key); err != nil {
		return err
	}
	r = request{method: "GET", url: b.ours.base + "/token?scope=registry:catalog:*", header: basic("few", key.Secret), want: 200}
	if _, body, err = r.send(true); err != nil {
		return err
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	three, err := b.page("/v2/_catalog?n=100", bearer(answer.Token))
	if err != nil {
		return err
	}
	fmt.Printf("  %-10s 3 visible of 10,000: %8s CPU\n", "catalog", short(three.cpu))
	return nil
}

func (b *bench) pages(what, few, many, n, m string, auth http.Header) error {
	f, err := b.page(few, auth)
	if err != nil {
		return err
	}
	g, err := b.page(many, auth)
	if err != nil {
		return err
	}
	fmt.Printf("  %-10s at %8s: %8s CPU    at %8s: %8s CPU    ratio %.2f\n", what, n, short(f.cpu), m, short(g.cpu), float64(g.cpu)/float64(f.cpu))
	return nil
}

func (b *bench) page(path string, auth http.Header) (result, error) {
	var all []result
	for range b.runs {
		r, err := measure(b.ours, 1, time.Second, get(b.ours.base+path, auth))
		if err != nil {
			return result{}, err
		}
		all = append(all, r)
	}
	return medians(all), nil
}

// footprint: cold start on existing data, memory of a server nobody uses, size
// of the binary.
func (b *bench) footprint() error {
	dir := filepath.Join(b.dir, "cold")
	p, err := b.startOurs(dir)
	if err != nil {
		return err
	}
	p.stop()
	var starts []time.Duration
	for range b.runs {
		began := time.Now()
		if p, err = b.restart(dir); err != nil {
			return err
		}
		starts = append(starts, time.Since(began))
		time.Sleep(300 * time.Millisecond)
		if len(starts) < b.runs {
			p.stop()
		}
	}
	idle, _ := p.memory()
	p.stop()
	info, err := os.Stat(b.sallyport)
	if err != nil {
		return err
	}
	cold := median(starts)
	fmt.Printf("\nfootprint\n  cold start %s%s\n  idle memory %d MB%s\n  binary %d MB%s\n",
		short(cold), verdict(100, cold <= 100*time.Millisecond, "ms <="),
		idle>>20, verdict(40, idle <= 40<<20, "MB <="), info.Size()>>20, verdict(40, info.Size() <= 40<<20, "MB <="))
	return nil
}

// restart starts ours on existing data and waits for the first answer of /v2/.
func (b *bench) restart(dir string) (*process, error) {
	config := filepath.Join(dir, "sallyport.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var address string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "listen: "); ok {
			address = strings.TrimSpace(rest)
		}
	}
	p := &process{name: "sallyport", base: "http://" + address, cmd: exec.Command(b.sallyport, "serve", "--config", config)}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 5000 {
		if resp, err := http.Get(p.base + "/v2/"); err == nil {
			resp.Body.Close()
			return p, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("it did not start again")
}
