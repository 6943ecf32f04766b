package metadata_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
)

// heapInUse returns how many bytes are reachable now, and how many were ever
// allocated.
func heapInUse() (live, ever uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.TotalAlloc
}

// TestReferrersAreBoundedByBytes is R-07: what a listing holds in memory does
// not grow with the number of large referrers, and what the reader does not
// want is neither fetched nor decoded.
func TestReferrersAreBoundedByBytes(t *testing.T) {
	const count, size, mib = 40, 1 << 20, 1 << 20
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		subject := blobOf("subject")
		var wanted []oci.Digest
		for i := range count {
			m := manifestOf(fmt.Sprint("large ", i))
			m.Subject = &subject
			m.Annotations = map[string]string{"x": strings.Repeat(string(rune('a'+i%26)), size)}
			must(t, save(ctx, c, "a", m, nil))
			wanted = append(wanted, m.Digest)
		}
		slices.Sort(wanted)
		before, ever := heapInUse()
		for _, err := range c.Referrers(ctx, "a", subject.Digest, "") {
			must(t, err)
			break
		}
		if _, now := heapInUse(); now-ever > 16*mib {
			t.Errorf("%d MiB allocated for the first of %d referrers", (now-ever)/mib, count)
		}
		var got []oci.Digest
		for d, err := range c.Referrers(ctx, "a", subject.Digest, "") {
			must(t, err)
			if got = append(got, d.Digest); len(d.Annotations["x"]) != size {
				t.Errorf("annotations of %s: %d bytes", d.Digest, len(d.Annotations["x"]))
			}
			if now, _ := heapInUse(); now > before+16*mib {
				t.Fatalf("%d MiB in use for referrer %d", (now-before)/mib, len(got))
			}
		}
		if !slices.Equal(got, wanted) {
			t.Errorf("%d referrers, want %d in order", len(got), count)
		}
	})
}
