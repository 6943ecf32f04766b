package registry

import (
	"context"
	"iter"

	"github.com/sallyport/sallyport/internal/oci"
)

func (r *registry) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	return r.catalog.Repositories(ctx, after, prefix)
}

func (r *registry) Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error] {
	return r.catalog.Tags(ctx, repo, after)
}

func (r *registry) Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	return r.catalog.Referrers(ctx, repo, subject, after)
}

func (r *registry) Holders(ctx context.Context, d oci.Digest) iter.Seq2[oci.RepoName, error] {
	return r.catalog.Holders(ctx, d)
}
