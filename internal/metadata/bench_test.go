package metadata_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// benchEach runs f on both databases. The PostgreSQL of the tests does not
// flush, so its writes are cheaper than a real server's.
func benchEach(b *testing.B, f func(b *testing.B, c registry.Catalog)) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": metadatatest.SQLite, "postgres": metadatatest.Postgres} {
		b.Run(name, func(b *testing.B) { f(b, metadatatest.Open(b, url(b), metadata.Options{}).Catalog()) })
	}
}

func BenchmarkFindManifest(b *testing.B) {
	benchEach(b, func(b *testing.B, c registry.Catalog) {
		const many = 2000
		must(b, push(b.Context(), c, "a", blobOf("x")))
		for i := range many {
			must(b, save(b.Context(), c, oci.RepoName(fmt.Sprint("r", i%50)), indexOf(fmt.Sprint(i)), []oci.Tag{oci.Tag(fmt.Sprint("t", i))}))
		}
		b.Run("hot", func(b *testing.B) {
			for b.Loop() {
				if _, err := c.FindManifest(b.Context(), "r0", oci.ByTag("t0")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("cold", func(b *testing.B) {
			large := manifestOf(strings.Repeat("x", 257<<10), blobOf("x")) // too large to keep
			must(b, save(b.Context(), c, "a", large, []oci.Tag{"large"}))
			for b.Loop() {
				if _, err := c.FindManifest(b.Context(), "a", oci.ByTag("large")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("absent", func(b *testing.B) {
			for b.Loop() {
				if _, err := c.FindBlob(b.Context(), "r0", blobOf("absent").Digest); err == nil {
					b.Fatal("found")
				}
			}
		})
	})
}

// parallel runs f b.N times from n writers.
func parallel(b *testing.B, n int, f func(i int64) error) {
	var next atomic.Int64
	b.ResetTimer()
	together(n, func(int) bool {
		for {
			i := next.Add(1)
			if i > int64(b.N) {
				return true
			}
			if err := f(i); err != nil {
				b.Error(err)
				return false
			}
		}
	})
}

func BenchmarkSaveManifest(b *testing.B) {
	benchEach(b, func(b *testing.B, c registry.Catalog) {
		var blobs []oci.Descriptor
		for i := range 6 {
			blobs = append(blobs, blobOf(fmt.Sprint(i)))
			must(b, push(b.Context(), c, "a", blobs[i]))
		}
		for _, n := range []int{1, 8, 16} {
			b.Run(fmt.Sprint("writers=", n), func(b *testing.B) {
				parallel(b, n, func(i int64) error {
					return save(context.Background(), c, "a", manifestOf(fmt.Sprint(n, b.N, i), blobs...), []oci.Tag{oci.Tag(fmt.Sprint("t", i%100))})
				})
			})
		}
	})
}

func BenchmarkLinkBlob(b *testing.B) {
	benchEach(b, func(b *testing.B, c registry.Catalog) {
		for _, n := range []int{1, 8, 16} {
			b.Run(fmt.Sprint("writers=", n), func(b *testing.B) {
				parallel(b, n, func(i int64) error {
					return push(context.Background(), c, oci.RepoName(fmt.Sprint("r", i%10)), blobOf(fmt.Sprint(n, b.N, i)))
				})
			})
		}
	})
}
