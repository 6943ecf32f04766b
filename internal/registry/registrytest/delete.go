package registrytest

import "github.com/sallyport/sallyport/internal/oci"

var deleteScenarios = []scenario{
	{"R-28 delete a tag alone", func(p *player) {
		repo := p.repo("app")
		m := p.putImage(repo, "v1", "v2")
		p.ok(p.DeleteTag(p.ctx, repo, "v1", AnyTag), "delete tag")
		p.noManifest(repo, oci.ByTag("v1"), oci.ManifestUnknown)
		p.gives(repo, oci.ByTag("v2"), m)
		p.ok(p.DeleteTag(p.ctx, repo, "v2", AnyTag), "delete tag")
		p.gives(repo, oci.ByDigest(m.Digest), m)
		p.tags(repo)
		p.fails(p.DeleteTag(p.ctx, repo, "v1", AnyTag), oci.ManifestUnknown, "delete tag again")
	}},
	{"R-28 delete a manifest and its tags", func(p *player) {
		repo := p.repo("app")
		other := p.putImage(repo, "other")
		m := p.putImage(repo, "v1", "v2")
		p.ok(p.DeleteManifest(p.ctx, repo, m.Digest, AnyTag), "delete manifest")
		p.noManifest(repo, oci.ByDigest(m.Digest), oci.ManifestUnknown)
		p.noManifest(repo, oci.ByTag("v1"), oci.ManifestUnknown)
		p.tags(repo, "other")
		p.gives(repo, oci.ByTag("other"), other)
		p.fails(p.DeleteManifest(p.ctx, repo, m.Digest, AnyTag), oci.ManifestUnknown, "delete manifest again")
		p.put(repo, m, "v1") // its blobs are still there
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"R-28 delete a blob", func(p *player) {
		repo, b := p.repo("app"), random(100)
		d := p.upload(repo, b).Digest
		p.ok(p.DeleteBlob(p.ctx, repo, d), "delete blob")
		p.lacks(repo, d)
		p.fails(p.DeleteBlob(p.ctx, repo, d), oci.BlobUnknown, "delete blob again")
		p.upload(repo, b)
		p.holds(repo, d, b)
	}},
	{"R-28 delete a blob in use", func(p *player) {
		repo := p.repo("app")
		doc := p.image(repo)
		m := p.raw(doc)
		p.put(repo, m)
		for _, d := range append(doc.Layers, *doc.Config) {
			p.fails(p.DeleteBlob(p.ctx, repo, d.Digest), oci.Unsupported, "delete blob in use")
		}
		p.ok(p.DeleteManifest(p.ctx, repo, m.Digest, AnyTag), "delete manifest")
		p.ok(p.DeleteBlob(p.ctx, repo, doc.Config.Digest), "delete blob")
		_, err := p.PutManifest(p.ctx, repo, m, AnyTag)
		p.fails(err, oci.ManifestBlobUnknown, "put manifest")
	}},
	{"delete what is not there", func(p *player) {
		none, absent := p.repo("none"), oci.FromBytes(random(9))
		p.fails(p.DeleteTag(p.ctx, none, "v1", AnyTag), oci.NameUnknown, "delete tag")
		p.fails(p.DeleteManifest(p.ctx, none, absent, AnyTag), oci.NameUnknown, "delete manifest")
		p.fails(p.DeleteBlob(p.ctx, none, absent), oci.BlobUnknown, "delete blob")
		repo := p.repo("app")
		p.putImage(repo, "v1")
		p.fails(p.DeleteTag(p.ctx, repo, "v2", AnyTag), oci.ManifestUnknown, "delete tag")
		p.fails(p.DeleteManifest(p.ctx, repo, absent, AnyTag), oci.ManifestUnknown, "delete manifest")
		p.fails(p.DeleteBlob(p.ctx, repo, absent), oci.BlobUnknown, "delete blob")
		p.tags(repo, "v1")
	}},
	{"S-32 shared content is deleted in one repository", func(p *player) {
		a, b := p.repo("a"), p.repo("b")
		bytes := random(100)
		d := p.upload(a, bytes).Digest
		p.upload(b, bytes)
		p.ok(p.DeleteBlob(p.ctx, a, d), "delete blob")
		p.lacks(a, d)
		p.holds(b, d, bytes)
		m := p.putImage(a, "v1")
		p.lacks(b, m.Digest)
	}},
}
