package distribution_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// discard is a ResponseWriter that is used again for every request, as little
// of the benchmark as can be.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) Write(p []byte) (int, error) { return len(p), nil }
func (w *discard) WriteHeader(int)             {}

// BenchmarkPull measures what the door adds to the work of net/http: parsing,
// Guard, the registry's own work on SQLite and files, and headers. "bare" is a
// handler that writes the same bytes and headers. The token is verified
// beforehand: that is another room's figure.
func BenchmarkPull(b *testing.B) {
	g, r := newRooms(b)
	content := []byte(`{"schemaVersion":2,"manifests":[],"annotations":{"a":"` + strings.Repeat("x", 900) + `"}}`)
	m := oci.RawManifest{MediaType: oci.MediaTypeImageIndex, Digest: oci.FromBytes(content), Bytes: content}
	if _, err := r.PutManifest(b.Context(), "team-a/app", m, registrytest.AnyTag, "v1"); err != nil {
		b.Fatal(err)
	}
	id, err := r.StartUpload(b.Context(), "team-a/app", registry.Upload{})
	if err != nil {
		b.Fatal(err)
	}
	u := registry.Upload{ID: id}
	if _, err := r.AppendUpload(b.Context(), "team-a/app", u, registry.Chunk{Body: bytes.NewReader(content)}); err != nil {
		b.Fatal(err)
	}
	if _, err := r.FinishUpload(b.Context(), "team-a/app", u, m.Digest); err != nil {
		b.Fatal(err)
	}
	au, err := g.Authorize(b.Context(), token("alice", pushApp))
	if err != nil {
		b.Fatal(err)
	}
	door := distribution.New(r, fixed{au}, distribution.Options{})
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", m.MediaType)
		w.Header().Set("Docker-Content-Digest", string(m.Digest))
		w.Header().Set("Content-Length", "969")
		w.Write(m.Bytes)
	})
	for _, c := range []struct {
		name, target string
		handler      http.Handler
	}{
		{"bare", "/v2/team-a/app/manifests/" + string(m.Digest), bare},
		{"manifest by digest", "/v2/team-a/app/manifests/" + string(m.Digest), door},
		{"manifest by tag", "/v2/team-a/app/manifests/v1", door},
		{"blob of 1 KiB", "/v2/team-a/app/blobs/" + string(m.Digest), door},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest("GET", c.target, nil)
			r.Header.Set("Authorization", "Bearer x")
			b.ReportAllocs()
			for b.Loop() {
				w := &discard{make(http.Header)}
				c.handler.ServeHTTP(w, r)
				if w.header["Docker-Content-Digest"] == nil {
					b.Fatal(w.header)
				}
			}
		})
	}
}

type fixed struct{ access.Authority }

func (f fixed) Authorize(context.Context, string) (access.Authority, error) { return f.Authority, nil }
