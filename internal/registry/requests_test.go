package registry_test

import (
	"context"
	"iter"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// requests plays a door: every call is a request of its own, with a new view
// and a token that holds everything on the repositories it concerns.
type requests struct {
	r  registry.Registry
	au access.Authority
}

func (q requests) on(repos ...oci.RepoName) registry.Registry {
	au := q.au
	au.Held = access.Grants{}
	au.Held.Add(access.Catalog, "*")
	for _, repo := range repos {
		au.Held.Add(access.Repository(string(repo)), "pull", "push", "delete")
	}
	return registry.Guard(q.r, au)
}

func (q requests) Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	return q.on(repo).Manifest(ctx, repo, ref)
}

func (q requests) StatBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	return q.on(repo).StatBlob(ctx, repo, d)
}

func (q requests) OpenBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (blob.Reader, error) {
	return q.on(repo).OpenBlob(ctx, repo, d)
}

func (q requests) StartUpload(ctx context.Context, repo oci.RepoName, u registry.Upload) (registry.UploadID, error) {
	return q.on(repo).StartUpload(ctx, repo, u)
}

func (q requests) UploadSize(ctx context.Context, repo oci.RepoName, u registry.Upload) (int64, error) {
	return q.on(repo).UploadSize(ctx, repo, u)
}

func (q requests) AppendUpload(ctx context.Context, repo oci.RepoName, u registry.Upload, c registry.Chunk) (int64, error) {
	return q.on(repo).AppendUpload(ctx, repo, u, c)
}

func (q requests) FinishUpload(ctx context.Context, repo oci.RepoName, u registry.Upload, want oci.Digest) (oci.Descriptor, error) {
	return q.on(repo).FinishUpload(ctx, repo, u, want)
}

func (q requests) CancelUpload(ctx context.Context, repo oci.RepoName, u registry.Upload) error {
	return q.on(repo).CancelUpload(ctx, repo, u)
}

func (q requests) BeganPush(ctx context.Context, repo oci.RepoName, t registry.PushToken) (bool, error) {
	return q.on(repo).BeganPush(ctx, repo, t)
}

func (q requests) MountBlob(ctx context.Context, repo oci.RepoName, src registry.BlobAt) (oci.Descriptor, error) {
	return q.on(repo, src.Repo).MountBlob(ctx, repo, src)
}

func (q requests) PutManifest(ctx context.Context, repo oci.RepoName, m oci.RawManifest, _ registry.TagJudge, tags ...oci.Tag) (registry.Pushed, error) {
	return q.on(repo).PutManifest(ctx, repo, m, nil, tags...)
}

func (q requests) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	return q.on().Repositories(ctx, after, prefix)
}

func (q requests) Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error] {
	return q.on(repo).Tags(ctx, repo, after)
}

func (q requests) Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	return q.on(repo).Referrers(ctx, repo, subject, after)
}

func (q requests) Holders(ctx context.Context, d oci.Digest) iter.Seq2[oci.RepoName, error] {
	return q.on().Holders(ctx, d)
}

func (q requests) DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag, _ registry.TagJudge) error {
	return q.on(repo).DeleteTag(ctx, repo, t, nil)
}

func (q requests) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, _ registry.TagJudge) error {
	return q.on(repo).DeleteManifest(ctx, repo, d, nil)
}

func (q requests) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	return q.on(repo).DeleteBlob(ctx, repo, d)
}
