package blobtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

var lists = []examination{
	{"lists", testLists},
	{"lists that end early", testListsEnd},
	{"removal during a list", testListRemoval},
}

// fill stores n blobs and n stagings.
func fill(t *testing.T, s blob.Store, n int) (map[oci.Digest]int64, []string) {
	t.Helper()
	sizes, keys := map[oci.Digest]int64{}, []string{}
	for i := range n {
		b := content(1000 + i)
		d := push(t, s, "list", b)
		sizes[d] = int64(len(b))
		key := fmt.Sprintf("key-%03d", i)
		write(t, s, key, b)
		keys = append(keys, key)
	}
	return sizes, keys
}

func testLists(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	if len(staged(t, s)) != 0 || len(sealed(t, s)) != 0 {
		t.Error("a new store is not empty")
	}
	sizes, keys := fill(t, s, 20)
	long := content(20)
	write(t, s, "list", long)
	if err := seal(t, s, "list", digestOf(oci.SHA512, long)); err != nil {
		t.Fatal(err)
	}
	sizes[digestOf(oci.SHA512, long)] = 20
	open1 := stage(t, s, "open")
	defer open1.Close()
	keys = append(keys, "open")
	for _, s := range []blob.Store{s, open(t)} {
		if got := sealed(t, s); !maps.Equal(got, sizes) {
			t.Errorf("All: %v, want %v", got, sizes)
		}
		if got := staged(t, s); !slices.Equal(got, keys) {
			t.Errorf("Staged: %q, want %q", got, keys)
		}
	}
}

func testListsEnd(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	fill(t, s, 3)
	for range s.All(t.Context()) {
		break
	}
	for range s.Staged(t.Context()) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.All(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("All: error %v, want %v", err, context.Canceled)
		}
	}
	for _, err := range s.Staged(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Staged: error %v, want %v", err, context.Canceled)
		}
	}
}

// testListRemoval removes each name as it comes, as the sweep does.
func testListRemoval(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	fill(t, s, 20)
	for info, err := range s.All(t.Context()) {
		if err := errors.Join(err, s.Delete(t.Context(), info.Digest)); err != nil {
			t.Fatal(err)
		}
	}
	for info, err := range s.Staged(t.Context()) {
		if err := errors.Join(err, s.Unstage(t.Context(), info.Key)); err != nil {
			t.Fatal(err)
		}
	}
	if keys, sizes := staged(t, s), sealed(t, s); len(keys) != 0 || len(sizes) != 0 {
		t.Errorf("left: %q and %v", keys, sizes)
	}
}
