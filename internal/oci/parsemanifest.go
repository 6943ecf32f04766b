package oci

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxMediaType bounds a media type, in bytes (RFC 6838 §4.2 allows 127 + 127).
const maxMediaType = 255

// ParseManifest reads what a pushed manifest refers to and refuses what is not
// a manifest of its declared media type (image-spec, manifest.md and
// image-index.md; the Docker types alike). It takes time in proportion to the
// bytes and never changes them. It does not compare raw.Digest with the bytes.
// Errors: ManifestInvalid, ManifestTooLarge; the text names field and rule.
func ParseManifest(raw RawManifest) (Manifest, error) {
	p := manifestParser{m: Manifest{RawManifest: raw}}
	switch raw.MediaType {
	case MediaTypeImageManifest, MediaTypeDockerManifest:
	case MediaTypeImageIndex, MediaTypeDockerList:
		p.index = true
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return Manifest{}, Errorf(ManifestInvalid, "Docker manifest schema 1 is not supported: push with a client that writes schema 2 or OCI manifests")
	default:
		return Manifest{}, Errorf(ManifestInvalid, "media type %.100q is no manifest: use %s, %s, %s or %s", raw.MediaType,
			MediaTypeImageManifest, MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerList)
	}
	if len(raw.Bytes) > MaxManifestSize {
		return Manifest{}, Errorf(ManifestTooLarge, "manifest is %d bytes long; the limit is %d", len(raw.Bytes), MaxManifestSize)
	}
	p.r.in = string(raw.Bytes)
	p.r.document(func() { p.fields("", manifestFields, p.field) })
	p.complete()
	return p.m, p.r.err
}

// The keys that we interpret. Others are passed over, unless a reader that
// folds case (encoding/json) would take them for one of these.
var (
	manifestFields   = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"}
	descriptorFields = []string{"mediaType", "digest", "size", "artifactType", "annotations", "urls", "data"}
)

// A manifestParser reads the fields of a manifest in whatever order they come.
type manifestParser struct {
	r     jsonReader
	m     Manifest
	index bool

	// What was there.
	config            *Descriptor
	layers, manifests bool
	version           string
	mediaType         string
	artifactType      string
	descriptors       int
}

// fields reads an object of which we interpret the known keys.
func (p *manifestParser) fields(where string, known []string, field func(where, key string)) {
	p.r.object(where, func(key string) {
		if slices.Contains(known, key) {
			field(join(where, key), key)
			return
		}
		for _, k := range known {
			if strings.EqualFold(k, key) {
				p.r.failf(where, "the key %.40q must be written %q", key, k)
			}
		}
		p.r.skip()
	})
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

func (p *manifestParser) field(where, key string) {
	switch key {
	case "schemaVersion":
		p.version = p.r.number(where)
	case "mediaType":
		p.mediaType = p.optionalType(where)
	case "artifactType":
		p.artifactType = p.optionalType(where)
	case "config":
		p.config = p.descriptor(where)
	case "layers":
		p.layers = true
		p.list(where, p.layer)
	case "manifests":
		p.manifests = true
		p.list(where, p.child)
	case "subject":
		if !p.r.null() {
			p.m.Subject = p.descriptor(where)
		}
	case "annotations":
		p.m.Annotations = p.annotations(where)
	}
}

// complete checks what needs the whole document.
func (p *manifestParser) complete() {
	switch {
	case p.version != "2":
		p.r.failf("schemaVersion", "must be 2")
	case p.mediaType == "" && p.m.MediaType != MediaTypeImageManifest && p.m.MediaType != MediaTypeImageIndex:
		p.r.failf("mediaType", "is missing; the media type %s requires it", p.m.MediaType)
	case p.mediaType != "" && p.mediaType != p.m.MediaType:
		p.r.failf("mediaType", "is %.100q but the manifest was pushed as %q: they must be equal", p.mediaType, p.m.MediaType)
	case p.index && (p.layers || p.config != nil):
		p.r.failf("", "%s must not have config or layers", p.m.MediaType)
	case p.index && !p.manifests:
		p.r.failf("manifests", "is missing; an index requires it, if only as []")
	case !p.index && p.manifests:
		p.r.failf("", "%s must not have manifests", p.m.MediaType)
	case !p.index && p.config == nil:
		p.r.failf("config", "is missing; an image manifest requires it")
	case !p.index && !p.layers:
		p.r.failf("layers", "is missing; an image manifest requires it, if only as []")
	}
	if p.r.err != nil {
		p.m = Manifest{}
		return
	}
	p.m.ArtifactType = p.artifactType
	if p.config != nil {
		p.m.Blobs = slices.Insert(p.m.Blobs, 0, *p.config)
		if p.m.ArtifactType == "" {
			p.m.ArtifactType = p.config.MediaType
		}
	}
}

// list reads an array of descriptors; null is an empty one, as Go's encoders
// write a nil slice.
func (p *manifestParser) list(where string, add func(Descriptor)) {
	if p.r.null() {
		return
	}
	p.r.array(where, func(i int) {
		if d := p.descriptor(fmt.Sprintf("%s[%d]", where, i)); d != nil {
			add(*d)
		}
	})
}

func (p *manifestParser) layer(d Descriptor) {
	if d.mayBeAbsent() {
		p.m.Optional = append(p.m.Optional, d)
	} else {
		p.m.Blobs = append(p.m.Blobs, d)
	}
}

// child sorts an entry of an index. What is not of a type that we take as a
// manifest can only have been pushed as a blob: BuildKit's caches are indexes
// of layers.
func (p *manifestParser) child(d Descriptor) {
	switch d.MediaType {
	case MediaTypeImageManifest, MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerList:
		p.m.Manifests = append(p.m.Manifests, d)
	default:
		p.layer(d)
	}
}

// mayBeAbsent reports whether a registry must take a manifest without this
// layer (distribution-spec, "Pushing Manifests"; image-spec, layer.md,
// "Non-Distributable Layers").
func (d Descriptor) mayBeAbsent() bool {
	return len(d.URLs) > 0 ||
		strings.HasPrefix(d.MediaType, "application/vnd.oci.image.layer.nondistributable.") ||
		strings.HasPrefix(d.MediaType, "application/vnd.docker.image.rootfs.foreign.")
}

// descriptor reads a descriptor, or returns nil after an error.
func (p *manifestParser) descriptor(where string) *Descriptor {
	if p.descriptors++; p.descriptors > MaxDescriptors {
		p.r.failf(where, "more than %d descriptors in one manifest", MaxDescriptors)
	}
	d := Descriptor{Size: -1}
	var data *string
	p.fields(where, descriptorFields, func(where, key string) {
		switch key {
		case "mediaType":
			d.MediaType = p.mediaTypeText(where)
		case "artifactType":
			d.ArtifactType = p.optionalType(where)
		case "digest":
			d.Digest = p.digest(where)
		case "size":
			d.Size = p.size(where)
		case "annotations":
			d.Annotations = p.annotations(where)
		case "urls":
			d.URLs = p.urls(where)
		case "data":
			if !p.r.null() {
				text := p.r.text(where)
				data = &text
			}
		}
	})
	switch {
	case p.r.err != nil:
		return nil
	case d.MediaType == "":
		p.r.failf(join(where, "mediaType"), "is missing")
	case d.Digest == "":
		p.r.failf(join(where, "digest"), "is missing")
	case d.Size < 0:
		p.r.failf(join(where, "size"), "is missing")
	case data != nil:
		p.data(join(where, "data"), d, *data)
	}
	return &d
}

// data checks embedded content (image-spec, descriptor.md, "data").
func (p *manifestParser) data(where string, d Descriptor, text string) {
	content, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		p.r.failf(where, "must be base64")
	case int64(len(content)) != d.Size:
		p.r.failf(where, "has %d bytes but size is %d", len(content), d.Size)
	case !d.Digest.Matches(content):
		p.r.failf(where, "does not match digest")
	}
}

func (p *manifestParser) digest(where string) Digest {
	d, err := ParseDigest(p.r.text(where))
	if err != nil {
		_, text := CodeOf(err)
		p.r.failf(where, "%s", text)
	}
	return d
}

func (p *manifestParser) size(where string) int64 {
	text := p.r.number(where)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(text, "-") {
		p.r.failf(where, "must be a whole number of bytes, 0 or more")
	}
	return n
}

// optionalType reads a media type; "" and null say that there is none.
func (p *manifestParser) optionalType(where string) string {
	if p.r.null() || p.r.word(`""`) {
		return ""
	}
	return p.mediaTypeText(where)
}

func (p *manifestParser) mediaTypeText(where string) string {
	text := p.r.text(where)
	if text == "" || len(text) > maxMediaType || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		p.r.failf(where, "must be a media type: 1 to %d printable ASCII characters", maxMediaType)
	}
	return text
}

// annotations reads a map of strings (image-spec, annotations.md).
func (p *manifestParser) annotations(where string) map[string]string {
	if p.r.null() {
		return nil
	}
	out := make(map[string]string)
	p.r.object(where, func(key string) {
		value := p.plainText(where + " value")
		if strings.Contains(key, "\x00") {
			p.r.failf(where, "must not hold NUL")
		}
		out[key] = value
	})
	return out
}

func (p *manifestParser) urls(where string) (out []string) {
	if p.r.null() {
		return nil
	}
	p.r.array(where, func(int) { out = append(out, p.plainText(where+" element")) })
	return out
}

// plainText reads a string without NUL, which no database text can hold.
func (p *manifestParser) plainText(where string) string {
	text := p.r.text(where)
	if strings.Contains(text, "\x00") {
		p.r.failf(where, "must not hold NUL")
	}
	return text
}

// ParseMediaType returns the media type of a Content-Type header without its
// parameters (RFC 9110 §8.3.1). Errors: ManifestInvalid.
func ParseMediaType(header string) (string, error) {
	if len(header) > maxMediaType {
		return "", Errorf(ManifestInvalid, "Content-Type is %d bytes long; the limit is %d", len(header), maxMediaType)
	}
	if strings.ContainsFunc(header, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
		return "", Errorf(ManifestInvalid, "Content-Type holds a character outside printable ASCII")
	}
	text, _, _ := strings.Cut(header, ";")
	text = strings.Trim(text, " \t")
	kind, subtype, _ := strings.Cut(text, "/")
	if !isToken(kind) || !isToken(subtype) {
		return "", Errorf(ManifestInvalid, "Content-Type %q is no media type: want type/subtype", text)
	}
	return text, nil
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
