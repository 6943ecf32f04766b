package registry

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// maxHolders bounds how many repositories a mount without "from" looks at.
const maxHolders = 1000

// Guard returns a view of r that can do, and list, only what a allows. Doors
// work on views; a handler never holds the registry itself.
//
// Every check comes before any look-up, so that an answer to somebody without
// the right says nothing about what exists; only their own upload is then ended. What can be part of a push is
// checked so that the push outlives its token (access.Authority.CheckPush). An
// upload session belongs to a's principal, whatever Upload.Owner says.
//
// Guard embeds nothing: a new method of Registry does not compile until it is
// decided here what it must ask.
func Guard(r Registry, a access.Authority) Registry { return guard{r, a} }

type guard struct {
	r  Registry
	au access.Authority
}

// push checks a request that can be part of a push to repo.
func (g guard) push(ctx context.Context, a access.Action, repo oci.RepoName) error {
	return g.au.CheckPush(a, repo, func() (bool, error) {
		return g.r.BeganPush(ctx, repo, g.token())
	})
}

// pushTo checks a request to an upload session. A session dies with its owner's
// right: one that is asked for in vain ends, so that a right given again does
// not revive it. This too costs the same whether there is such a session or not.
func (g guard) pushTo(ctx context.Context, repo oci.RepoName, u Upload) error {
	err := g.push(ctx, access.Push, repo)
	if _, lost := errors.AsType[*access.Denied](err); lost {
		// A session that another request is writing stays until the next one.
		_ = g.r.CancelUpload(context.WithoutCancel(ctx), repo, g.own(u))
	}
	return err
}

func (g guard) token() PushToken {
	return PushToken{ID: g.au.Token.ID, Expires: g.au.Token.Expires}
}

// own returns u as an upload of the guard's principal and token.
func (g guard) own(u Upload) Upload {
	return Upload{ID: u.ID, Owner: g.au.Identity.Principal.UID, Token: g.au.Token.ID}
}

func (g guard) Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	if err := g.push(ctx, access.Pull, repo); err != nil {
		return oci.RawManifest{}, err
	}
	return g.r.Manifest(ctx, repo, ref)
}

func (g guard) StatBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	if err := g.push(ctx, access.Pull, repo); err != nil {
		return oci.Descriptor{}, err
	}
	return g.r.StatBlob(ctx, repo, d)
}

func (g guard) OpenBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (blob.Reader, error) {
	if err := g.push(ctx, access.Pull, repo); err != nil {
		return nil, err
	}
	return g.r.OpenBlob(ctx, repo, d)
}

func (g guard) StartUpload(ctx context.Context, repo oci.RepoName, u Upload) (UploadID, error) {
	if err := g.push(ctx, access.Push, repo); err != nil {
		return "", err
	}
	return g.r.StartUpload(ctx, repo, g.own(u))
}

func (g guard) UploadSize(ctx context.Context, repo oci.RepoName, u Upload) (int64, error) {
	if err := g.pushTo(ctx, repo, u); err != nil {
		return 0, err
	}
	return g.r.UploadSize(ctx, repo, g.own(u))
}

func (g guard) AppendUpload(ctx context.Context, repo oci.RepoName, u Upload, c Chunk) (int64, error) {
	if err := g.pushTo(ctx, repo, u); err != nil {
		return 0, err
	}
	return g.r.AppendUpload(ctx, repo, g.own(u), c)
}

func (g guard) FinishUpload(ctx context.Context, repo oci.RepoName, u Upload, want oci.Digest) (oci.Descriptor, error) {
	if err := g.pushTo(ctx, repo, u); err != nil {
		return oci.Descriptor{}, err
	}
	return g.r.FinishUpload(ctx, repo, g.own(u), want)
}

func (g guard) CancelUpload(ctx context.Context, repo oci.RepoName, u Upload) error {
	if err := g.pushTo(ctx, repo, u); err != nil {
		return err
	}
	return g.r.CancelUpload(ctx, repo, g.own(u))
}

// BeganPush answers for the guard's own token alone.
func (g guard) BeganPush(ctx context.Context, repo oci.RepoName, _ PushToken) (bool, error) {
	if err := g.push(ctx, access.Push, repo); err != nil {
		return false, err
	}
	return g.r.BeganPush(ctx, repo, g.token())
}

func (g guard) PutManifest(ctx context.Context, repo oci.RepoName, m oci.RawManifest, _ TagJudge, tags ...oci.Tag) (Pushed, error) {
	if err := g.push(ctx, access.Push, repo); err != nil {
		return Pushed{}, err
	}
	return g.r.PutManifest(ctx, repo, m, g.judge(repo), tags...)
}

// judge decides about the tags of repo as the authority does.
func (g guard) judge(repo oci.RepoName) TagJudge {
	return func(t oci.Tag, change access.Action) error { return g.au.CheckTag(change, repo, t) }
}

// nowhere is a digest that no bytes have: looking for it takes the same steps
// as looking for any other that is absent.
const nowhere = oci.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// MountBlob wants push here and pull there. If policy does not give the pull,
// the answer and the steps to it are those of a blob that is not there (S-12);
// if policy gives it and only the token lacks it, the error names everything a
// token needs for this mount.
func (g guard) MountBlob(ctx context.Context, repo oci.RepoName, src BlobAt) (oci.Descriptor, error) {
	if err := g.push(ctx, access.Push, repo); err != nil {
		return oci.Descriptor{}, g.needFrom(err, src.Repo)
	}
	if src.Repo == "" {
		return g.mountAny(ctx, repo, src.Digest)
	}
	if !g.au.May(access.Pull, src.Repo) {
		src.Digest = nowhere
		_, err := g.r.MountBlob(ctx, repo, src)
		if err == nil {
			err = oci.BlobUnknown
		}
		return oci.Descriptor{}, err
	}
	// An expired token was excused for repo above, and this is the same push.
	began := func() (bool, error) { return true, nil }
	if err := g.au.CheckPush(access.Pull, src.Repo, began); err != nil {
		return oci.Descriptor{}, g.needPush(err, repo)
	}
	return g.r.MountBlob(ctx, repo, src)
}

// mountAny mounts from a repository that the principal may pull from. The
// token need not name it: the client could not know.
func (g guard) mountAny(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	src := BlobAt{Digest: d}
	seen := 0
	for holder, err := range g.r.Holders(ctx, d) {
		if err != nil {
			return oci.Descriptor{}, err
		}
		if g.au.May(access.Pull, holder) {
			src.Repo = holder
			break
		}
		if seen++; seen == maxHolders {
			break
		}
	}
	if src.Repo == "" {
		return oci.Descriptor{}, oci.BlobUnknown
	}
	return g.r.MountBlob(ctx, repo, src)
}

// needFrom adds pull on a mount's source to what err says a token needs, where
// asking for it can help: for one who is not known yet, or who may have it.
func (g guard) needFrom(err error, from oci.RepoName) error {
	lacks, ok := errors.AsType[*access.InsufficientScope](err)
	if ok && from != "" && (g.au.Identity.Principal.IsAnonymous() || g.au.May(access.Pull, from)) {
		lacks.Need.Add(access.Repository(string(from)), string(access.Pull))
	}
	return err
}

// needPush adds pull and push on a mount's target, which this token holds and
// its replacement must hold too.
func (g guard) needPush(err error, repo oci.RepoName) error {
	if lacks, ok := errors.AsType[*access.InsufficientScope](err); ok {
		lacks.Need.Add(access.Repository(string(repo)), string(access.Pull), string(access.Push))
	}
	return err
}

// Repositories seeks to the ranges of names that the principal may see, so that
// a page costs what it shows, not what it leaves out.
func (g guard) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	return func(yield func(oci.RepoName, error) bool) {
		if err := g.au.CheckCatalog(); err != nil {
			yield("", err)
			return
		}
		for _, visible := range g.au.VisiblePrefixes() {
			p, ok := narrow(prefix, visible)
			if !ok || p < string(after) && !strings.HasPrefix(string(after), p) {
				continue // all its names are before after
			}
			if !g.yieldVisible(g.r.Repositories(ctx, after, p), yield) {
				return
			}
		}
	}
}

// narrow returns the prefix of the names that have both prefixes, if any have.
func narrow(a, b string) (string, bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	return a, strings.HasPrefix(a, b)
}

// yieldVisible passes on the names that the principal may pull from. It
// reports whether to go on.
func (g guard) yieldVisible(repos iter.Seq2[oci.RepoName, error], yield func(oci.RepoName, error) bool) bool {
	for repo, err := range repos {
		if err != nil {
			yield("", err)
			return false
		}
		if g.au.May(access.Pull, repo) && !yield(repo, nil) {
			return false
		}
	}
	return true
}

func (g guard) Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error] {
	if err := g.au.Check(access.Pull, repo); err != nil {
		return func(yield func(oci.Tag, error) bool) { yield("", err) }
	}
	return g.r.Tags(ctx, repo, after)
}

func (g guard) Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	if err := g.au.Check(access.Pull, repo); err != nil {
		return func(yield func(oci.Descriptor, error) bool) { yield(oci.Descriptor{}, err) }
	}
	return g.r.Referrers(ctx, repo, subject, after)
}

// Holders is a listing like Repositories, and shows as little.
func (g guard) Holders(ctx context.Context, d oci.Digest) iter.Seq2[oci.RepoName, error] {
	return func(yield func(oci.RepoName, error) bool) {
		if err := g.au.CheckCatalog(); err != nil {
			yield("", err)
			return
		}
		g.yieldVisible(g.r.Holders(ctx, d), yield)
	}
}

func (g guard) DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag, _ TagJudge) error {
	if err := g.au.Check(access.Delete, repo); err != nil {
		return err
	}
	return g.r.DeleteTag(ctx, repo, t, g.judge(repo))
}

func (g guard) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, _ TagJudge) error {
	if err := g.au.Check(access.Delete, repo); err != nil {
		return err
	}
	return g.r.DeleteManifest(ctx, repo, d, g.judge(repo))
}

// DeleteBlob also asks about what has no tag: a right to delete some tags alone
// is none to delete blobs.
func (g guard) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	if err := g.au.Check(access.Delete, repo); err != nil {
		return err
	}
	if err := g.au.CheckTag(access.Delete, repo, ""); err != nil {
		return err
	}
	return g.r.DeleteBlob(ctx, repo, d)
}
