package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// A house is a registry on a real database and real files, with a clock.
type house struct {
	registry.Registry
	db    *metadata.DB
	blobs string // folder of the blob store
	clock *clock
}

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

func newHouse(t *testing.T) *house { return newHouseAt(t, metadatatest.SQLite(t)) }

func newHouseAt(t *testing.T, url string) *house {
	t.Helper()
	c := &clock{now: time.Now()}
	db := metadatatest.Open(t, url, metadata.Options{Now: c.Now})
	blobs := t.TempDir()
	store, err := file.New(blobs, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &house{registry.New(db.Catalog(), store, registry.Options{Now: c.Now}), db, blobs, c}
}

func TestBareRegistry(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouseAt(t, url)
		registrytest.Run(t, func(*testing.T) registry.Registry { return h })
	})
}

func TestGuardedRegistry(t *testing.T) {
	h := newHouse(t)
	au := authority(t, "alice", `[{who: ["user:alice"], what: ["**"], may: [pull, push, delete]}]`)
	registrytest.Run(t, func(*testing.T) registry.Registry { return requests{h, au} })
}

// push stores b in repo.
func push(t *testing.T, r registry.Registry, repo oci.RepoName, b []byte) oci.Digest {
	t.Helper()
	id, err := r.StartUpload(t.Context(), repo, registry.Upload{})
	if err != nil {
		t.Fatal(err)
	}
	u := registry.Upload{ID: id}
	if _, err := r.AppendUpload(t.Context(), repo, u, registry.Chunk{Body: bytes.NewReader(b)}); err != nil {
		t.Fatal(err)
	}
	d, err := r.FinishUpload(t.Context(), repo, u, oci.FromBytes(b))
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func TestLinkedBlobWithoutBytes(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, "team-a/app", []byte("x"))
	err := filepath.WalkDir(h.blobs, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() == d.Hex() {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.OpenBlob(t.Context(), "team-a/app", d)
	if err == nil || errors.Is(err, oci.BlobUnknown) {
		t.Fatalf("open blob without bytes: %v: want an error of ours", err)
	}
	if code, _ := oci.CodeOf(err); code != "" {
		t.Fatalf("the client is told %s", code)
	}
}

func TestUploadEndsAfterItsTime(t *testing.T) {
	h := newHouse(t)
	id, err := h.StartUpload(t.Context(), "team-a/app", registry.Upload{})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.pass(registry.UploadTTL - time.Minute)
	if _, err := h.UploadSize(t.Context(), "team-a/app", registry.Upload{ID: id}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(2 * time.Minute)
	if _, err := h.UploadSize(t.Context(), "team-a/app", registry.Upload{ID: id}); !errors.Is(err, oci.BlobUploadUnknown) {
		t.Fatalf("upload size after %s: %v", registry.UploadTTL, err)
	}
}

func TestTooManyUploads(t *testing.T) {
	h := newHouse(t)
	u := registry.Upload{Owner: "uid-alice"}
	var last registry.UploadID
	for range registry.MaxUploads {
		id, err := h.StartUpload(t.Context(), "team-a/app", u)
		if err != nil {
			t.Fatal(err)
		}
		last = id
	}
	if _, err := h.StartUpload(t.Context(), "team-a/app", u); !errors.Is(err, oci.TooManyRequests) {
		t.Fatalf("upload %d: %v", registry.MaxUploads+1, err)
	}
	if _, err := h.StartUpload(t.Context(), "team-a/app", registry.Upload{Owner: "uid-bob"}); err != nil {
		t.Fatalf("somebody else's upload: %v", err)
	}
	if err := h.CancelUpload(t.Context(), "team-a/app", registry.Upload{ID: last, Owner: u.Owner}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.StartUpload(t.Context(), "team-a/app", u); err != nil {
		t.Fatalf("upload after one was cancelled: %v", err)
	}
}

func TestTooManyTags(t *testing.T) {
	h := newHouse(t)
	m := []byte(`{"schemaVersion":2}`)
	_, err := h.PutManifest(t.Context(), "team-a/app",
		oci.RawManifest{MediaType: oci.MediaTypeImageIndex, Digest: oci.FromBytes(m), Bytes: m}, registrytest.AnyTag, make([]oci.Tag, registry.MaxTags+1)...)
	if !errors.Is(err, oci.TagInvalid) {
		t.Fatalf("put manifest: %v", err)
	}
}

func TestBeganPush(t *testing.T) {
	h := newHouse(t)
	expires := h.clock.Now().Add(5 * time.Minute)
	if _, err := h.StartUpload(t.Context(), "team-a/app", registry.Upload{Token: "jti-1"}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(10 * time.Minute)
	if _, err := h.StartUpload(t.Context(), "team-a/late", registry.Upload{Token: "jti-1"}); err != nil {
		t.Fatal(err)
	}
	check := func(name string, repo oci.RepoName, jti string, want bool) {
		t.Helper()
		got, err := h.BeganPush(context.Background(), repo, registry.PushToken{ID: jti, Expires: expires})
		if err != nil || got != want {
			t.Errorf("%s: %t, %v, want %t", name, got, err, want)
		}
	}
	check("began while it lived", "team-a/app", "jti-1", true)
	check("other token", "team-a/app", "jti-2", false)
	check("no token", "team-a/app", "", false)
	check("other repository", "team-b/app", "jti-1", false)
	check("began after its end", "team-a/late", "jti-1", false)
	h.clock.pass(55*time.Minute - time.Second)
	check("at the end of the grace", "team-a/app", "jti-1", true)
	h.clock.pass(2 * time.Second)
	check("after the grace", "team-a/app", "jti-1", false)
}
