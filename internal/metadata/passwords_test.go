package metadata_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

func TestNetworks(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob")))
		names := func(network string, since time.Time, limit int, want ...string) {
			t.Helper()
			got, err := d.NamesAt(ctx, network, since, limit)
			must(t, err)
			if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, want) {
				t.Errorf("at %s: %v, want %v", network, list, want)
			}
		}
		network := func(i int) string { return fmt.Sprintf("192.0.2.%d/32", i) }
		names(network(0), created, 10)
		for i := range 4 {
			must(t, d.NoteNetwork(ctx, "uid-alice", network(i), created.Add(time.Duration(i)*time.Minute), 3))
		}
		must(t, d.NoteNetwork(ctx, "uid-bob", network(2), created, 3))
		must(t, d.NoteNetwork(ctx, "nobody", network(2), created, 3)) // removed meanwhile
		names(network(0), created, 10)                                // the oldest went
		names(network(1), created, 10, "alice")
		names(network(2), created, 10, "alice", "bob")
		names(network(2), created, 1, "alice") // the newest
		names(network(2), created.Add(time.Second), 10, "alice")
		names(network(3), created.Add(time.Hour), 10)
		names("nul\x00", created, 10)

		later := created.Add(time.Hour)
		must(t, d.NoteNetwork(ctx, "uid-alice", network(1), later, 3)) // again: no new row
		got, err := d.NamesAt(ctx, network(1), created, 10)
		if must(t, err); !got["alice"].Equal(later) {
			t.Errorf("noted %v", got)
		}
		names(network(2), created, 10, "alice", "bob")
		must(t, d.RemoveAccount(ctx, "uid-alice"))
		names(network(1), created, 10)
	})
}
