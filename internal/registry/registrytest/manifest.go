package registrytest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

var manifestScenarios = []scenario{
	{"manifest by tag and by digest, byte for byte", func(p *player) {
		repo := p.repo("app")
		m := p.putImage(repo, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
		p.gives(repo, oci.ByDigest(m.Digest), m)
	}},
	{"manifest without a tag", func(p *player) {
		repo := p.repo("app")
		m := p.putImage(repo)
		p.gives(repo, oci.ByDigest(m.Digest), m)
		p.tags(repo)
	}},
	{"manifest again", func(p *player) {
		repo := p.repo("app")
		m := p.putImage(repo, "v1")
		p.put(repo, m, "v1")
		p.put(repo, m, "v2")
		p.tags(repo, "v1", "v2")
	}},
	{"tag moves", func(p *player) {
		repo := p.repo("app")
		old := p.putImage(repo, "latest", "v1")
		m := p.putImage(repo, "latest")
		p.gives(repo, oci.ByTag("latest"), m)
		p.gives(repo, oci.ByTag("v1"), old)
		p.gives(repo, oci.ByDigest(old.Digest), old)
	}},
	{"several tags at once", func(p *player) {
		repo := p.repo("app")
		var tags []oci.Tag
		for i := range registry.MaxTags {
			tags = append(tags, oci.Tag(fmt.Sprintf("t%03d", i)))
		}
		m := p.putImage(repo, tags...)
		p.tags(repo, tags...)
		p.gives(repo, oci.ByTag("t042"), m)
	}},
	{"R-04 manifest by sha512", func(p *player) {
		repo := p.repo("app")
		m := p.raw(p.image(repo))
		m.Digest = digest512(m.Bytes)
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByDigest(m.Digest), m)
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"R-04 image whose layers are sha512", func(p *player) {
		repo, layer := p.repo("app"), random(500)
		config := blobAs(typeConfig, p.upload(repo, random(20)))
		m := p.raw(document{MediaType: oci.MediaTypeImageManifest, Config: &config,
			Layers: []oci.Descriptor{blobAs(typeLayer, p.uploadAs(repo, layer, digest512(layer)))}})
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"index with children", func(p *player) {
		repo := p.repo("app")
		one, two := p.putImage(repo), p.putImage(repo)
		inner := p.raw(index(one, two))
		p.put(repo, inner)
		outer := p.raw(index(inner, one))
		p.put(repo, outer, "multi")
		p.gives(repo, oci.ByTag("multi"), outer)
	}},
	{"docker manifest and list", func(p *player) {
		repo := p.repo("app")
		doc := p.image(repo)
		doc.MediaType = oci.MediaTypeDockerManifest
		m := p.raw(doc)
		p.put(repo, m)
		list := index(m)
		list.MediaType = oci.MediaTypeDockerList
		p.put(repo, p.raw(list), "v1")
		p.gives(repo, oci.ByTag("v1"), p.raw(list))
	}},
	{"R-13 missing content", func(p *player) {
		repo := p.repo("app")
		whole := p.image(repo)
		missing := oci.Descriptor{MediaType: typeLayer, Digest: oci.FromBytes(random(9)), Size: 9}

		noLayer := whole
		noLayer.Layers = append([]oci.Descriptor{missing}, whole.Layers...)
		noConfig := whole
		noConfig.Config = &missing
		noChild := index(p.raw(whole))
		for name, doc := range map[string]document{"layer": noLayer, "config": noConfig, "child": noChild} {
			m := p.raw(doc)
			_, err := p.PutManifest(p.ctx, repo, m, AnyTag, "v1")
			p.fails(err, oci.ManifestBlobUnknown, "put manifest without its "+name)
			p.noManifest(repo, oci.ByDigest(m.Digest), oci.ManifestUnknown)
			p.noManifest(repo, oci.ByTag("v1"), oci.ManifestUnknown)
		}
		p.put(repo, p.raw(whole))
		p.put(repo, p.raw(noChild), "v1")
	}},
	{"missing content may be absent where the spec says so", func(p *player) {
		repo := p.repo("app")
		doc := p.image(repo)
		absent := func(mediaType string) oci.Descriptor {
			return oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(random(9)), Size: 9}
		}
		urls := absent(typeLayer)
		urls.URLs = []string{"https://elsewhere.test/layer"}
		doc.Layers = append(doc.Layers, urls, absent("application/vnd.oci.image.layer.nondistributable.v1.tar"))
		doc.Subject = new(oci.Descriptor)
		*doc.Subject = absent(oci.MediaTypeImageManifest)
		m := p.raw(doc)
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"R-03 manifest with a wrong digest", func(p *player) {
		repo := p.repo("app")
		m := p.raw(p.image(repo))
		right := m.Digest
		m.Digest = oci.FromBytes(random(9))
		_, err := p.PutManifest(p.ctx, repo, m, AnyTag)
		p.fails(err, oci.DigestInvalid, "put manifest")
		p.noManifest(repo, oci.ByDigest(m.Digest), oci.ManifestUnknown)
		p.noManifest(repo, oci.ByDigest(right), oci.ManifestUnknown)
	}},
	{"R-05 what is no manifest", func(p *player) {
		repo := p.repo("app")
		m := p.raw(p.image(repo))
		for _, text := range []string{"", "{}{}", "[]", "null", "\ufeff{}", "{", string(m.Bytes) + "x"} {
			bad := oci.RawManifest{MediaType: oci.MediaTypeImageManifest, Digest: oci.FromBytes([]byte(text)), Bytes: []byte(text)}
			_, err := p.PutManifest(p.ctx, repo, bad, AnyTag, "v1")
			p.fails(err, oci.ManifestInvalid, fmt.Sprintf("put %.20q", text))
		}
		p.tags(repo)
	}},
	{"manifest of the largest size, and above", func(p *player) {
		repo := p.repo("app")
		doc := p.image(repo)
		doc.Annotations = map[string]string{"fill": ""}
		doc.Annotations["fill"] = strings.Repeat("x", oci.MaxManifestSize-len(p.raw(doc).Bytes))
		m := p.raw(doc)
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
		m.Bytes = append(bytes.Clone(m.Bytes), ' ')
		m.Digest = oci.FromBytes(m.Bytes)
		_, err := p.PutManifest(p.ctx, repo, m, AnyTag)
		p.fails(err, oci.ManifestTooLarge, "put manifest of 4 MiB and one byte")
	}},
	{"unknown manifest, tag and repository", func(p *player) {
		repo, absent := p.repo("app"), oci.FromBytes(random(9))
		p.noManifest(repo, oci.ByTag("v1"), oci.NameUnknown)
		p.noManifest(repo, oci.ByDigest(absent), oci.NameUnknown)
		p.putImage(repo, "v1")
		p.noManifest(repo, oci.ByTag("v2"), oci.ManifestUnknown)
		p.noManifest(repo, oci.ByDigest(absent), oci.ManifestUnknown)
	}},
}
