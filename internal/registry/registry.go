// Package registry owns the rules of push, pull, tag and delete: the Registry
// that /v2/ speaks to, the Catalog it remembers with, and its wrapper Guard.
package registry

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// Limits on upload sessions.
const (
	// UploadTTL is how long an upload session lives. The sweep's grace period
	// is longer.
	UploadTTL = 12 * time.Hour
	// PushGrace is how long after its end a token still serves a push that
	// began while it lived.
	PushGrace = time.Hour
	// MaxUploads bounds the sessions one owner may have open at a time.
	MaxUploads = 500
	// MaxTags is how many tags one PUT of a manifest may set (end-7b).
	MaxTags = 100
)

// A Registry is everything /v2/ can do, without HTTP.
//
// Implementations and wrappers are safe for concurrent use. A method that has
// returned nil has made its effect durable (StartUpload and CancelUpload
// excepted: losing a session costs the client a restart). Sizes and offsets are
// bytes. Beside the errors named, oci.StorageFull can come from every Pusher
// method.
type Registry interface {
	Puller
	Uploader
	Pusher
	Lister
	Deleter
}

// A Puller reads.
type Puller interface {
	// Manifest returns a manifest exactly as it was pushed (end-3).
	// Errors: oci.NameUnknown, oci.ManifestUnknown.
	Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error)

	// StatBlob returns the descriptor of a blob that repo links to (end-2,
	// HEAD) and renews its lease, since a push may rely on the answer. Bytes
	// that are stored but not linked from repo are oci.BlobUnknown.
	StatBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error)

	// OpenBlob opens a blob that repo links to (end-2, GET). The caller closes
	// it. Errors: as StatBlob.
	OpenBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (blob.Reader, error)
}

// An UploadID names a push session; it is unguessable and safe in a path.
type UploadID string

// An Upload selects a push session as its owner. A session belongs to one
// repository and one owner: to anybody else it is oci.BlobUploadUnknown. Guard
// fills Owner and Token; a door passes the ID alone.
type Upload struct {
	ID    UploadID
	Owner string // the principal's UID, or "" for an unguarded caller
	Token string // the jti of the token that StartUpload came with
}

// An Uploader receives bytes. One request at a time may write a session: to
// another one that needs its bytes it is oci.RangeInvalid meanwhile.
type Uploader interface {
	// StartUpload opens a session that lives for UploadTTL (end-4a); u.ID is
	// ignored and made. Errors: oci.TooManyRequests beyond MaxUploads.
	StartUpload(ctx context.Context, repo oci.RepoName, u Upload) (UploadID, error)

	// UploadSize reports the bytes received so far (end-13).
	// Errors: oci.BlobUploadUnknown.
	UploadSize(ctx context.Context, repo oci.RepoName, u Upload) (int64, error)

	// AppendUpload writes c at its offset and returns the new size (end-5).
	// Unless c.At equals the present size it writes nothing and returns
	// oci.RangeInvalid beside the present size; the session stays as it was.
	// Bytes received before a broken body stay. After oci.StorageFull the
	// session is gone.
	AppendUpload(ctx context.Context, repo oci.RepoName, u Upload, c Chunk) (int64, error)

	// FinishUpload verifies want, publishes the blob and links it to repo
	// (end-6). Errors: oci.BlobUploadUnknown, oci.DigestInvalid (the session
	// is then gone, as after oci.StorageFull).
	FinishUpload(ctx context.Context, repo oci.RepoName, u Upload, want oci.Digest) (oci.Descriptor, error)

	// CancelUpload forgets a session and frees its bytes (end-14).
	// Errors: oci.BlobUploadUnknown; oci.RangeInvalid while another request
	// writes it, and the session then stays.
	CancelUpload(ctx context.Context, repo oci.RepoName, u Upload) error

	// BeganPush reports whether the token jti opened an upload session in repo,
	// no longer than PushGrace after the token's end.
	BeganPush(ctx context.Context, repo oci.RepoName, t PushToken) (bool, error)
}

// A PushToken is a token whose end has come during a push.
type PushToken struct {
	ID      string // jti
	Expires time.Time
}

// A Chunk is a part of an upload.
type Chunk struct {
	At   int64 // offset of the first byte; AtEnd appends wherever the end is
	Body interface{ Read([]byte) (int, error) }
}

// AtEnd as Chunk.At appends at the present end, as a PATCH without
// Content-Range does.
const AtEnd int64 = -1

// A BlobAt is a blob in a repository. An empty Repo means any repository that
// the caller may pull from (end-11 without "from").
type BlobAt struct {
	Repo   oci.RepoName
	Digest oci.Digest
}

// A TagJudge says whether a tag may be changed: access.CreateTag where there is
// none, access.MoveTag where it is on another manifest, access.Delete where it
// goes. "" is the manifest itself that has no tag. It is asked in the
// transaction that makes the change, so that nothing happens between the answer
// and the effect; it may be asked more than once, answers from memory, and its
// error refuses the whole request. Guard fills it in; a door passes nil. A nil
// judge refuses, so that no way to write a tag is open because nobody thought
// of it.
type TagJudge func(t oci.Tag, change access.Action) error

// Ask asks j about one tag.
func (j TagJudge) Ask(t oci.Tag, change access.Action) error {
	if j == nil {
		return fmt.Errorf("%s %s: nobody decides about tags here", change, t)
	}
	return j(t, change)
}

// A TagChange is what a push did to one tag.
type TagChange struct {
	Tag oci.Tag
	// Previous is the manifest that the tag was on before; "" if it was made.
	Previous oci.Digest
}

// A Pushed manifest is one that is stored, and what that did to its tags. A tag
// that was on it already is not among the changes.
type Pushed struct {
	oci.Manifest
	Changes []TagChange
}

// A Pusher publishes.
type Pusher interface {
	// MountBlob links into repo a blob that src.Repo links to (end-11).
	// Errors: oci.BlobUnknown; the door then starts an upload instead.
	MountBlob(ctx context.Context, repo oci.RepoName, src BlobAt) (oci.Descriptor, error)

	// PutManifest checks m, stores it and points tags at it in one step (end-7a,
	// end-7b), if judge allows every change of a tag; else nothing happens.
	// m.Digest must match its bytes.
	// Errors: oci.ManifestInvalid, oci.ManifestTooLarge, oci.ManifestBlobUnknown,
	// oci.DigestInvalid; oci.TagInvalid for more than MaxTags.
	PutManifest(ctx context.Context, repo oci.RepoName, m oci.RawManifest, judge TagJudge, tags ...oci.Tag) (Pushed, error)
}

// A Lister lists in byte order, starting after the given name ("" for the
// first). An error ends a sequence.
type Lister interface {
	// Repositories yields the repositories whose names begin with prefix.
	Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error]

	// Tags yields the tags of repo (end-8b). Errors: oci.NameUnknown.
	Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error]

	// Referrers yields the manifests in repo whose subject is subject (end-12a),
	// ordered by digest. An unknown repository or subject has none.
	// Filtering by artifact type is the door's business.
	Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error]

	// Holders yields the repositories that link to d, in no order that means
	// something.
	Holders(ctx context.Context, d oci.Digest) iter.Seq2[oci.RepoName, error]
}

// A Deleter removes. What is deleted is gone for the next request; the sweep
// frees the bytes.
type Deleter interface {
	// DeleteTag removes the tag alone, if judge allows it.
	// Errors: oci.NameUnknown, oci.ManifestUnknown.
	DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag, judge TagJudge) error
	// DeleteManifest removes the manifest and every tag on it, if judge allows
	// each, or "" where there is none.
	// Errors: oci.NameUnknown, oci.ManifestUnknown.
	DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, judge TagJudge) error
	// DeleteBlob removes the link. Errors: oci.BlobUnknown; oci.Unsupported
	// while a manifest of repo refers to the blob.
	DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error
}
