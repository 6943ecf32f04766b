package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// together runs every f at once, n times each, and fails on the first error.
func (p *player) together(n int, fs ...func(i int) error) {
	p.Helper()
	var all sync.WaitGroup
	failures := make(chan error, len(fs))
	for _, f := range fs {
		all.Go(func() {
			for i := range n {
				if err := f(i); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	for err := range failures {
		p.Error(err)
	}
}

// tryUpload pushes b; unlike upload it may be called beside other goroutines.
func (p *player) tryUpload(repo oci.RepoName, b []byte) error {
	id, err := p.StartUpload(p.ctx, repo, registry.Upload{})
	if err != nil {
		return fmt.Errorf("start upload: %w", err)
	}
	u := registry.Upload{ID: id}
	if _, err := p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: 0, Body: bytes.NewReader(b)}); err != nil {
		return fmt.Errorf("append to upload: %w", err)
	}
	if _, err := p.FinishUpload(p.ctx, repo, u, oci.FromBytes(b)); err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	return nil
}

// tryRead reads d whole and compares it with b.
func (p *player) tryRead(repo oci.RepoName, d oci.Digest, b []byte) error {
	r, err := p.OpenBlob(p.ctx, repo, d)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	if !bytes.Equal(got, b) {
		return errors.New("blob was torn")
	}
	return nil
}

func except(err error, codes ...oci.Code) error {
	for _, c := range codes {
		if errors.Is(err, c) {
			return nil
		}
	}
	return err
}

var raceScenarios = []scenario{
	{"two writers to one tag", func(p *player) {
		repo := p.repo("app")
		var versions [2][]oci.RawManifest
		for w := range versions {
			for range 20 {
				versions[w] = append(versions[w], p.raw(p.image(repo)))
			}
		}
		p.put(repo, versions[0][0], "latest")
		write := func(w int) func(int) error {
			return func(i int) error {
				_, err := p.PutManifest(p.ctx, repo, versions[w][i], AnyTag, "latest")
				return err
			}
		}
		// The tag is never gone and never without its manifest.
		read := func(int) error {
			m, err := p.Manifest(p.ctx, repo, oci.ByTag("latest"))
			if err != nil {
				return fmt.Errorf("read tag: %w", err)
			}
			if !m.Digest.Matches(m.Bytes) {
				return errors.New("manifest was torn")
			}
			_, err = p.Manifest(p.ctx, repo, oci.ByDigest(m.Digest))
			return err
		}
		p.together(20, write(0), write(1), read, read)
		// Each writer's last was acknowledged after all its others, so one of
		// the two last ones won; then a later one wins over both.
		m, err := p.Manifest(p.ctx, repo, oci.ByTag("latest"))
		p.ok(err, "get manifest")
		if m.Digest != versions[0][19].Digest && m.Digest != versions[1][19].Digest {
			p.Fatal("the tag points at neither writer's last manifest")
		}
		p.put(repo, versions[0][7], "latest")
		p.gives(repo, oci.ByTag("latest"), versions[0][7])
	}},
	{"D-11 one blob is pushed by several", func(p *player) {
		repo, b := p.repo("app"), random(100_000)
		push := func(int) error { return p.tryUpload(repo, b) }
		elsewhere := func(i int) error { return p.tryUpload(p.repo(fmt.Sprintf("other%d", i)), b) }
		p.together(5, push, push, elsewhere)
		p.holds(repo, oci.FromBytes(b), b)
		p.holds(p.repo("other4"), oci.FromBytes(b), b)
	}},
	{"D-11 blob is pushed, pulled and deleted", func(p *player) {
		repo, b := p.repo("app"), random(100_000)
		d := oci.FromBytes(b)
		p.together(10,
			func(int) error { return p.tryUpload(repo, b) },
			func(int) error { return except(p.DeleteBlob(p.ctx, repo, d), oci.BlobUnknown) },
			func(int) error { return except(p.tryRead(repo, d, b), oci.BlobUnknown) })
		p.ok(p.tryUpload(repo, b), "upload")
		p.holds(repo, d, b)
	}},
	{"D-11 manifest is pushed, pulled and deleted", func(p *player) {
		repo := p.repo("app")
		m := p.putImage(repo, "v1")
		p.together(10,
			func(int) error { _, err := p.PutManifest(p.ctx, repo, m, AnyTag, "v1"); return err },
			func(int) error { return except(p.DeleteManifest(p.ctx, repo, m.Digest, AnyTag), oci.ManifestUnknown) },
			func(int) error {
				got, err := p.Manifest(p.ctx, repo, oci.ByTag("v1"))
				if err == nil && !bytes.Equal(got.Bytes, m.Bytes) {
					return errors.New("manifest was torn")
				}
				return except(err, oci.ManifestUnknown)
			})
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"D-11 blob is deleted while a manifest that lists it is pushed", func(p *player) {
		repo := p.repo("app")
		for range 10 {
			doc := p.image(repo)
			m, layer := p.raw(doc), doc.Layers[0]
			var put, deleted error
			p.together(1,
				func(int) error {
					_, put = p.PutManifest(p.ctx, repo, m, AnyTag)
					return except(put, oci.ManifestBlobUnknown)
				},
				func(int) error {
					deleted = p.DeleteBlob(p.ctx, repo, layer.Digest)
					return except(deleted, oci.Unsupported)
				})
			if (put == nil) == (deleted == nil) {
				p.Fatalf("put manifest: %v; delete blob: %v: want one of the two", put, deleted)
			}
		}
	}},
	{"D-02 a push relies on what it was told", func(p *player) {
		repo := p.repo("app")
		doc := p.image(repo)
		old := p.raw(doc)
		p.put(repo, old)
		p.ok(p.DeleteManifest(p.ctx, repo, old.Digest, AnyTag), "delete manifest")
		for _, d := range append(doc.Layers, *doc.Config) {
			_, err := p.StatBlob(p.ctx, repo, d.Digest)
			p.ok(err, "stat blob")
		}
		doc.Annotations = map[string]string{"again": "yes"}
		m := p.raw(doc)
		p.put(repo, m, "v1")
		p.gives(repo, oci.ByTag("v1"), m)
	}},
	{"R-19 two requests write one upload", func(p *player) {
		repo := p.repo("app")
		u := p.start(repo)
		// Their sizes tell who won, and the digest that nothing was mixed.
		bodies := map[int64][]byte{50_000: random(50_000), 40_000: random(40_000)}
		write := func(size int64) func(int) error {
			return func(int) error {
				_, err := p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: 0, Body: bytes.NewReader(bodies[size])})
				return except(err, oci.RangeInvalid)
			}
		}
		p.together(1, write(50_000), write(40_000))
		size, err := p.UploadSize(p.ctx, repo, u)
		p.ok(err, "upload size")
		_, err = p.FinishUpload(p.ctx, repo, u, oci.FromBytes(bodies[size]))
		p.ok(err, "finish upload")
	}},
}
