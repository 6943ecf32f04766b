package registrytest

import (
	"bytes"
	"io"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

var pushScenarios = []scenario{
	{"blob of many sizes", func(p *player) {
		repo := p.repo("app")
		for _, size := range []int{0, 1, 4095, 4096, 1<<20 + 1} {
			b := random(size)
			p.holds(repo, p.upload(repo, b).Digest, b)
		}
	}},
	{"blob again", func(p *player) {
		repo, b := p.repo("app"), random(100)
		p.upload(repo, b)
		p.upload(repo, b)
		p.holds(repo, oci.FromBytes(b), b)
	}},
	{"R-04 blob by sha512", func(p *player) {
		repo, b := p.repo("app"), random(100)
		p.uploadAs(repo, b, digest512(b))
		p.holds(repo, digest512(b), b)
		p.lacks(repo, oci.FromBytes(b))
	}},
	{"blob is read from the middle", func(p *player) {
		repo, b := p.repo("app"), random(5000)
		r, err := p.OpenBlob(p.ctx, repo, p.upload(repo, b).Digest)
		p.ok(err, "open blob")
		defer r.Close()
		_, err = r.Seek(4000, io.SeekStart)
		p.ok(err, "seek")
		got := make([]byte, 500)
		_, err = io.ReadFull(r, got)
		p.ok(err, "read")
		if !bytes.Equal(got, b[4000:4500]) {
			p.Fatal("other bytes than were pushed")
		}
	}},
	{"unknown blob and repository", func(p *player) {
		p.lacks(p.repo("none"), oci.FromBytes(random(9)))
		p.upload(p.repo("app"), random(8))
		p.lacks(p.repo("app"), oci.FromBytes(random(9)))
	}},
	{"mount from a repository", func(p *player) {
		b := random(100)
		d := p.upload(p.repo("base"), b).Digest
		got, err := p.MountBlob(p.ctx, p.repo("app"), registry.BlobAt{Repo: p.repo("base"), Digest: d})
		p.ok(err, "mount blob")
		if got.Digest != d {
			p.Fatalf("mounted %s, want %s", got.Digest, d)
		}
		p.holds(p.repo("app"), d, b)
	}},
	{"mount from any repository", func(p *player) {
		b := random(100)
		d := p.upload(p.repo("base"), b).Digest
		_, err := p.MountBlob(p.ctx, p.repo("app"), registry.BlobAt{Digest: d})
		p.ok(err, "mount blob")
		p.holds(p.repo("app"), d, b)
	}},
	{"mount of what is not there", func(p *player) {
		app, absent := p.repo("app"), oci.FromBytes(random(9))
		d := p.upload(p.repo("other"), random(10)).Digest
		for _, src := range []registry.BlobAt{
			{Digest: absent}, {Repo: p.repo("other"), Digest: absent}, {Repo: p.repo("none"), Digest: d}, {Repo: app, Digest: d},
		} {
			_, err := p.MountBlob(p.ctx, app, src)
			p.fails(err, oci.BlobUnknown, "mount blob")
		}
		p.lacks(app, d)
	}},
	{"R-28 mount, then delete the source", func(p *player) {
		b := random(100)
		d := p.upload(p.repo("base"), b).Digest
		_, err := p.MountBlob(p.ctx, p.repo("app"), registry.BlobAt{Repo: p.repo("base"), Digest: d})
		p.ok(err, "mount blob")
		p.ok(p.DeleteBlob(p.ctx, p.repo("base"), d), "delete blob")
		p.lacks(p.repo("base"), d)
		p.holds(p.repo("app"), d, b)
	}},
}
