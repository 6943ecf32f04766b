package distribution

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
)

// deleteManifest removes a tag alone, or a manifest with every tag on it
// (end-9).
func (c *call) deleteManifest() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	if d := c.ref.Digest(); d != "" {
		err = view.DeleteManifest(c.changing(c.event(ledger.Delete, "delete-manifest")), c.repo, d, nil)
	} else {
		err = view.DeleteTag(c.changing(c.event(ledger.Delete, "delete-tag")), c.repo, c.ref.Tag(), nil)
	}
	if err != nil {
		return err
	}
	c.answer(http.StatusAccepted)
	return nil
}

// deleteBlob removes the repository's link to a blob (end-10).
func (c *call) deleteBlob() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	err = view.DeleteBlob(c.changing(c.event(ledger.Delete, "delete-blob")), c.repo, c.digest)
	if errors.Is(err, oci.Unsupported) { // in use: not now
		c.w.Header().Set("Allow", "GET, HEAD")
	}
	if err != nil {
		return err
	}
	c.answer(http.StatusAccepted)
	return nil
}
