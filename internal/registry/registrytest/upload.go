package registrytest

import (
	"bytes"
	"errors"
	"io"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// stands fails unless size bytes have been received.
func (p *player) stands(repo oci.RepoName, u registry.Upload, size int64) {
	p.Helper()
	got, err := p.UploadSize(p.ctx, repo, u)
	p.ok(err, "upload size")
	if got != size {
		p.Fatalf("upload stands at %d, want %d", got, size)
	}
}

// ended fails unless nothing can be done with u in repo any more.
func (p *player) ended(repo oci.RepoName, u registry.Upload, d oci.Digest) {
	p.Helper()
	_, err := p.UploadSize(p.ctx, repo, u)
	p.fails(err, oci.BlobUploadUnknown, "upload size")
	_, err = p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: registry.AtEnd, Body: bytes.NewReader([]byte("x"))})
	p.fails(err, oci.BlobUploadUnknown, "append to upload")
	_, err = p.FinishUpload(p.ctx, repo, u, d)
	p.fails(err, oci.BlobUploadUnknown, "finish upload")
	p.fails(p.CancelUpload(p.ctx, repo, u), oci.BlobUploadUnknown, "cancel upload")
}

var uploadScenarios = []scenario{
	{"upload in chunks", func(p *player) {
		repo, b := p.repo("app"), random(3000)
		u := p.start(repo)
		p.stands(repo, u, 0)
		p.write(repo, u, 0, b[:1000])
		p.write(repo, u, 1000, b[1000:1001])
		p.stands(repo, u, 1001)
		if size := p.write(repo, u, registry.AtEnd, b[1001:]); size != 3000 {
			p.Fatalf("size is %d after the last chunk", size)
		}
		_, err := p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.holds(repo, oci.FromBytes(b), b)
	}},
	{"R-19 chunk out of order", func(p *player) {
		repo, b := p.repo("app"), random(3000)
		u := p.start(repo)
		wrong := func(at int64, stands int64) {
			p.Helper()
			_, err := p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: at, Body: bytes.NewReader(b)})
			p.fails(err, oci.RangeInvalid, "append out of order")
			p.stands(repo, u, stands)
		}
		wrong(1, 0)
		p.write(repo, u, 0, b[:1000])
		for _, at := range []int64{0, 500, 999, 1001, 2000, 1 << 40} {
			wrong(at, 1000)
		}
		p.write(repo, u, 1000, b[1000:])
		_, err := p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.holds(repo, oci.FromBytes(b), b)
	}},
	{"upload goes on after a broken body", func(p *player) {
		repo, b := p.repo("app"), random(64<<10)
		u := p.start(repo)
		// It breaks once the other side has begun with it: a request that is still
		// on its way when the size is asked would come after the answer.
		begun := readerFunc(func([]byte) (int, error) {
			for {
				if size, err := p.UploadSize(p.ctx, repo, u); size > 0 || err != nil {
					return 0, errors.New("the connection broke")
				}
			}
		})
		broken := io.MultiReader(bytes.NewReader(b[:30000]), begun)
		if _, err := p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: 0, Body: broken}); err == nil {
			p.Fatal("append of a broken body reports success")
		}
		// How much arrived is only known by asking, and asking again while the
		// broken request is still being put away.
		size, err := p.UploadSize(p.ctx, repo, u)
		for errors.Is(err, oci.RangeInvalid) {
			size, err = p.UploadSize(p.ctx, repo, u)
		}
		p.ok(err, "upload size")
		if size > 30000 {
			p.Fatalf("upload stands at %d after 30000 bytes", size)
		}
		p.write(repo, u, size, b[size:])
		_, err = p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.holds(repo, oci.FromBytes(b), b)
	}},
	{"R-03 upload with a wrong digest", func(p *player) {
		repo, b := p.repo("app"), random(100)
		u := p.start(repo)
		p.write(repo, u, 0, b)
		wrong := oci.FromBytes(random(9))
		_, err := p.FinishUpload(p.ctx, repo, u, wrong)
		p.fails(err, oci.DigestInvalid, "finish upload")
		p.lacks(repo, wrong)
		p.lacks(repo, oci.FromBytes(b))
		p.ended(repo, u, oci.FromBytes(b))
	}},
	{"upload is cancelled", func(p *player) {
		repo, b := p.repo("app"), random(100)
		u := p.start(repo)
		p.write(repo, u, 0, b)
		p.ok(p.CancelUpload(p.ctx, repo, u), "cancel upload")
		p.ended(repo, u, oci.FromBytes(b))
		p.lacks(repo, oci.FromBytes(b))
	}},
	{"S-21 upload is used again after it was finished", func(p *player) {
		repo, b := p.repo("app"), random(100)
		u := p.start(repo)
		p.write(repo, u, 0, b)
		_, err := p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.ended(repo, u, oci.FromBytes(b))
		p.holds(repo, oci.FromBytes(b), b)
	}},
	{"S-21 upload that never was", func(p *player) {
		repo := p.repo("app")
		real := p.start(repo)
		for _, id := range []registry.UploadID{"0", real.ID + "0", real.ID[1:], "00000000-0000-4000-8000-000000000000"} {
			p.ended(repo, registry.Upload{ID: id}, oci.FromBytes(nil))
		}
		p.stands(repo, real, 0)
	}},
	{"S-20 upload under another repository", func(p *player) {
		repo, other, b := p.repo("app"), p.repo("other"), random(100)
		u := p.start(repo)
		p.write(repo, u, 0, b)
		p.ended(other, u, oci.FromBytes(b))
		p.stands(repo, u, 100)
		_, err := p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.lacks(other, oci.FromBytes(b))
	}},
	{"S-21 two uploads do not mix", func(p *player) {
		repo, a, b := p.repo("app"), random(100), random(200)
		ua, ub := p.start(repo), p.start(repo)
		if ua.ID == ub.ID || len(ua.ID) < 22 { // 128 bits in base64
			p.Fatalf("upload ids %q and %q can be guessed", ua.ID, ub.ID)
		}
		p.write(repo, ua, 0, a[:50])
		p.write(repo, ub, 0, b)
		p.write(repo, ua, 50, a[50:])
		_, err := p.FinishUpload(p.ctx, repo, ub, oci.FromBytes(b))
		p.ok(err, "finish upload")
		p.stands(repo, ua, 100)
		_, err = p.FinishUpload(p.ctx, repo, ua, oci.FromBytes(a))
		p.ok(err, "finish upload")
	}},
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
