// Package registrytest owns the scenarios that every Registry must play alike:
// the bare one, a guard's view with full authority, and one that is spoken to
// over HTTP.
package registrytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// A scenario plays one story on a Registry. Its name begins with the id of the
// attack case that it covers.
type scenario struct {
	name string
	play func(*player)
}

// AnyTag is a judge that allows every change of a tag.
func AnyTag(oci.Tag, access.Action) error { return nil }

// Run plays every scenario, each on what open returns for it. open may return
// the same Registry every time: repository names and content differ from
// scenario to scenario and from run to run. A caller of Run needs every right
// on every repository.
//
// Beside method results the scenarios look at errors with errors.Is and
// oci.Code alone. They do not use Holders and BeganPush, which have no request
// of their own.
func Run(t *testing.T, open func(t *testing.T) registry.Registry) {
	t.Helper()
	for _, s := range slices.Concat(pushScenarios, manifestScenarios, uploadScenarios, listScenarios,
		referrerScenarios, deleteScenarios, boundaryScenarios, raceScenarios) {
		t.Run(s.name, func(t *testing.T) {
			s.play(&player{T: t, Registry: open(t), ctx: t.Context(), scope: "s" + strings.ToLower(rand.Text())})
		})
	}
}

// A player is one client: it fails its test where a step does not go as it must.
type player struct {
	*testing.T
	registry.Registry
	ctx   context.Context
	scope string // first component of the scenario's repository names
}

func (p *player) repo(name string) oci.RepoName { return oci.RepoName(p.scope + "/" + name) }

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

func digest512(b []byte) oci.Digest {
	return oci.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(b)))
}

func (p *player) ok(err error, step string) {
	p.Helper()
	if err != nil {
		p.Fatalf("%s: %v", step, err)
	}
}

func (p *player) fails(err error, want oci.Code, step string) {
	p.Helper()
	if !errors.Is(err, want) {
		p.Fatalf("%s: got %v, want %s", step, err, want)
	}
}

// start opens an upload session.
func (p *player) start(repo oci.RepoName) registry.Upload {
	p.Helper()
	id, err := p.StartUpload(p.ctx, repo, registry.Upload{})
	p.ok(err, "start upload")
	return registry.Upload{ID: id}
}

// write appends b at the given offset.
func (p *player) write(repo oci.RepoName, u registry.Upload, at int64, b []byte) int64 {
	p.Helper()
	size, err := p.AppendUpload(p.ctx, repo, u, registry.Chunk{At: at, Body: bytes.NewReader(b)})
	p.ok(err, "append to upload")
	return size
}

// upload pushes b and returns its descriptor, under d.
func (p *player) uploadAs(repo oci.RepoName, b []byte, d oci.Digest) oci.Descriptor {
	p.Helper()
	u := p.start(repo)
	p.write(repo, u, 0, b)
	got, err := p.FinishUpload(p.ctx, repo, u, d)
	p.ok(err, "finish upload")
	if got.Digest != d || got.Size != int64(len(b)) {
		p.Fatalf("finished upload is %s with %d bytes, want %s with %d", got.Digest, got.Size, d, len(b))
	}
	return got
}

func (p *player) upload(repo oci.RepoName, b []byte) oci.Descriptor {
	p.Helper()
	return p.uploadAs(repo, b, oci.FromBytes(b))
}

// holds fails unless repo gives back b as d.
func (p *player) holds(repo oci.RepoName, d oci.Digest, b []byte) {
	p.Helper()
	desc, err := p.StatBlob(p.ctx, repo, d)
	p.ok(err, "stat blob")
	if desc.Digest != d || desc.Size != int64(len(b)) {
		p.Fatalf("blob is %s with %d bytes, want %s with %d", desc.Digest, desc.Size, d, len(b))
	}
	r, err := p.OpenBlob(p.ctx, repo, d)
	p.ok(err, "open blob")
	got, err := io.ReadAll(r)
	p.ok(errors.Join(err, r.Close()), "read blob")
	if r.Size() != int64(len(b)) || !bytes.Equal(got, b) {
		p.Fatalf("blob has other bytes than were pushed")
	}
}

// lacks fails unless d is unknown in repo by every way to a blob.
func (p *player) lacks(repo oci.RepoName, d oci.Digest) {
	p.Helper()
	_, err := p.StatBlob(p.ctx, repo, d)
	p.fails(err, oci.BlobUnknown, "stat blob")
	_, err = p.OpenBlob(p.ctx, repo, d)
	p.fails(err, oci.BlobUnknown, "open blob")
}

// A document is a manifest to be written as JSON.
type document struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	ArtifactType  string           `json:"artifactType,omitempty"`
	Config        *oci.Descriptor  `json:"config,omitempty"`
	Layers        []oci.Descriptor `json:"layers,omitempty"`
	Manifests     []oci.Descriptor `json:"manifests,omitempty"`
	Subject       *oci.Descriptor  `json:"subject,omitempty"`

	Annotations map[string]string `json:"annotations,omitempty"`
}

// raw writes doc with white space that no encoder would make, so that changed
// bytes are seen.
func (p *player) raw(doc document) oci.RawManifest {
	p.Helper()
	doc.SchemaVersion = 2
	b, err := json.MarshalIndent(doc, " ", "   ")
	p.ok(err, "write manifest")
	b = append(b, " \n\n"...)
	return oci.RawManifest{MediaType: doc.MediaType, Digest: oci.FromBytes(b), Bytes: b}
}

func blobAs(mediaType string, d oci.Descriptor) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: d.Digest, Size: d.Size}
}

const (
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// image pushes a config and two layers and returns their manifest, not pushed.
func (p *player) image(repo oci.RepoName) document {
	p.Helper()
	config := blobAs(typeConfig, p.upload(repo, random(64)))
	return document{
		MediaType: oci.MediaTypeImageManifest, Config: &config,
		Layers: []oci.Descriptor{
			blobAs(typeLayer, p.upload(repo, random(3000))),
			blobAs(typeLayer, p.upload(repo, random(1))),
		},
	}
}

// index returns an index of children, not pushed.
func index(children ...oci.RawManifest) document {
	doc := document{MediaType: oci.MediaTypeImageIndex}
	for _, c := range children {
		doc.Manifests = append(doc.Manifests, descriptor(c))
	}
	return doc
}

func descriptor(m oci.RawManifest) oci.Descriptor {
	return oci.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Bytes))}
}

func (p *player) put(repo oci.RepoName, m oci.RawManifest, tags ...oci.Tag) oci.Manifest {
	p.Helper()
	got, err := p.PutManifest(p.ctx, repo, m, AnyTag, tags...)
	p.ok(err, "put manifest")
	return got.Manifest
}

// putImage pushes a whole image.
func (p *player) putImage(repo oci.RepoName, tags ...oci.Tag) oci.RawManifest {
	p.Helper()
	m := p.raw(p.image(repo))
	p.put(repo, m, tags...)
	return m
}

// gives fails unless ref gives back m, byte for byte.
func (p *player) gives(repo oci.RepoName, ref oci.Ref, m oci.RawManifest) {
	p.Helper()
	got, err := p.Manifest(p.ctx, repo, ref)
	p.ok(err, "get manifest "+ref.String())
	if got.Digest != m.Digest || got.MediaType != m.MediaType || !bytes.Equal(got.Bytes, m.Bytes) {
		p.Fatalf("manifest %s is %s of type %s, want %s of type %s, byte for byte", ref, got.Digest, got.MediaType, m.Digest, m.MediaType)
	}
}

func (p *player) noManifest(repo oci.RepoName, ref oci.Ref, want oci.Code) {
	p.Helper()
	_, err := p.Manifest(p.ctx, repo, ref)
	p.fails(err, want, "get manifest "+ref.String())
}

// collect returns what seq yields before limit, and the error that ended it.
func collect[T any](seq iter.Seq2[T, error], limit int) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		if all = append(all, v); len(all) == limit {
			break
		}
	}
	return all, nil
}

const everything = 1 << 20

func (p *player) tags(repo oci.RepoName, want ...oci.Tag) {
	p.Helper()
	got, err := collect(p.Tags(p.ctx, repo, ""), everything)
	p.ok(err, "list tags")
	if !slices.Equal(got, want) {
		p.Fatalf("tags are %q, want %q", got, want)
	}
}

// referrers fails unless the referrers of subject are those digests.
func (p *player) referrers(repo oci.RepoName, subject oci.Digest, want ...oci.Digest) []oci.Descriptor {
	p.Helper()
	all, err := collect(p.Referrers(p.ctx, repo, subject, ""), everything)
	p.ok(err, "list referrers")
	got := make([]oci.Digest, len(all))
	for i, d := range all {
		got[i] = d.Digest
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.Fatalf("referrers are %q, want %q", got, want)
	}
	return all
}
