package oci

// Limits on manifests (THREATS.md, "Security defaults").
const (
	MaxManifestSize  = 4 << 20 // bytes
	MaxManifestDepth = 64      // nested JSON values
	MaxDescriptors   = 10_000  // in one manifest
)

// The media types whose references we understand.
const (
	MediaTypeImageManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeImageIndex     = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// A Descriptor points at content (image-spec, descriptor.md). Sizes are bytes.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
}

// A RawManifest is a manifest as a client pushed it: the bytes are never
// changed, and MediaType is what the client declared, without parameters.
// Digest is that of Bytes, in the algorithm of the reference it was pushed by
// (sha256 for a tag).
type RawManifest struct {
	MediaType string
	Digest    Digest
	Bytes     []byte
}

// A Manifest is what we understood of a RawManifest.
type Manifest struct {
	RawManifest

	// Blobs are the config and layers that must be present in the repository,
	// the config first, and the entries of an index that are no manifests.
	// Non-distributable layers and layers with urls are not among them. Here,
	// as in the lists below, one digest may be listed several times.
	Blobs []Descriptor
	// Optional are the layers that may be absent; when present the sweep keeps them.
	Optional []Descriptor
	// Manifests are the children of an index; they must be present.
	Manifests []Descriptor

	Subject *Descriptor // what this manifest refers to, or nil; may be absent

	// ArtifactType is the one of referrers listings: the manifest's
	// artifactType, else its config's media type, else "" (an index).
	ArtifactType string
	Annotations  map[string]string
}

// Descriptor returns the descriptor of m as a referrers listing shows it.
func (m Manifest) Descriptor() Descriptor {
	return Descriptor{
		MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Bytes)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
}
