package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// TestSteadyReads counts queries: a read that repeats asks nothing on SQLite.
func TestSteadyReads(t *testing.T) {
	ctx, db := t.Context(), sqliteDB(t)
	c, d := db.Catalog(), blobOf("x")
	must(t, push(ctx, c, "a", d))
	m := manifestOf("m", d)
	must(t, save(ctx, c, "a", m, []oci.Tag{"1"}))
	read := func() {
		for _, ref := range []oci.Ref{oci.ByTag("1"), oci.ByDigest(m.Digest)} {
			_, err := c.FindManifest(ctx, "a", ref)
			must(t, err)
		}
		_, err := c.FindBlob(ctx, "a", d.Digest)
		must(t, err)
		must(t, c.RenewLink(ctx, "a", d.Digest))
		_, err = db.Generation(ctx)
		must(t, err)
	}
	cost := func(f func()) int64 {
		before := db.Queries()
		f()
		return db.Queries() - before
	}
	if n := cost(read); n != 2 {
		t.Errorf("%d queries at first, want 2", n)
	}
	if n := cost(read); n != 0 {
		t.Errorf("%d queries in steady state", n)
	}
	// A write elsewhere changes nothing here, almost surely; one here does.
	must(t, save(ctx, c, "a", manifestOf("two", d), []oci.Tag{"2"}))
	if n := cost(read); n != 2 {
		t.Errorf("%d queries after a write, want 2", n)
	}
	// What a stranger probes costs one query whether it exists or not.
	for _, repo := range []oci.RepoName{"none", "b"} {
		if n := cost(func() { _, _ = c.FindBlob(ctx, repo, d.Digest) }); n != 1 {
			t.Errorf("S-16 %d queries for a blob in %s", n, repo)
		}
	}
	large := manifestOf(strings.Repeat("x", 300<<10), d)
	must(t, save(ctx, c, "a", large, nil))
	for range 2 {
		if n := cost(func() { _, _ = c.FindManifest(ctx, "a", oci.ByDigest(large.Digest)) }); n != 1 {
			t.Errorf("%d queries for a manifest that is too large to keep", n)
		}
	}
}

// TestReadYourWrites: after every kind of write the next read, by anybody, sees
// it, though the answer before was remembered.
func TestReadYourWrites(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c, d := t.Context(), db.Catalog(), blobOf("x")
		m1, m2 := manifestOf("1", d), manifestOf("2", d)
		tag := func(want oci.Manifest, code oci.Code) {
			t.Helper()
			for range 2 {
				got, err := c.FindManifest(ctx, "a", oci.ByTag("t"))
				wantCode(t, err, code)
				if got.Digest != want.Digest {
					t.Fatalf("tag is %q, want %q", got.Digest, want.Digest)
				}
			}
		}
		for range 3 {
			must(t, push(ctx, c, "a", d))
			must(t, save(ctx, c, "a", m1, []oci.Tag{"t"}))
			tag(m1, "")
			must(t, save(ctx, c, "a", m2, []oci.Tag{"t"}))
			tag(m2, "")
			must(t, c.DeleteTag(ctx, "a", "t", registrytest.AnyTag))
			tag(oci.Manifest{}, oci.ManifestUnknown)
			must(t, save(ctx, c, "a", m2, []oci.Tag{"t"}))
			tag(m2, "")
			must(t, c.DeleteManifest(ctx, "a", m2.Digest, registrytest.AnyTag))
			tag(oci.Manifest{}, oci.ManifestUnknown)
			must(t, c.DeleteManifest(ctx, "a", m1.Digest, registrytest.AnyTag))
			_, err := c.FindBlob(ctx, "a", d.Digest)
			must(t, err)
			n, err := db.Sweeps().DropUnusedLinks(ctx, time.Now().Add(time.Hour), 10)
			if must(t, err); n != 1 {
				t.Fatalf("dropped %d links", n)
			}
			_, err = c.FindBlob(ctx, "a", d.Digest)
			wantCode(t, err, oci.BlobUnknown)
			wantCode(t, c.RenewLink(ctx, "a", d.Digest), oci.BlobUnknown)
		}
	})
}

// TestTagOnlyMovesForward: while one writer moves a tag through versions, no
// reader sees one that is older than what any read before it began has seen, and
// none a tag without its manifest.
func TestTagOnlyMovesForward(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		versions := make(map[oci.Digest]int)
		var manifests []oci.Manifest
		for i := range 80 {
			m := manifestOf(fmt.Sprint("version ", i))
			versions[m.Digest] = i
			manifests = append(manifests, m)
		}
		must(t, save(ctx, c, "a", manifests[0], []oci.Tag{"t"}))
		var mu sync.Mutex
		newest := 0
		seen := func() int {
			mu.Lock()
			defer mu.Unlock()
			return newest
		}
		see := func(v int) {
			mu.Lock()
			defer mu.Unlock()
			newest = max(newest, v)
		}
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					before := seen()
					m, err := c.FindManifest(context.Background(), "a", oci.ByTag("t"))
					if err != nil {
						t.Errorf("D-10 %v", err)
						return
					}
					v := versions[m.Digest]
					if v < before {
						t.Errorf("D-10 version %d after version %d was seen", v, before)
						return
					}
					see(v)
				}
			})
		}
		for i, m := range manifests {
			must(t, save(ctx, c, "a", m, []oci.Tag{"t"}))
			see(i)
		}
		close(stop)
		group.Wait()
	})
}

// TestTwoWritersOfATag: the last that is acknowledged wins.
func TestTwoWritersOfATag(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		c := db.Catalog()
		together(4, func(i int) bool {
			for j := range 20 {
				m := manifestOf(fmt.Sprint(i, " ", j))
				if err := save(context.Background(), c, "a", m, []oci.Tag{"shared", oci.Tag(fmt.Sprint("mine", i))}); err != nil {
					t.Error(err)
				}
				got, err := c.FindManifest(context.Background(), "a", oci.ByTag(oci.Tag(fmt.Sprint("mine", i))))
				if err != nil || got.Digest != m.Digest {
					t.Errorf("read of one's own write: %v, %v", got.Digest, err)
				}
				if _, err := c.FindManifest(context.Background(), "a", oci.ByTag("shared")); err != nil {
					t.Error(err)
				}
				if rand.IntN(4) == 0 {
					if err := c.DeleteTag(context.Background(), "a", oci.Tag(fmt.Sprint("mine", i)), registrytest.AnyTag); err != nil && !errors.Is(err, oci.ManifestUnknown) {
						t.Error(err)
					}
				}
			}
			return true
		})
		last := manifestOf("last")
		must(t, save(t.Context(), c, "a", last, []oci.Tag{"shared"}))
		got, err := c.FindManifest(t.Context(), "a", oci.ByTag("shared"))
		if must(t, err); got.Digest != last.Digest {
			t.Error("an older write won")
		}
	})
}
