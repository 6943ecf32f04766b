package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/oci"
)

const (
	configType = "application/vnd.oci.image.config.v1+json"
	layerType  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

var (
	digestA = oci.FromBytes([]byte("a"))
	digestB = oci.FromBytes([]byte("b"))
)

// desc writes a descriptor; more is put at its end.
func desc(mediaType string, d oci.Digest, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1%s}`, mediaType, d, more)
}

// image writes an image manifest with more fields at its end.
func image(more string) string {
	return `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[` + desc(layerType, digestB, "") + `]` + more + `}`
}

func index(more string) string {
	return `{"schemaVersion":2,"manifests":[` + desc(oci.MediaTypeImageManifest, digestA, "") + `]` + more + `}`
}

// spaced puts white space between the tokens of body, whose texts hold none of
// these characters.
func spaced(body string) string {
	return strings.NewReplacer(`":`, "\" :\r\n", ",", " ,\t", "[", "[ ", "}", "\n}").Replace(body)
}

func parse(mediaType, body string) (oci.Manifest, error) {
	return oci.ParseManifest(oci.RawManifest{MediaType: mediaType, Digest: oci.FromBytes([]byte(body)), Bytes: []byte(body)})
}

const (
	imageType = oci.MediaTypeImageManifest
	indexType = oci.MediaTypeImageIndex
)

var config = oci.Descriptor{MediaType: configType, Digest: digestA, Size: 1}
var layer = oci.Descriptor{MediaType: layerType, Digest: digestB, Size: 1}
var child = oci.Descriptor{MediaType: imageType, Digest: digestA, Size: 1}

func TestParseManifestAccepts(t *testing.T) {
	foreign := "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	dockerForeign := "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	subject := oci.Descriptor{MediaType: imageType, Digest: digestB, Size: 1}
	both := []oci.Descriptor{config, layer}
	for _, c := range []struct {
		name string
		kind string
		body string
		want oci.Manifest
	}{
		{"image", imageType, image(""), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"image that names its type", imageType, image(`,"mediaType":"` + imageType + `"`), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"R-32 docker image", oci.MediaTypeDockerManifest, image(`,"mediaType":"` + oci.MediaTypeDockerManifest + `"`), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"R-32 docker list", oci.MediaTypeDockerList, index(`,"mediaType":"` + oci.MediaTypeDockerList + `"`), oci.Manifest{Manifests: []oci.Descriptor{child}}},
		{"index", indexType, index(""), oci.Manifest{Manifests: []oci.Descriptor{child}}},
		{"empty index", indexType, `{"schemaVersion":2,"manifests":[]}`, oci.Manifest{}},
		{"no children as Go writes it", indexType, `{"schemaVersion":2,"manifests":null}`, oci.Manifest{}},
		{"nested index", indexType, `{"schemaVersion":2,"manifests":[` + desc(indexType, digestA, "") + `]}`,
			oci.Manifest{Manifests: []oci.Descriptor{{MediaType: indexType, Digest: digestA, Size: 1}}}},
		{"cache: an index of layers", indexType, `{"schemaVersion":2,"manifests":[` + desc(layerType, digestB, "") + `]}`, oci.Manifest{Blobs: []oci.Descriptor{layer}}},
		{"no layers", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[]}`,
			oci.Manifest{Blobs: []oci.Descriptor{config}, ArtifactType: configType}},
		{"layers first", imageType, `{"layers":[` + desc(layerType, digestB, "") + `],"config":` + desc(configType, digestA, "") + `,"schemaVersion":2}`,
			oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"unknown fields", imageType, image(`,"x":{"Layers":[1e3,-0.5,true,false,null,"\u00e9\ud83d\ude00"],"layers":2}`), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"artifact type", imageType, image(`,"artifactType":"application/x"`), oci.Manifest{Blobs: both, ArtifactType: "application/x"}},
		{"empty artifact type", imageType, image(`,"artifactType":""`), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"index with artifact type", indexType, index(`,"artifactType":"application/x"`), oci.Manifest{Manifests: []oci.Descriptor{child}, ArtifactType: "application/x"}},
		{"subject", imageType, image(`,"subject":` + desc(imageType, digestB, "")), oci.Manifest{Blobs: both, ArtifactType: configType, Subject: &subject}},
		{"index with subject", indexType, index(`,"subject":` + desc(imageType, digestB, "")), oci.Manifest{Manifests: []oci.Descriptor{child}, Subject: &subject}},
		{"null subject", imageType, image(`,"subject":null`), oci.Manifest{Blobs: both, ArtifactType: configType}},
		{"annotations with free keys", imageType, image(`,"annotations":{"Layers":"x","a\"b":"\u00e9"}`),
			oci.Manifest{Blobs: both, ArtifactType: configType, Annotations: map[string]string{"Layers": "x", `a"b`: "é"}}},
		{"sha512", indexType, `{"schemaVersion":2,"manifests":[` + desc(imageType, oci.Digest("sha512:"+strings.Repeat("0a", 64)), "") + `]}`,
			oci.Manifest{Manifests: []oci.Descriptor{{MediaType: imageType, Digest: oci.Digest("sha512:" + strings.Repeat("0a", 64)), Size: 1}}}},
		{"foreign layers", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[` + desc(foreign, digestA, "") + `,` + desc(dockerForeign, digestA, "") + `,` + desc(layerType, digestB, "") + `]}`,
			oci.Manifest{Blobs: both, ArtifactType: configType, Optional: []oci.Descriptor{{MediaType: foreign, Digest: digestA, Size: 1}, {MediaType: dockerForeign, Digest: digestA, Size: 1}}}},
		{"R-25 layer with urls", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[` + desc(layerType, digestB, `,"urls":["file:///etc/passwd"]`) + `]}`,
			oci.Manifest{Blobs: []oci.Descriptor{config}, ArtifactType: configType, Optional: []oci.Descriptor{{MediaType: layerType, Digest: digestB, Size: 1, URLs: []string{"file:///etc/passwd"}}}}},
		{"no urls", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, `,"urls":[]`) + `,"layers":[]}`,
			oci.Manifest{Blobs: []oci.Descriptor{config}, ArtifactType: configType}},
		{"null where nothing is required", imageType, `{"schemaVersion":2,"mediaType":null,"artifactType":null,"annotations":null,"config":` +
			desc(configType, digestA, `,"urls":null,"annotations":null,"artifactType":null,"data":null`) + `,"layers":null}`,
			oci.Manifest{Blobs: []oci.Descriptor{config}, ArtifactType: configType}},
		{"data", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, `,"data":"YQ=="`) + `,"layers":[]}`,
			oci.Manifest{Blobs: []oci.Descriptor{config}, ArtifactType: configType}},
		{"white space", imageType, " \r\n\t" + spaced(image("")) + "\n", oci.Manifest{Blobs: both, ArtifactType: configType}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.kind, c.body)
			if err != nil {
				t.Fatal(err)
			}
			c.want.RawManifest = got.RawManifest
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if got.MediaType != c.kind || string(got.Bytes) != c.body || got.Digest != oci.FromBytes([]byte(c.body)) {
				t.Error("the raw manifest was changed")
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	withLayer := func(d string) string {
		return `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[` + d + `]}`
	}
	deep := func(n int) string { return image(`,"x":` + strings.Repeat("[", n) + strings.Repeat("]", n)) }
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	manyKeys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":"",`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for _, c := range []struct {
		name string
		kind string
		body string
		want string // part of the text for the client
	}{
		{"R-05 empty", imageType, ``, "must be an object"},
		{"R-05 BOM", imageType, "\ufeff" + image(""), "byte order mark"},
		{"R-05 trailing bytes", imageType, image("") + "x", "1 bytes follow"},
		{"R-05 two documents", imageType, image("") + "{}", "2 bytes follow"},
		{"R-05 cut short", imageType, image("")[:40], "not valid JSON"},
		{"R-05 NUL after the end", imageType, image("") + "\x00", "1 bytes follow"},
		{"not UTF-8", imageType, image(",\"x\":\"\xff\""), "not UTF-8"},
		{"half a surrogate pair", imageType, image(`,"x":"\ud83d"`), "surrogate"},
		{"two first halves", imageType, image(`,"x":"\ud83d\ud83d"`), "surrogate"},
		{"array", imageType, `[]`, "must be an object"},
		{"null", imageType, `null`, "must be an object"},
		{"trailing comma", imageType, `{"schemaVersion":2,}`, "a key in quotes"},
		{"missing comma", imageType, `{"schemaVersion":2 "x":1}`, "',' or '}'"},
		{"missing colon", imageType, `{"schemaVersion" 2}`, "':'"},
		{"array without comma", imageType, image(`,"x":[1 2]`), "',' or ']'"},
		{"single quotes", imageType, `{'schemaVersion':2}`, "a key in quotes"},
		{"comment", imageType, `{/**/"schemaVersion":2}`, "a key in quotes"},
		{"control character", imageType, image(",\"x\":\"a\nb\""), "control character"},
		{"bad escape", imageType, image(`,"x":"\x41"`), "an escape"},
		{"end in a string", imageType, `{"schemaVersion`, "want '\"'"},
		{"end in an escape", imageType, `{"schemaVersion\`, "an escape"},
		{"end in hex", imageType, `{"\u00`, "hexadecimal"},
		{"end in a surrogate pair", imageType, `{"\ud83d\u`, "hexadecimal"},
		{"bad hex", imageType, image(`,"x":"\u00g0"`), "hexadecimal"},
		{"leading zero", imageType, image(`,"x":01`), "',' or '}'"},
		{"bare minus", imageType, image(`,"x":-`), "must be a number"},
		{"no digits after the point", imageType, image(`,"x":1.`), "a digit"},
		{"no exponent", imageType, image(`,"x":1e+`), "a digit"},
		{"NaN", imageType, image(`,"x":NaN`), "a value"},

		{"R-07 nested arrays", imageType, deep(10_000), "nested deeper than 64"},
		{"R-07 a million nested arrays", imageType, image(`,"x":` + strings.Repeat("[", 1_000_000)), "nested deeper than 64"},
		{"R-07 nested objects", imageType, image(`,"x":` + strings.Repeat(`{"a":`, 10_000)), "nested deeper than 64"},
		{"R-07 many annotations", imageType, image(`,"annotations":{` + manyKeys(300_000) + `}`), "annotations: has more than 10000 keys"},
		{"R-07 many keys elsewhere", imageType, image(`,"x":{` + manyKeys(300_000) + `}`), "more than 10000 keys"},
		{"R-07 many layers", imageType, withLayer(many(20_000, desc(layerType, digestB, ""))), "layers[9999]: more than 10000 descriptors"},
		{"R-07 many empty layers", imageType, withLayer(many(1_000_000, `{}`)), "layers[0].mediaType: is missing"},
		{"R-07 huge number", imageType, image(`,"x":1e400`), "too large"},
		{"R-07 long number", imageType, image(`,"x":1` + strings.Repeat("0", 1_000_000)), "more than 64 characters"},
		{"R-07 too large", imageType, image(`,"x":"` + strings.Repeat("a", oci.MaxManifestSize) + `"`), "the limit is 4194304"},

		{"R-08 layers twice", imageType, image(`,"layers":[]`), `the key "layers" is there twice`},
		{"R-08 config twice", imageType, image(`,"config":` + desc(configType, digestB, "")), `the key "config" is there twice`},
		{"R-08 mediaType twice", imageType, image(`,"mediaType":"` + imageType + `","mediaType":"` + imageType + `"`), `the key "mediaType" is there twice`},
		{"R-08 Layers", imageType, image(`,"Layers":[]`), `the key "Layers" must be written "layers"`},
		{"R-08 layerſ", imageType, image(`,"layerſ":[]`), `must be written "layers"`},
		{"R-08 escaped double", imageType, image(`,"\u006cayers":[]`), `the key "layers" is there twice`},
		{"R-08 digest twice", imageType, withLayer(desc(layerType, digestB, `,"digest":"`+string(digestA)+`"`)), `layers[0]: the key "digest" is there twice`},
		{"R-08 Digest", imageType, withLayer(desc(layerType, digestB, `,"Digest":"`+string(digestA)+`"`)), `layers[0]: the key "Digest" must be written "digest"`},
		{"R-08 annotation twice", imageType, image(`,"annotations":{"a":"1","a":"2"}`), `annotations: the key "a" is there twice`},
		{"R-08 deep in an unknown field", imageType, image(`,"x":[{"y":{"a":1,"b":2,"\u0061":3}}]`), `the key "a" is there twice`},

		{"R-09 layers and manifests", imageType, image(`,"manifests":[]`), "must not have manifests"},
		{"R-09 manifests and layers", indexType, index(`,"layers":[]`), "must not have config or layers"},
		{"R-09 manifests and config", indexType, index(`,"config":` + desc(configType, digestA, "")), "must not have config or layers"},
		{"R-09 body of another type", imageType, image(`,"mediaType":"` + oci.MediaTypeDockerManifest + `"`), "they must be equal"},
		{"R-09 index sent as image", imageType, index(""), "must not have manifests"},
		{"R-09 image sent as index", indexType, image(""), "must not have config or layers"},
		{"R-09 docker without mediaType", oci.MediaTypeDockerManifest, image(""), "mediaType: is missing"},
		{"R-09 docker list without mediaType", oci.MediaTypeDockerList, index(""), "mediaType: is missing"},
		{"R-09 mediaType is no text", imageType, image(`,"mediaType":2`), "mediaType: must be a string"},
		{"R-11 text/html", "text/html", image(""), "is no manifest: use application/vnd.oci.image.manifest.v1+json"},
		{"R-11 none", "", image(""), "is no manifest"},
		{"R-32 schema 1", "application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1}`, "schema 1 is not supported"},
		{"R-32 signed schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "schema 1 is not supported"},
		{"R-32 schema 1 as 2", oci.MediaTypeDockerManifest, `{"schemaVersion":1,"name":"a","fsLayers":[]}`, "schemaVersion: must be 2"},
		{"R-32 unknown type", "application/vnd.oci.artifact.manifest.v1+json", `{}`, "is no manifest"},

		{"no schemaVersion", imageType, strings.Replace(image(""), `"schemaVersion":2,`, "", 1), "schemaVersion: must be 2"},
		{"schemaVersion text", imageType, strings.Replace(image(""), `"schemaVersion":2`, `"schemaVersion":"2"`, 1), "schemaVersion: must be a number"},
		{"no config", imageType, `{"schemaVersion":2,"layers":[]}`, "config: is missing"},
		{"null config", imageType, `{"schemaVersion":2,"config":null,"layers":[]}`, "config: must be an object"},
		{"no layers", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `}`, "layers: is missing"},
		{"layers object", imageType, `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":{}}`, "layers: must be an array"},
		{"no manifests", indexType, `{"schemaVersion":2}`, "manifests: is missing"},
		{"layer is a text", imageType, withLayer(`"x"`), "layers[0]: must be an object"},
		{"no media type", imageType, withLayer(`{"digest":"` + string(digestA) + `","size":1}`), "layers[0].mediaType: is missing"},
		{"empty media type", imageType, withLayer(desc("", digestA, "")), "layers[0].mediaType: must be a media type"},
		{"media type with control character", imageType, withLayer(`{"mediaType":"a\u000a/b","digest":"` + string(digestA) + `","size":1}`), "printable ASCII"},
		{"no digest", imageType, withLayer(`{"mediaType":"a/b","size":1}`), "layers[0].digest: is missing"},
		{"R-04 unsupported digest", imageType, withLayer(desc(layerType, "md5:"+oci.Digest(strings.Repeat("0a", 16)), "")), "layers[0].digest: digest algorithm"},
		{"bad digest of a foreign layer", imageType, withLayer(desc(layerType, "sha256:../../etc/passwd", `,"urls":["x"]`)), "layers[0].digest"},
		{"no size", imageType, withLayer(`{"mediaType":"a/b","digest":"` + string(digestA) + `"}`), "layers[0].size: is missing"},
		{"negative size", imageType, withLayer(`{"mediaType":"a/b","digest":"` + string(digestA) + `","size":-1}`), "whole number of bytes"},
		{"fraction of a byte", imageType, withLayer(`{"mediaType":"a/b","digest":"` + string(digestA) + `","size":1.5}`), "whole number of bytes"},
		{"size beyond int64", imageType, withLayer(`{"mediaType":"a/b","digest":"` + string(digestA) + `","size":9223372036854775808}`), "whole number of bytes"},
		{"size as text", imageType, withLayer(`{"mediaType":"a/b","digest":"` + string(digestA) + `","size":"1"}`), "layers[0].size: must be a number"},
		{"bad subject", imageType, image(`,"subject":{"mediaType":"a/b","digest":"x","size":1}`), "subject.digest"},
		{"annotation number", imageType, image(`,"annotations":{"a":1}`), "annotations value: must be a string"},
		{"annotation NUL", imageType, image(`,"annotations":{"a":"\u0000"}`), "must not hold NUL"},
		{"annotation key NUL", imageType, image(`,"annotations":{"\u0000":"a"}`), "must not hold NUL"},
		{"annotations array", imageType, image(`,"annotations":[]`), "annotations: must be an object"},
		{"url number", imageType, withLayer(desc(layerType, digestB, `,"urls":[1]`)), "urls element: must be a string"},
		{"data of another size", imageType, withLayer(desc(layerType, digestB, `,"data":"YWI="`)), "has 2 bytes but size is 1"},
		{"data of another digest", imageType, withLayer(desc(layerType, digestB, `,"data":"YQ=="`)), "does not match digest"},
		{"data no base64", imageType, withLayer(desc(layerType, digestB, `,"data":"%"`)), "must be base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.kind, c.body)
			code, text := oci.CodeOf(err)
			if code != oci.ManifestInvalid && !(code == oci.ManifestTooLarge && c.name == "R-07 too large") {
				t.Fatalf("got %v, want MANIFEST_INVALID", err)
			}
			if !strings.Contains(text, c.want) || len(text) > 600 {
				t.Errorf("text %q does not hold %q", text, c.want)
			}
			if diff := cmp.Diff(oci.Manifest{}, got); diff != "" {
				t.Errorf("a manifest came with the error: %s", diff)
			}
		})
	}
}

// TestManifestAtLimits: what is exactly at a limit is accepted.
func TestManifestAtLimits(t *testing.T) {
	layers := strings.TrimSuffix(strings.Repeat(desc(layerType, digestB, "")+",", oci.MaxDescriptors-1), ",")
	m, err := parse(imageType, `{"schemaVersion":2,"config":`+desc(configType, digestA, "")+`,"layers":[`+layers+`]}`)
	if err != nil || len(m.Blobs) != oci.MaxDescriptors {
		t.Errorf("%d descriptors: got %d, %v", oci.MaxDescriptors, len(m.Blobs), err)
	}
	n := oci.MaxManifestDepth - 1
	if _, err := parse(imageType, image(`,"x":`+strings.Repeat("[", n)+strings.Repeat("]", n))); err != nil {
		t.Error(err)
	}
	empty := image(`,"x":""`)
	if _, err := parse(imageType, image(`,"x":"`+strings.Repeat("a", oci.MaxManifestSize-len(empty))+`"`)); err != nil {
		t.Error(err)
	}
}

func TestManifestDescriptor(t *testing.T) {
	m, err := parse(imageType, image(`,"artifactType":"application/x","annotations":{"a":"b"},"subject":`+desc(imageType, digestB, "")))
	if err != nil {
		t.Fatal(err)
	}
	want := oci.Descriptor{MediaType: imageType, Digest: oci.FromBytes(m.Bytes), Size: int64(len(m.Bytes)),
		ArtifactType: "application/x", Annotations: map[string]string{"a": "b"}}
	if diff := cmp.Diff(want, m.Descriptor()); diff != "" {
		t.Error(diff)
	}
}

func TestParseMediaType(t *testing.T) {
	for _, c := range []struct {
		name, header, want string
	}{
		{"plain", imageType, imageType},
		{"R-11 charset", imageType + "; charset=utf-8", imageType},
		{"R-11 spaces", " \t" + imageType + " ;x", imageType},
		{"R-11 text/html", "text/html", "text/html"}, // ParseManifest refuses it
		{"R-11 8 KiB", imageType + ";x=" + strings.Repeat("a", 8<<10), ""},
		{"R-11 CRLF", imageType + "\r\nX-Evil: 1", ""},
		{"R-11 CRLF in a parameter", imageType + "; a=\r\n", ""},
		{"NUL", "a/b\x00", ""},
		{"not ASCII", "a/é", ""},
		{"empty", "", ""},
		{"no subtype", "application", ""},
		{"empty subtype", "application/", ""},
		{"two slashes", "a/b/c", ""},
		{"two types", "a/b, c/d", ""},
		{"space inside", "a/b c", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := oci.ParseMediaType(c.header)
			if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, oci.ManifestInvalid) {
				t.Errorf("ParseMediaType(%.80q) = %q, %v, want %q", c.header, got, err, c.want)
			}
		})
	}
}

// BenchmarkParseManifest: an ordinary image, and one as large as conformance sends.
func BenchmarkParseManifest(b *testing.B) {
	layers := strings.TrimSuffix(strings.Repeat(desc(layerType, digestB, "")+",", 10), ",")
	var large strings.Builder
	for i := range 390 {
		fmt.Fprintf(&large, `"org.example.%d":"%s",`, i, bytes.Repeat([]byte("a"), 10_000))
	}
	for name, body := range map[string]string{
		"10-layers": `{"schemaVersion":2,"config":` + desc(configType, digestA, "") + `,"layers":[` + layers + `]}`,
		"3.9MB":     image(`,"annotations":{` + strings.TrimSuffix(large.String(), ",") + `}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			raw := oci.RawManifest{MediaType: imageType, Bytes: []byte(body)}
			for b.Loop() {
				if _, err := oci.ParseManifest(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
