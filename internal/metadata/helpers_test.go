package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

const grace = 24 * time.Hour

// A clock is moved by hand.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.us.Store(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

// eachClocked is metadatatest.Each with a clock.
func eachClocked(t *testing.T, f func(t *testing.T, db *metadata.DB, c *clock)) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		c := newClock()
		f(t, metadatatest.Open(t, url, metadata.Options{Now: c.now, Grace: grace}), c)
	})
}

// blobOf returns the descriptor of a blob with the given content.
func blobOf(content string) oci.Descriptor {
	return oci.Descriptor{MediaType: "application/octet-stream", Digest: oci.FromBytes([]byte(content)), Size: int64(len(content))}
}

// manifestOf returns a manifest of blobs; text makes it different from others.
func manifestOf(text string, blobs ...oci.Descriptor) oci.Manifest {
	content := fmt.Appendf(nil, `{"text":%q,"blobs":%d}`, text, len(blobs))
	return oci.Manifest{
		RawManifest: oci.RawManifest{MediaType: oci.MediaTypeImageManifest, Digest: oci.FromBytes(content), Bytes: content},
		Blobs:       blobs,
	}
}

// indexOf returns an index of manifests.
func indexOf(text string, children ...oci.Manifest) oci.Manifest {
	m := manifestOf("index " + text)
	m.MediaType = oci.MediaTypeImageIndex
	for _, c := range children {
		m.Manifests = append(m.Manifests, c.Descriptor())
	}
	return m
}

// push links a blob as an upload does.
func push(ctx context.Context, c registry.Catalog, repo oci.RepoName, d oci.Descriptor) error {
	if err := c.LeaseBlob(ctx, d.Digest); err != nil {
		return err
	}
	return c.LinkBlob(ctx, registry.Session{ID: registry.UploadID("up-" + d.Digest.Hex()), Repo: repo}, d)
}

// save stores a manifest and its tags, whoever may.
func save(ctx context.Context, c registry.Catalog, repo oci.RepoName, m oci.Manifest, tags []oci.Tag) error {
	_, err := c.SaveManifest(ctx, repo, m, tags, registrytest.AnyTag)
	return err
}

// must fails the test for an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCode fails the test unless err has the code, and the client's text holds
// every part. "" wants no error.
func wantCode(t testing.TB, err error, code oci.Code, parts ...string) {
	t.Helper()
	if code == "" {
		must(t, err)
		return
	}
	got, text := oci.CodeOf(err)
	if got != code || !errors.Is(err, code) {
		t.Fatalf("error %v: want code %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Fatalf("client text %q does not name %q", text, part)
		}
	}
}

// all reads a sequence to its end.
func all[T any](t testing.TB, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var out []T
	for v, err := range seq {
		must(t, err)
		out = append(out, v)
	}
	return out
}

// first reads a sequence up to its first error.
func firstError[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// together runs f at once n times and returns how often it was true.
func together(n int, f func(i int) bool) int {
	var yes atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if f(i) {
				yes.Add(1)
			}
		})
	}
	group.Wait()
	return int(yes.Load())
}

// uses returns a use of each id at the same time.
func uses(at time.Time, ids ...string) map[string]account.Use {
	out := make(map[string]account.Use)
	for _, id := range ids {
		out[id] = account.Use{Time: at, Address: "192.0.2.7", Agent: "tests of " + id}
	}
	return out
}
