package oci_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
)

// The grammars, as the distribution-spec ("Pulling manifests") and the
// image-spec (descriptor.md, "Digests") write them.
var (
	nameGrammar   = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	tagGrammar    = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
	digestGrammar = regexp.MustCompile(`\A(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\z`)
)

var names = []struct {
	name string
	text string
	ok   bool
}{
	{"one component", "app", true},
	{"components", "team/sub/app", true},
	{"separators", "a.b_c__d-e--f/0", true},
	{"words of our paths", "blobs/uploads/manifests/tags/list", true},
	{"as long as may be", strings.Repeat("a", oci.MaxRepoName), true},
	{"empty", "", false},
	{"R-01 dot dot", "../x", false},
	{"R-01 dot dot inside", "a/../../b", false},
	{"R-01 encoded slash", "a%2f..%2fb", false},
	{"R-01 double slash", "a//b", false},
	{"R-01 dot", ".", false},
	{"R-01 backslash", `a\b`, false},
	{"R-01 NUL", "a\x00b", false},
	{"R-01 300 characters", strings.Repeat("a", 300), false},
	{"R-01 long component", "a/" + strings.Repeat("b", 256), false},
	{"one too long", strings.Repeat("a", oci.MaxRepoName+1), false},
	{"R-33 capital", "team-a/App", false},
	{"S-05 host and port", "host:5000/team/app", false},
	{"S-05 pattern", "team-*/**", false},
	{"S-05 newline", "team/app\n", false},
	{"leading slash", "/a", false},
	{"trailing slash", "a/", false},
	{"leading separator", "-a", false},
	{"trailing separator", "a/b_", false},
	{"three underscores", "a___b", false},
	{"two dots", "a..b", false},
	{"mixed separators", "a._b", false},
	{"not ASCII", "tëam", false},
	{"extension point", "_oci/ext", false},
}

func TestParseRepoName(t *testing.T) {
	for _, c := range names {
		t.Run(c.name, func(t *testing.T) {
			got, err := oci.ParseRepoName(c.text)
			switch {
			case c.ok && (err != nil || string(got) != c.text):
				t.Errorf("ParseRepoName(%q) = %q, %v", c.text, got, err)
			case !c.ok && (!errors.Is(err, oci.NameInvalid) || got != ""):
				t.Errorf("ParseRepoName(%q) = %q, %v, want NAME_INVALID", c.text, got, err)
			}
		})
	}
}

var tags = []struct {
	name string
	text string
	ok   bool
}{
	{"usual", "v1.2.3", true},
	{"capitals", "Latest_RC-1", true},
	{"underscore first", "_x", true},
	{"as long as may be", strings.Repeat("a", 128), true},
	{"R-17 fallback tag", "sha256-" + strings.Repeat("a", 64), true},
	{"R-17 cosign tag", "sha256-" + strings.Repeat("a", 64) + ".sig", true},
	{"R-17 digest", "sha256:" + strings.Repeat("a", 64), false},
	{"R-17 dot dot", "..", false},
	{"R-17 129 characters", strings.Repeat("a", 129), false},
	{"R-17 dash first", "-a", false},
	{"empty", "", false},
	{"slash", "a/b", false},
	{"newline", "a\n", false},
	{"not ASCII", "é", false},
}

func TestParseTag(t *testing.T) {
	for _, c := range tags {
		t.Run(c.name, func(t *testing.T) {
			got, err := oci.ParseTag(c.text)
			switch {
			case c.ok && (err != nil || string(got) != c.text):
				t.Errorf("ParseTag(%q) = %q, %v", c.text, got, err)
			case !c.ok && (!errors.Is(err, oci.TagInvalid) || got != ""):
				t.Errorf("ParseTag(%q) = %q, %v, want TAG_INVALID", c.text, got, err)
			}
		})
	}
}

var digests = []struct {
	name string
	text string
	ok   bool
}{
	{"sha256", "sha256:" + strings.Repeat("0a", 32), true},
	{"R-04 sha512", "sha512:" + strings.Repeat("0a", 64), true},
	{"R-04 sha512 too short", "sha512:" + strings.Repeat("0a", 32), false},
	{"R-04 md5", "md5:" + strings.Repeat("0a", 16), false},
	{"R-04 sha1", "sha1:" + strings.Repeat("0a", 20), false},
	{"R-04 sha384", "sha384:" + strings.Repeat("0a", 48), false},
	{"R-04 blake3", "blake3:" + strings.Repeat("0a", 32), false},
	{"capitals", "sha256:" + strings.Repeat("0A", 32), false},
	{"capital algorithm", "SHA256:" + strings.Repeat("0a", 32), false},
	{"no hex", "sha256:baddigeststring", false},
	{"no colon", strings.Repeat("0a", 32), false},
	{"path", "sha256:" + strings.Repeat("../", 21) + "a", false},
	{"empty", "", false},
	{"only a colon", ":", false},
}

func TestParseDigest(t *testing.T) {
	for _, c := range digests {
		t.Run(c.name, func(t *testing.T) {
			got, err := oci.ParseDigest(c.text)
			switch {
			case c.ok && (err != nil || string(got) != c.text):
				t.Errorf("ParseDigest(%q) = %q, %v", c.text, got, err)
			case !c.ok && (!errors.Is(err, oci.DigestInvalid) || got != ""):
				t.Errorf("ParseDigest(%q) = %q, %v, want DIGEST_INVALID", c.text, got, err)
			}
		})
	}
}

func TestDigestOfBytes(t *testing.T) {
	empty := oci.FromBytes(nil)
	if want := oci.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"); empty != want {
		t.Errorf("FromBytes(nil) = %s, want %s", empty, want)
	}
	for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
		h := oci.NewHash(algorithm)
		h.Write([]byte("hello"))
		d := oci.DigestOf(algorithm, h)
		if parsed, err := oci.ParseDigest(string(d)); err != nil || parsed != d {
			t.Errorf("ParseDigest(%s) = %s, %v", d, parsed, err)
		}
		if !d.Matches([]byte("hello")) || d.Matches([]byte("hello ")) {
			t.Errorf("%s matches the wrong bytes", d)
		}
	}
	if oci.NewHash("md5") != nil || oci.Digest("md5:00").Matches(nil) {
		t.Error("md5 is not supported")
	}
}

// FuzzNames: the parsers accept exactly the grammars of the specifications.
func FuzzNames(f *testing.F) {
	for _, c := range names {
		f.Add(c.text)
	}
	for _, c := range tags {
		f.Add(c.text)
	}
	for _, c := range digests {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := oci.ParseRepoName(s); (err == nil) != (len(s) <= oci.MaxRepoName && nameGrammar.MatchString(s)) || err == nil && string(n) != s {
			t.Errorf("ParseRepoName(%q) = %q, %v", s, n, err)
		}
		if n, err := oci.ParseTag(s); (err == nil) != tagGrammar.MatchString(s) || err == nil && string(n) != s {
			t.Errorf("ParseTag(%q) = %q, %v", s, n, err)
		}
		if n, err := oci.ParseDigest(s); (err == nil) != digestGrammar.MatchString(s) || err == nil && string(n) != s {
			t.Errorf("ParseDigest(%q) = %q, %v", s, n, err)
		}
	})
}

// FuzzRef: a reference is a tag or a digest, never both, and its text is it again.
func FuzzRef(f *testing.F) {
	for _, s := range []string{"latest", "sha256:" + strings.Repeat("0a", 32), "sha256:x", "a:b", "", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := oci.ParseRef(s)
		if err != nil {
			if code, text := oci.CodeOf(err); code != oci.TagInvalid && code != oci.DigestInvalid || text == "" {
				t.Errorf("ParseRef(%q): %v", s, err)
			}
			if ref != (oci.Ref{}) {
				t.Errorf("ParseRef(%q) = %v beside an error", s, ref)
			}
			return
		}
		if ref.String() != s || (ref.Tag() == "") == (ref.Digest() == "") {
			t.Errorf("ParseRef(%q) = %q (tag %q, digest %q)", s, ref, ref.Tag(), ref.Digest())
		}
	})
}
