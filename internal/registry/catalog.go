package registry

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// A Catalog remembers which repository holds what. Every method is one
// transaction: it happens whole or not at all, and has reached the disk when
// it returns nil, unless it says "soft".
//
// Links and blobs carry leases. A lease is renewed by whatever a push may rely
// on; the sweep deletes a link or a blob only on the condition, checked in the
// deleting transaction, that its lease has run out.
type Catalog interface {
	Lister
	Deleter
	Uploads

	// SaveManifest stores m with its references, its referrer entry and tags,
	// creating the repository. Every blob in m.Blobs must be linked from repo
	// and every manifest in m.Manifests held by repo, else
	// oci.ManifestBlobUnknown naming the first that is missing. It asks judge
	// about each tag that is made or moved and returns those, sorted by name. Of
	// two who make the same tag at once, one makes it and the other moves it.
	SaveManifest(ctx context.Context, repo oci.RepoName, m oci.Manifest, tags []oci.Tag, judge TagJudge) ([]TagChange, error)

	// FindManifest errors: oci.NameUnknown, oci.ManifestUnknown. The caller does
	// not change the bytes.
	FindManifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error)

	// FindBlob returns digest and size. Errors: oci.BlobUnknown.
	FindBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error)

	// MountBlob links src into repo, creating repo and renewing the lease.
	// src.Repo is not empty. Errors: oci.BlobUnknown.
	MountBlob(ctx context.Context, repo oci.RepoName, src BlobAt) (oci.Descriptor, error)
}

// Uploads are the push sessions, and what makes their blobs safe from the sweep.
type Uploads interface {
	// SaveUpload remembers a session (soft).
	// Errors: oci.TooManyRequests when the owner has MaxUploads open.
	SaveUpload(ctx context.Context, s Session) error

	// FindUpload returns an open session. Errors: oci.BlobUploadUnknown, also
	// after it was linked, dropped, or is older than UploadTTL.
	FindUpload(ctx context.Context, id UploadID) (Session, error)

	// DropUpload ends a session (soft); for BeganPush it is a finished one.
	DropUpload(ctx context.Context, id UploadID) error

	// BeganPush reports whether a session in repo was started with token jti at
	// or before the given time, whether it is still open or was finished in the
	// last 24 hours.
	BeganPush(ctx context.Context, repo oci.RepoName, jti string, before time.Time) (bool, error)

	// LeaseBlob renews the lease of d, known or not, before its bytes are
	// sealed (soft, but seen by the sweep at once).
	LeaseBlob(ctx context.Context, d oci.Digest) error

	// RenewLink renews the leases of repo's link to d and of d, if the link's
	// is older than a quarter of the sweep's grace (soft).
	// Errors: oci.BlobUnknown when the link is gone.
	RenewLink(ctx context.Context, repo oci.RepoName, d oci.Digest) error

	// LinkBlob records that repo holds d, creating repo, renews the lease, and
	// closes the session. Bytes are durable before it is called.
	LinkBlob(ctx context.Context, s Session, d oci.Descriptor) error
}

// A Session is an upload session as it is remembered.
type Session struct {
	ID      UploadID
	Repo    oci.RepoName
	Owner   string
	Token   string
	Started time.Time
}
