package registry

import (
	"context"

	"github.com/sallyport/sallyport/internal/oci"
)

func (r *registry) DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag) error {
	return r.catalog.DeleteTag(ctx, repo, t)
}

func (r *registry) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	return r.catalog.DeleteManifest(ctx, repo, d)
}

func (r *registry) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	return r.catalog.DeleteBlob(ctx, repo, d)
}
