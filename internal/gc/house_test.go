package gc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A house is a registry and its sweeper on a real database and real files.
type house struct {
	registry.Registry
	db    *metadata.DB
	store blob.Store
	clock *clock
	gc    *gc.Sweeper
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	c := &clock{now: time.Now()}
	db := metadatatest.Open(t, url, metadata.Options{Now: c.Now, Grace: gc.DefaultGrace})
	store, err := file.New(t.TempDir(), file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		Registry: registry.New(db.Catalog(), store, registry.Options{Now: c.Now}),
		db:       db, store: store, clock: c,
	}
	h.gc = h.sweeper(db.Sweeps(), store)
	return h
}

func (h *house) sweeper(c gc.Catalog, b blob.Store) *gc.Sweeper {
	return gc.New(c, b, gc.Options{Now: h.clock.Now})
}

const typeLayer = "application/vnd.oci.image.layer.v1.tar"

// upload stores b in repo. It may be called by several goroutines.
func (h *house) upload(t *testing.T, repo oci.RepoName, b []byte) (oci.Descriptor, error) {
	id, err := h.StartUpload(t.Context(), repo, registry.Upload{})
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("start: %w", err)
	}
	u := registry.Upload{ID: id}
	if _, err := h.AppendUpload(t.Context(), repo, u, registry.Chunk{Body: bytes.NewReader(b)}); err != nil {
		return oci.Descriptor{}, fmt.Errorf("append: %w", err)
	}
	d, err := h.FinishUpload(t.Context(), repo, u, oci.FromBytes(b))
	d.MediaType = typeLayer
	return d, err
}

func (h *house) mustUpload(t *testing.T, repo oci.RepoName, text string) oci.Descriptor {
	t.Helper()
	d, err := h.upload(t, repo, []byte(text))
	must(t, err)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) mustSweep(t *testing.T) gc.Report {
	t.Helper()
	r, err := h.gc.Sweep(t.Context())
	must(t, err)
	return r
}

// manifest returns an image manifest of blobs; the first is its config.
func manifest(blobs ...oci.Descriptor) oci.RawManifest {
	b, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "config": blobs[0], "layers": blobs[1:],
	})
	return oci.RawManifest{MediaType: oci.MediaTypeImageManifest, Digest: oci.FromBytes(b), Bytes: b}
}

// image pushes an image of one config and one layer.
func (h *house) image(t *testing.T, repo oci.RepoName, text string, tags ...oci.Tag) oci.RawManifest {
	t.Helper()
	m := manifest(h.mustUpload(t, repo, text+" config"), h.mustUpload(t, repo, text+" layer"))
	_, err := h.PutManifest(t.Context(), repo, m, registrytest.AnyTag, tags...)
	must(t, err)
	return m
}

// read returns the bytes of d in repo, verified.
func (h *house) read(t *testing.T, repo oci.RepoName, d oci.Digest) error {
	r, err := h.OpenBlob(t.Context(), repo, d)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err == nil && !d.Matches(b) {
		err = errors.New("bytes differ from their digest")
	}
	return err
}

// whole fails unless m and everything it lists can be read.
func (h *house) whole(t *testing.T, repo oci.RepoName, m oci.RawManifest) error {
	got, err := h.Manifest(t.Context(), repo, oci.ByDigest(m.Digest))
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	parsed, err := oci.ParseManifest(got)
	if err != nil {
		return err
	}
	for _, d := range parsed.Blobs {
		if err := h.read(t, repo, d.Digest); err != nil {
			return fmt.Errorf("manifest %s: blob %s: %w", m.Digest, d.Digest, err)
		}
	}
	return nil
}

// stored returns what the blob store holds.
func (h *house) stored(t *testing.T) map[oci.Digest]bool {
	t.Helper()
	all := make(map[oci.Digest]bool)
	for info, err := range h.store.All(t.Context()) {
		must(t, err)
		all[info.Digest] = true
	}
	return all
}

func (h *house) staged(t *testing.T) (n int) {
	t.Helper()
	for _, err := range h.store.Staged(t.Context()) {
		must(t, err)
		n++
	}
	return n
}

// A watched store calls before, when set, ahead of an operation, which fails
// with its error.
type watched struct {
	blob.Store
	before func(op string, d oci.Digest) error
}

func (w watched) Unstage(ctx ctx, key string) error {
	if err := w.before("unstage", ""); err != nil {
		return err
	}
	return w.Store.Unstage(ctx, key)
}

func (w watched) Staged(ctx ctx) seq[blob.StagedInfo] {
	return func(yield func(blob.StagedInfo, error) bool) {
		if err := w.before("staged", ""); err != nil {
			yield(blob.StagedInfo{}, err)
			return
		}
		w.Store.Staged(ctx)(yield)
	}
}

func (w watched) Delete(ctx ctx, d oci.Digest) error {
	if err := w.before("delete", d); err != nil {
		return err
	}
	return w.Store.Delete(ctx, d)
}

func (w watched) All(ctx ctx) seq[blob.Info] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range w.Store.All(ctx) {
			// In the midst of a listing, as a broken disk would.
			if failed := w.before("all", info.Digest); failed != nil {
				yield(blob.Info{}, failed)
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
