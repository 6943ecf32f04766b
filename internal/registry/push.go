package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// uploadIDBytes is the randomness of an upload id, which is also the key its
// bytes are staged under: 160 bits, written in hex so that a path and any file
// system keep it as it is.
const uploadIDBytes = 20

func (r *registry) StartUpload(ctx context.Context, repo oci.RepoName, u Upload) (UploadID, error) {
	var raw [uploadIDBytes]byte
	if _, err := io.ReadFull(r.rand, raw[:]); err != nil {
		return "", fmt.Errorf("make upload id: %w", err)
	}
	id := UploadID(hex.EncodeToString(raw[:]))
	s := Session{ID: id, Repo: repo, Owner: u.Owner, Token: u.Token, Started: r.now()}
	if err := r.catalog.SaveUpload(ctx, s); err != nil {
		return "", err
	}
	return id, nil
}

// errNoSession has one text for every reason, so that it tells nothing about
// the uploads of others.
var errNoSession = oci.Errorf(oci.BlobUploadUnknown, "no such upload: it was finished or cancelled, has expired, or is not yours")

// session returns the open session that u names. Somebody else's and one of
// another repository cost and answer what a missing one does.
func (r *registry) session(ctx context.Context, repo oci.RepoName, u Upload) (Session, error) {
	s, err := r.catalog.FindUpload(ctx, u.ID)
	if errors.Is(err, oci.BlobUploadUnknown) || err == nil && (s.Repo != repo || s.Owner != u.Owner) {
		return Session{}, errNoSession
	}
	return s, err
}

func (r *registry) stage(ctx context.Context, id UploadID) (blob.Staging, error) {
	staging, err := r.blobs.Stage(ctx, string(id))
	if err != nil {
		return nil, fmt.Errorf("stage upload: %w", busy(err))
	}
	return staging, nil
}

// receive returns the open session that u names and its staging, whose caller
// closes it. A session that there is no room to begin with is over.
func (r *registry) receive(ctx context.Context, repo oci.RepoName, u Upload) (Session, blob.Staging, error) {
	s, err := r.session(ctx, repo, u)
	if err != nil {
		return Session{}, nil, err
	}
	staging, err := r.stage(ctx, s.ID)
	if errors.Is(err, oci.StorageFull) {
		r.forget(ctx, s)
	}
	return s, staging, err
}

func (r *registry) UploadSize(ctx context.Context, repo oci.RepoName, u Upload) (int64, error) {
	s, err := r.session(ctx, repo, u)
	if err != nil {
		return 0, err
	}
	staging, err := r.stage(ctx, s.ID)
	if err != nil {
		return 0, err
	}
	return staging.Size(), staging.Close()
}

func (r *registry) AppendUpload(ctx context.Context, repo oci.RepoName, u Upload, c Chunk) (size int64, err error) {
	s, staging, err := r.receive(ctx, repo, u)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, staging.Close()) }()
	if size := staging.Size(); c.At != AtEnd && c.At != size {
		return size, oci.Errorf(oci.RangeInvalid, "chunk begins at byte %d, but %d bytes have been received: go on at byte %d", c.At, size, size)
	}
	if _, err := staging.ReadFrom(c.Body); err != nil {
		size := staging.Size()
		r.abandon(ctx, s, staging, err, size)
		return size, fmt.Errorf("append to upload: %w", err)
	}
	return staging.Size(), nil
}

// abandon ends a session if err leaves no hope for it, whether or not the client
// still listens: when there is no room, its bytes serve nobody and would take
// what others wait for; when Seal has discarded some of its size bytes, it can
// never match. The bytes go first, since on a full disk nothing else may be
// possible, and nobody else has the staging until the session has gone too.
// What fails here is the sweep's.
func (r *registry) abandon(ctx context.Context, s Session, staging blob.Staging, err error, size int64) {
	full, wrong := errors.Is(err, oci.StorageFull), errors.Is(err, oci.DigestInvalid)
	if !full && !wrong && staging.Size() == size {
		return
	}
	if err := staging.Discard(ctx); err != nil {
		r.log.WarnContext(ctx, "free a failed upload", "upload", s.ID, "err", err)
	}
	r.forget(ctx, s)
}

// FinishUpload keeps this order: the lease stops the sweep from taking bytes
// of this digest, old or new; Seal makes the bytes durable; only then does a
// fact say that they are there. A crash in between leaves bytes without a
// fact, which the sweep finds, never a fact without bytes.
func (r *registry) FinishUpload(ctx context.Context, repo oci.RepoName, u Upload, want oci.Digest) (_ oci.Descriptor, err error) {
	s, staging, err := r.receive(ctx, repo, u)
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, staging.Close()) }()
	d := oci.Descriptor{Digest: want, Size: staging.Size()}
	if err := r.publish(ctx, staging, want); err != nil {
		r.abandon(ctx, s, staging, err, d.Size)
		return oci.Descriptor{}, err
	}
	// The bytes have left the session: a client that leaves now does not keep
	// them from being linked, and one that failed must begin anew.
	if err := r.catalog.LinkBlob(context.WithoutCancel(ctx), s, d); err != nil {
		r.forget(ctx, s)
		return oci.Descriptor{}, fmt.Errorf("link blob %s: %w", want, err)
	}
	return d, nil
}

// publish leases d and seals the staged bytes as d.
func (r *registry) publish(ctx context.Context, staging blob.Staging, d oci.Digest) error {
	if err := r.catalog.LeaseBlob(ctx, d); err != nil {
		return fmt.Errorf("lease blob %s: %w", d, err)
	}
	if err := staging.Seal(ctx, d); err != nil {
		return fmt.Errorf("seal upload: %w", err)
	}
	return nil
}

// CancelUpload frees the bytes first, which a full disk does not prevent. A
// session without bytes does no harm and can be cancelled again.
func (r *registry) CancelUpload(ctx context.Context, repo oci.RepoName, u Upload) error {
	s, err := r.session(ctx, repo, u)
	if err != nil {
		return err
	}
	if err := r.blobs.Unstage(ctx, string(s.ID)); err != nil {
		return fmt.Errorf("unstage upload: %w", busy(err))
	}
	if err := r.catalog.DropUpload(ctx, s.ID); err != nil {
		return fmt.Errorf("drop upload: %w", err)
	}
	return nil
}

// forget drops a session whose bytes are gone, whether or not the client still
// listens. Failing is not worth an error: what is left is an empty session that
// ends by itself.
func (r *registry) forget(ctx context.Context, s Session) {
	if err := r.catalog.DropUpload(context.WithoutCancel(ctx), s.ID); err != nil {
		r.log.WarnContext(ctx, "upload not dropped", "upload", s.ID, "err", err)
	}
}

func (r *registry) BeganPush(ctx context.Context, repo oci.RepoName, t PushToken) (bool, error) {
	if t.ID == "" || r.now().After(t.Expires.Add(PushGrace)) {
		return false, nil
	}
	return r.catalog.BeganPush(ctx, repo, t.ID, t.Expires)
}

func (r *registry) MountBlob(ctx context.Context, repo oci.RepoName, src BlobAt) (oci.Descriptor, error) {
	if src.Repo == "" {
		holder, err := r.holder(ctx, src.Digest)
		if err != nil {
			return oci.Descriptor{}, err
		}
		src.Repo = holder
	}
	return r.catalog.MountBlob(ctx, repo, src)
}

// holder returns the first repository that links to d. Errors: oci.BlobUnknown.
func (r *registry) holder(ctx context.Context, d oci.Digest) (oci.RepoName, error) {
	for repo, err := range r.catalog.Holders(ctx, d) {
		return repo, err
	}
	return "", oci.BlobUnknown
}

func (r *registry) PutManifest(ctx context.Context, repo oci.RepoName, raw oci.RawManifest, judge TagJudge, tags ...oci.Tag) (Pushed, error) {
	if len(raw.Bytes) > oci.MaxManifestSize {
		return Pushed{}, oci.Errorf(oci.ManifestTooLarge, "manifest has %d bytes: the limit is %d", len(raw.Bytes), oci.MaxManifestSize)
	}
	if len(tags) > MaxTags {
		return Pushed{}, oci.Errorf(oci.TagInvalid, "%d tags at once: the limit is %d", len(tags), MaxTags)
	}
	if !raw.Digest.Matches(raw.Bytes) {
		return Pushed{}, oci.Errorf(oci.DigestInvalid, "the manifest's bytes do not have the digest %s", raw.Digest)
	}
	m, err := oci.ParseManifest(raw)
	if err != nil {
		return Pushed{}, err
	}
	changes, err := r.catalog.SaveManifest(ctx, repo, m, tags, judge)
	if err != nil {
		return Pushed{}, fmt.Errorf("save manifest %s: %w", raw.Digest, err)
	}
	return Pushed{m, changes}, nil
}
