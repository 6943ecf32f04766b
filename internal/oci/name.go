package oci

import "strings"

// Limits on names. distribution-spec, "Pulling manifests", gives the grammar;
// many clients allow 255 characters for host, port and name together, so ours
// leave room for the host.
const (
	MaxRepoName = 200 // bytes
	MaxTag      = 128 // bytes
)

// Names are types, so that a tag cannot be passed where a repository is meant.
// A value made by the Parse functions is always inside the grammar.
type (
	RepoName string // "team/app"; distribution-spec, "Pulling manifests"
	Tag      string
)

// A Ref selects one manifest, by tag or by digest, never both and never neither.
type Ref struct {
	tag    Tag
	digest Digest
}

// ByTag selects the manifest that t points at.
func ByTag(t Tag) Ref { return Ref{tag: t} }

// ByDigest selects the manifest whose bytes have digest d.
func ByDigest(d Digest) Ref { return Ref{digest: d} }

// Tag returns the tag, or "" when r selects by digest.
func (r Ref) Tag() Tag { return r.tag }

// Digest returns the digest, or "" when r selects by tag.
func (r Ref) Digest() Digest { return r.digest }

func (r Ref) String() string {
	if r.digest != "" {
		return string(r.digest)
	}
	return string(r.tag)
}

// ParseRepoName checks s against the grammar of the distribution-spec,
//
//	[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
//
// and against MaxRepoName. Errors: NameInvalid.
func ParseRepoName(s string) (RepoName, error) {
	if len(s) > MaxRepoName {
		return "", Errorf(NameInvalid, "repository name is %d bytes long; the limit is %d", len(s), MaxRepoName)
	}
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return "", Errorf(NameInvalid, "repository name component %.60q: use lower-case letters and digits, joined by one '.', one or two '_', or '-'", component)
		}
	}
	return RepoName(s), nil
}

func validComponent(s string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	if s == "" || !alnum(s[0]) || !alnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if alnum(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && !alnum(s[i]) {
			i++
		}
		switch sep := s[start:i]; {
		case sep == ".", sep == "_", sep == "__":
		case strings.Trim(sep, "-") == "":
		default:
			return false
		}
	}
	return true
}

// ParseTag checks s against [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
// (distribution-spec, "Pulling manifests"). Errors: TagInvalid.
func ParseTag(s string) (Tag, error) {
	ok := s != "" && len(s) <= MaxTag && s[0] != '.' && s[0] != '-'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-'
	}
	if !ok {
		return "", Errorf(TagInvalid, "tag %.140q: use 1 to %d letters, digits, '_', '.', '-', not starting with '.' or '-'", s, MaxTag)
	}
	return Tag(s), nil
}

// ParseRef reads a manifest reference: a digest if it holds a ':', else a tag.
// Errors: DigestInvalid, TagInvalid.
func ParseRef(s string) (Ref, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return ByDigest(d), err
	}
	t, err := ParseTag(s)
	return ByTag(t), err
}
