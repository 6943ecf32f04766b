package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

func (r *registry) Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	return r.catalog.FindManifest(ctx, repo, ref)
}

// StatBlob renews after it has found, so that asking for what is absent stays
// a read. It answers also when nothing can be written: readers ask too, and a
// push that relies on a link which the sweep then takes is refused its manifest.
func (r *registry) StatBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	desc, err := r.catalog.FindBlob(ctx, repo, d)
	if err != nil {
		return oci.Descriptor{}, err
	}
	if err := r.catalog.RenewLink(ctx, repo, d); errors.Is(err, oci.BlobUnknown) {
		return oci.Descriptor{}, err
	} else if err != nil && ctx.Err() == nil && !r.unrenewed.Swap(true) {
		r.log.ErrorContext(ctx, "leases are not renewed, and the next times go unmentioned: give the database room to write, or pushes may have to send blobs again",
			"err", err)
	}
	return desc, nil
}

func (r *registry) OpenBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (blob.Reader, error) {
	if _, err := r.catalog.FindBlob(ctx, repo, d); err != nil {
		return nil, err
	}
	reader, err := r.blobs.Open(ctx, d)
	if !errors.Is(err, oci.BlobUnknown) {
		return reader, err
	}
	// A fact without bytes is our fault, not the client's, unless the link was
	// deleted between the two look-ups.
	if _, err := r.catalog.FindBlob(ctx, repo, d); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("open blob %s of %s: linked, but its bytes are missing", d, repo)
}
