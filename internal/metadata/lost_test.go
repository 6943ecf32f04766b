package metadata_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// I-19: what takes an account's rights away as a whole ends its uploads, and
// nobody else's.
func TestUploadsEndWithTheAccount(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d, c := t.Context(), db.Directory(), db.Catalog()
		must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob")))
		open := func(name string) registry.UploadID {
			t.Helper()
			id := registry.UploadID(rand.Text())
			must(t, c.SaveUpload(ctx, registry.Session{ID: id, Repo: "a", Owner: "uid-" + name, Token: "jti", Started: time.Now()}))
			return id
		}
		other := open("bob")
		for _, step := range []struct {
			name string
			ends bool
			do   func() error
		}{
			{"enabled as before", false, func() error { return d.SetDisabled(ctx, "uid-alice", false) }},
			{"disabled", true, func() error { return d.SetDisabled(ctx, "uid-alice", true) }},
			{"enabled", true, func() error { return d.SetDisabled(ctx, "uid-alice", false) }},
			{"removed", true, func() error { return d.RemoveAccount(ctx, "uid-alice") }},
		} {
			id := open("alice")
			must(t, step.do())
			_, err := c.FindUpload(ctx, id)
			if step.ends {
				wantCode(t, err, oci.BlobUploadUnknown)
			} else {
				must(t, err)
			}
		}
		_, err := c.FindUpload(ctx, other)
		must(t, err)
	})
}
