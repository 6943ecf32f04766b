package oci_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/oci"
)

// The examples of image-spec manifest.md and image-index.md, shortened.
const (
	specManifest = `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "sha256:b5b2b2c507a0944348e0303114d8d93aaaa081732b86451d9bce1f432a537bc7",
    "size": 7023
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0",
      "size": 32654
    }
  ],
  "subject": {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270",
    "size": 7682
  },
  "annotations": {
    "com.example.key1": "value1",
    "com.example.key2": "value2"
  }
}`
	specArtifact = `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "artifactType": "application/vnd.example+type",
  "config": {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
    "data": "e30="
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.empty.v1+json",
      "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
      "size": 2
    }
  ]
}`
	specIndex = `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "size": 7143,
      "digest": "sha256:e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f",
      "platform": { "architecture": "ppc64le", "os": "linux" }
    },
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "size": 7682,
      "digest": "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270",
      "urls": ["https://example.com/x"]
    }
  ]
}`
)

// goManifest is what Go programs (containerd, the docker daemon) decode.
type goManifest struct {
	SchemaVersion int
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *oci.Descriptor   `json:"config"`
	Layers        []oci.Descriptor  `json:"layers"`
	Manifests     []oci.Descriptor  `json:"manifests"`
	Subject       *oci.Descriptor   `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// FuzzParseManifest: bytes are never changed; whatever is accepted means the
// same to encoding/json, which most clients read it with; and it is refused
// once anything follows it or a key is doubled.
func FuzzParseManifest(f *testing.F) {
	for _, body := range []string{specManifest, specArtifact, specIndex, image(""), index(""), image(`,"Layers":[]`), image(`,"x":[1e9,{"a":"\ud83d\ude00"}]`)} {
		f.Add(0, []byte(body))
		f.Add(1, []byte(body))
	}
	types := []string{oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, oci.MediaTypeDockerManifest, oci.MediaTypeDockerList}
	f.Fuzz(func(t *testing.T, kind int, body []byte) {
		raw := oci.RawManifest{MediaType: types[uint(kind)%uint(len(types))], Bytes: body}
		before := bytes.Clone(body)
		m, err := oci.ParseManifest(raw)
		if !bytes.Equal(before, body) {
			t.Fatal("the bytes were changed")
		}
		if err != nil {
			if code, text := oci.CodeOf(err); code != oci.ManifestInvalid && code != oci.ManifestTooLarge || text == "" {
				t.Fatalf("an error that is not for the client: %v", err)
			}
			return
		}
		if !bytes.Equal(m.Bytes, body) || m.MediaType != raw.MediaType {
			t.Error("the raw manifest was changed")
		}
		compare(t, m, body)
		for _, more := range []string{"{}", "x", "\x00", `,"layers":[]`} {
			if _, err := oci.ParseManifest(oci.RawManifest{MediaType: raw.MediaType, Bytes: append(before, more...)}); err == nil {
				t.Errorf("accepted with %q after it", more)
			}
		}
		doubled := strings.TrimSuffix(strings.TrimRight(string(body), " \t\r\n"), "}") + `,"schemaVersion":2}`
		if _, err := oci.ParseManifest(oci.RawManifest{MediaType: raw.MediaType, Bytes: []byte(doubled)}); err == nil {
			t.Errorf("accepted %q", doubled)
		}
	})
}

func compare(t *testing.T, m oci.Manifest, body []byte) {
	t.Helper()
	var other goManifest
	if err := json.Unmarshal(body, &other); err != nil {
		t.Fatalf("encoding/json refuses what we accept: %v", err)
	}
	want := oci.Manifest{RawManifest: m.RawManifest, Subject: other.Subject, Annotations: other.Annotations, ArtifactType: other.ArtifactType}
	if other.Config != nil {
		want.Blobs = append(want.Blobs, *other.Config)
		if want.ArtifactType == "" {
			want.ArtifactType = other.Config.MediaType
		}
	}
	isManifest := func(d oci.Descriptor) bool {
		return d.MediaType == oci.MediaTypeImageManifest || d.MediaType == oci.MediaTypeImageIndex ||
			d.MediaType == oci.MediaTypeDockerManifest || d.MediaType == oci.MediaTypeDockerList
	}
	index := m.MediaType == oci.MediaTypeImageIndex || m.MediaType == oci.MediaTypeDockerList
	for _, d := range append(other.Layers, other.Manifests...) {
		switch {
		case index && isManifest(d):
			want.Manifests = append(want.Manifests, d)
		case len(d.URLs) > 0 || strings.HasPrefix(d.MediaType, "application/vnd.oci.image.layer.nondistributable.") ||
			strings.HasPrefix(d.MediaType, "application/vnd.docker.image.rootfs.foreign."):
			want.Optional = append(want.Optional, d)
		default:
			want.Blobs = append(want.Blobs, d)
		}
	}
	if diff := cmp.Diff(want, m, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("encoding/json reads it otherwise: %s", diff)
	}
	if other.SchemaVersion != 2 || other.MediaType != "" && other.MediaType != m.MediaType {
		t.Errorf("schemaVersion %d, mediaType %q", other.SchemaVersion, other.MediaType)
	}
}
