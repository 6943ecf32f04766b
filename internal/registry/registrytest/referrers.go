package registrytest

import (
	"maps"

	"github.com/sallyport/sallyport/internal/oci"
)

const typeSBOM = "application/vnd.example.sbom.v1"

// attach pushes a manifest that refers to subject.
func (p *player) attach(repo oci.RepoName, subject oci.RawManifest) oci.RawManifest {
	p.Helper()
	doc := p.image(repo)
	to := descriptor(subject)
	doc.Subject, doc.ArtifactType = &to, typeSBOM
	doc.Annotations = map[string]string{"org.example.k": "v"}
	m := p.raw(doc)
	got := p.put(repo, m)
	if got.Subject == nil || got.Subject.Digest != subject.Digest {
		p.Fatalf("put manifest returns subject %v", got.Subject)
	}
	return m
}

var referrerScenarios = []scenario{
	{"referrers of a subject", func(p *player) {
		repo := p.repo("app")
		subject := p.putImage(repo, "v1")
		p.referrers(repo, subject.Digest)
		one, two := p.attach(repo, subject), p.attach(repo, subject)
		p.put(repo, one) // again: once in the list
		for _, d := range p.referrers(repo, subject.Digest, one.Digest, two.Digest) {
			m := one
			if d.Digest == two.Digest {
				m = two
			}
			if d.MediaType != m.MediaType || d.Size != int64(len(m.Bytes)) || d.ArtifactType != typeSBOM ||
				!maps.Equal(d.Annotations, map[string]string{"org.example.k": "v"}) {
				p.Fatalf("referrer is shown as %+v", d)
			}
		}
		p.referrers(repo, one.Digest)
	}},
	{"referrers page by page", func(p *player) {
		repo := p.repo("app")
		subject := p.putImage(repo)
		for range 5 {
			p.attach(repo, subject)
		}
		all, err := collect(p.Referrers(p.ctx, repo, subject.Digest, ""), everything)
		p.ok(err, "list referrers")
		var paged []oci.Descriptor
		for after := oci.Digest(""); len(paged) < 5; after = paged[len(paged)-1].Digest {
			page, err := collect(p.Referrers(p.ctx, repo, subject.Digest, after), 2)
			p.ok(err, "list referrers")
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
		}
		if len(all) != 5 || len(paged) != 5 {
			p.Fatalf("%d referrers, %d in pages, want 5", len(all), len(paged))
		}
		for i := range all {
			if all[i].Digest != paged[i].Digest || i > 0 && all[i].Digest <= all[i-1].Digest {
				p.Fatal("referrers are out of order")
			}
		}
	}},
	{"referrers come before their subject", func(p *player) {
		repo := p.repo("app")
		subject := p.raw(p.image(repo))
		m := p.attach(repo, subject)
		p.referrers(repo, subject.Digest, m.Digest)
		p.put(repo, subject, "v1")
		p.referrers(repo, subject.Digest, m.Digest)
	}},
	{"artifact types", func(p *player) {
		repo := p.repo("app")
		subject := p.putImage(repo)
		to := descriptor(subject)
		plain := p.image(repo)
		plain.Subject = &to
		list := index(subject)
		list.Subject = &to
		typed := list
		typed.ArtifactType = typeSBOM
		for _, c := range []struct {
			doc  document
			want string
		}{{plain, typeConfig}, {list, ""}, {typed, typeSBOM}} {
			m := p.raw(c.doc)
			p.put(repo, m)
			found := false
			all, err := collect(p.Referrers(p.ctx, repo, subject.Digest, ""), everything)
			p.ok(err, "list referrers")
			for _, d := range all {
				if d.Digest == m.Digest {
					if found = true; d.ArtifactType != c.want {
						p.Fatalf("artifact type is %q, want %q", d.ArtifactType, c.want)
					}
				}
			}
			if !found {
				p.Fatalf("%s is not among the referrers", m.Digest)
			}
		}
	}},
	{"deleted referrer and deleted subject", func(p *player) {
		repo := p.repo("app")
		subject := p.putImage(repo)
		one, two := p.attach(repo, subject), p.attach(repo, subject)
		p.ok(p.DeleteManifest(p.ctx, repo, one.Digest, AnyTag), "delete manifest")
		p.referrers(repo, subject.Digest, two.Digest)
		p.ok(p.DeleteManifest(p.ctx, repo, subject.Digest, AnyTag), "delete manifest")
		p.referrers(repo, subject.Digest, two.Digest)
	}},
	{"no referrers, and no repository", func(p *player) {
		p.referrers(p.repo("none"), oci.FromBytes(random(9)))
		p.upload(p.repo("app"), random(9))
		p.referrers(p.repo("app"), oci.FromBytes(random(9)))
	}},
}
