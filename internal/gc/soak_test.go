package gc_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// The size of the soak.
const (
	soakSweeps  = 60
	soakPushers = 6
	soakLayers  = 120 // contents that pushers share
	soakKept    = 4   // images that a pusher keeps before it deletes the oldest
	soakTick    = grace / 10
	soakSpan    = 4 // ticks that a push may last: less than an upload session lives
)

// soak is pushers on one registry whose sweeps never stop. Its clock runs as
// fast as it may: only so that no push lasts longer than soakSpan ticks.
type soak struct {
	*house
	t    *testing.T
	over atomic.Bool
	hot  chan oci.Digest // contents that a sweep looks at or removes right now

	mu    sync.Mutex
	ended sync.Cond
	tick  int
	open  map[int]int // pushes by the tick they began in

	pushes, refound, renewed atomic.Int64
}

func (s *soak) begin() (tick int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[s.tick]++
	return s.tick
}

func (s *soak) end(tick int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[tick]--; s.open[tick] == 0 {
		delete(s.open, tick)
	}
	s.ended.Broadcast()
}

// advance lets a tick pass once no push is too old for it.
func (s *soak) advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.oldest() <= s.tick-soakSpan {
		s.ended.Wait()
	}
	s.tick++
	s.clock.pass(soakTick)
}

func (s *soak) oldest() int {
	oldest := s.tick
	for tick := range s.open {
		oldest = min(oldest, tick)
	}
	return oldest
}

// tell offers d to the pushers that wait for hot content.
func (s *soak) tell(d oci.Digest) {
	select {
	case s.hot <- d:
	default:
	}
}

// A hotCatalog tells which blobs a sweep has found unused.
type hotCatalog struct {
	gc.Catalog
	tell func(oci.Digest)
}

func (c hotCatalog) UnusedBlobs(ctx ctx, before time.Time) seq[oci.Descriptor] {
	return func(yield func(oci.Descriptor, error) bool) {
		for d, err := range c.Catalog.UnusedBlobs(ctx, before) {
			c.tell(d.Digest)
			if !yield(d, err) {
				return
			}
		}
	}
}

func layer(i int) []byte { return fmt.Appendf(nil, "layer %d", i) }

var layerOf = func() map[oci.Digest]int {
	all := make(map[oci.Digest]int)
	for i := range soakLayers {
		all[oci.FromBytes(layer(i))] = i
	}
	return all
}()

// A pusher owns a repository and knows what was acknowledged to it.
type pusher struct {
	*soak
	repo oci.RepoName
	rand *rand.Rand
	acks []oci.RawManifest
	n    int
}

func soakRepo(i int) oci.RepoName { return oci.RepoName(fmt.Sprintf("soak/p%d", i)) }

// obtain brings layer i into the repository in one of the ways that clients
// have, and falls back to the next as they do.
func (p *pusher) obtain(i int) (oci.Descriptor, error) {
	d := oci.FromBytes(layer(i))
	var found oci.Descriptor
	err := error(oci.BlobUnknown)
	switch p.rand.IntN(4) {
	case 0:
		found, err = p.StatBlob(p.t.Context(), p.repo, d)
	case 1:
		found, err = p.MountBlob(p.t.Context(), p.repo, registry.BlobAt{Repo: soakRepo(p.rand.IntN(soakPushers)), Digest: d})
	case 2:
		found, err = p.MountBlob(p.t.Context(), p.repo, registry.BlobAt{Digest: d})
	}
	if err == nil {
		p.refound.Add(1)
		return found, nil
	}
	if !errors.Is(err, oci.BlobUnknown) {
		return found, err
	}
	return p.upload(p.t, p.repo, layer(i))
}

// push pushes an image with the given layers and remembers that it was
// acknowledged.
func (p *pusher) push(layers ...int) error {
	tick := p.begin()
	defer p.end(tick)
	var blobs []oci.Descriptor
	p.n++
	config, err := p.upload(p.t, p.repo, fmt.Appendf(nil, "config %s %d", p.repo, p.n))
	if err != nil {
		return err
	}
	blobs = append(blobs, config)
	for _, i := range layers {
		d, err := p.obtain(i)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		blobs = append(blobs, oci.Descriptor{MediaType: typeLayer, Digest: d.Digest, Size: d.Size})
	}
	m := manifest(blobs...)
	if _, err := p.PutManifest(p.t.Context(), p.repo, m, registrytest.AnyTag, oci.Tag(fmt.Sprintf("t%d", p.rand.IntN(3)))); err != nil {
		return fmt.Errorf("put manifest: %w", err) // MANIFEST_BLOB_UNKNOWN too: it was all there
	}
	p.acks = append(p.acks, m)
	p.pushes.Add(1)
	return nil
}

// step is one of the things that a client does.
func (p *pusher) step() error {
	switch p.rand.IntN(10) {
	case 0: // a push that is never finished
		tick := p.begin()
		defer p.end(tick)
		if _, err := p.StartUpload(p.t.Context(), p.repo, registry.Upload{}); err != nil {
			return err
		}
		_, err := p.upload(p.t, p.repo, layer(p.rand.IntN(soakLayers)))
		return err
	case 1: // a blob is deleted, used or not
		tick := p.begin()
		defer p.end(tick)
		err := p.DeleteBlob(p.t.Context(), p.repo, oci.FromBytes(layer(p.rand.IntN(soakLayers))))
		if errors.Is(err, oci.BlobUnknown) || errors.Is(err, oci.Unsupported) {
			return nil
		}
		return err
	}
	layers := []int{p.rand.IntN(soakLayers)}
	select {
	case d := <-p.hot:
		if i, known := layerOf[d]; known {
			layers = append(layers, i)
			p.renewed.Add(1)
		}
	default:
	}
	if err := p.push(layers...); err != nil {
		return err
	}
	if len(p.acks) > soakKept {
		oldest := p.acks[0]
		p.acks = p.acks[1:]
		if err := p.DeleteManifest(p.t.Context(), p.repo, oldest.Digest, registrytest.AnyTag); err != nil {
			return fmt.Errorf("delete manifest: %w", err)
		}
	}
	return p.whole(p.t, p.repo, p.acks[p.rand.IntN(len(p.acks))])
}

// sweep sweeps all the time, a tick apart.
func (s *soak) sweep() (removed int64) {
	sweeper := s.sweeper(hotCatalog{s.db.Sweeps(), s.tell}, watched{s.store, func(op string, d oci.Digest) error {
		if op == "delete" {
			s.tell(d)
		}
		return nil
	}})
	for range soakSweeps {
		r, err := sweeper.Sweep(s.t.Context())
		if err != nil {
			s.t.Error(err)
			return removed
		}
		removed += r.Blobs
		s.advance()
	}
	return removed
}

// TestSoak is D-01: pushes of every kind go on while sweeps never stop. Every
// acknowledged manifest is whole, and in the end nothing else is left.
func TestSoak(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		s := &soak{house: newHouse(t, url), t: t, hot: make(chan oci.Digest, soakPushers), open: make(map[int]int)}
		s.ended.L = &s.mu
		pushers := make([]*pusher, soakPushers)
		var all sync.WaitGroup
		for i := range pushers {
			p := &pusher{soak: s, repo: soakRepo(i), rand: rand.New(rand.NewPCG(1, uint64(i)))}
			pushers[i] = p
			all.Go(func() {
				for !s.over.Load() && !t.Failed() {
					if err := p.step(); err != nil {
						t.Errorf("%s: %v", p.repo, err)
					}
				}
			})
		}
		removed := s.sweep()
		s.over.Store(true)
		all.Wait()

		s.verify(pushers)
		s.clock.pass(2 * grace)
		s.mustSweep(t)
		want := s.verify(pushers)
		got := s.stored(t)
		for d := range got {
			if !want[d] {
				t.Errorf("%s is left, and nothing refers to it", d)
			}
		}
		if known, err := s.db.Sweeps().CountBlobs(t.Context()); err != nil || int(known) != len(want) || len(got) != len(want) {
			t.Errorf("%d blobs are known and %d stored, want %d: %v", known, len(got), len(want), err)
		}
		if n := s.staged(t); n != 0 {
			t.Errorf("%d stagings are left", n)
		}
		t.Logf("%d pushes, %d blobs removed meanwhile, %d found again, %d pushed as they were swept",
			s.pushes.Load(), removed, s.refound.Load(), s.renewed.Load())
		if removed == 0 || s.refound.Load() == 0 || s.renewed.Load() == 0 {
			t.Error("the soak has not met what it is for")
		}
	})
}

// verify reads everything that was acknowledged and returns the blobs of it.
func (s *soak) verify(pushers []*pusher) map[oci.Digest]bool {
	used := make(map[oci.Digest]bool)
	for _, p := range pushers {
		for _, m := range p.acks {
			if err := s.whole(s.t, p.repo, m); err != nil {
				s.t.Errorf("lost: %s: %v", p.repo, err)
			}
			parsed, err := oci.ParseManifest(m)
			must(s.t, err)
			for _, d := range parsed.Blobs {
				used[d.Digest] = true
			}
		}
	}
	return used
}
