package registrytest

import (
	"github.com/sallyport/sallyport/internal/oci"
)

// In these, "secret" stands for a repository that the pusher of "app" may not
// pull from: knowing a digest gives nothing.
var boundaryScenarios = []scenario{
	{"S-15 blob of another repository", func(p *player) {
		b := random(100)
		d := p.upload(p.repo("secret"), b).Digest
		p.upload(p.repo("app"), random(9))
		p.lacks(p.repo("app"), d)
		p.lacks(p.repo("none"), d)
		p.holds(p.repo("secret"), d, b)
	}},
	{"S-15 manifest of another repository, also as a blob", func(p *player) {
		m := p.putImage(p.repo("secret"), "v1")
		p.upload(p.repo("app"), random(9))
		p.noManifest(p.repo("app"), oci.ByDigest(m.Digest), oci.ManifestUnknown)
		p.noManifest(p.repo("app"), oci.ByTag("v1"), oci.ManifestUnknown)
		p.lacks(p.repo("app"), m.Digest)
		p.lacks(p.repo("secret"), m.Digest)
	}},
	{"S-15 blob as a manifest", func(p *player) {
		repo := p.repo("app")
		m := p.raw(p.image(repo))
		p.upload(repo, m.Bytes)
		p.noManifest(repo, oci.ByDigest(m.Digest), oci.ManifestUnknown)
	}},
	{"S-14 manifest that lists a blob of another repository", func(p *player) {
		app := p.repo("app")
		secret := blobAs(typeLayer, p.upload(p.repo("secret"), random(100)))
		asLayer, asConfig := p.image(app), p.image(app)
		asLayer.Layers = append(asLayer.Layers, secret)
		asConfig.Config = &secret
		for _, doc := range []document{asLayer, asConfig} {
			_, err := p.PutManifest(p.ctx, app, p.raw(doc), AnyTag, "v1")
			p.fails(err, oci.ManifestBlobUnknown, "put manifest")
		}
		p.lacks(app, secret.Digest)
	}},
	{"S-14 optional layer of another repository", func(p *player) {
		app := p.repo("app")
		secret := p.upload(p.repo("secret"), random(100))
		doc := p.image(app)
		urls := blobAs(typeLayer, secret)
		urls.URLs = []string{"https://elsewhere.test/layer"}
		doc.Layers = append(doc.Layers, urls, blobAs("application/vnd.oci.image.layer.nondistributable.v1.tar", secret))
		p.put(app, p.raw(doc), "v1")
		p.lacks(app, secret.Digest)
	}},
	{"S-14 index that lists a manifest of another repository", func(p *player) {
		app := p.repo("app")
		secret := p.putImage(p.repo("secret"))
		p.upload(app, random(9))
		_, err := p.PutManifest(p.ctx, app, p.raw(index(secret)), AnyTag, "v1")
		p.fails(err, oci.ManifestBlobUnknown, "put index")
		p.noManifest(app, oci.ByDigest(secret.Digest), oci.ManifestUnknown)
	}},
	{"S-24 referrer to a subject of another repository", func(p *player) {
		app, other := p.repo("app"), p.repo("secret")
		secret := p.putImage(other)
		m := p.attach(app, secret)
		p.referrers(other, secret.Digest)
		p.referrers(app, secret.Digest, m.Digest)
		p.noManifest(app, oci.ByDigest(secret.Digest), oci.ManifestUnknown)
	}},
}
