package registry

import (
	"context"

	"github.com/sallyport/sallyport/internal/oci"
)

func (r *registry) DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag, judge TagJudge) error {
	return r.catalog.DeleteTag(ctx, repo, t, judge)
}

func (r *registry) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, judge TagJudge) error {
	return r.catalog.DeleteManifest(ctx, repo, d, judge)
}

func (r *registry) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	return r.catalog.DeleteBlob(ctx, repo, d)
}
