package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// A Digest is "algorithm:hex" (image-spec, descriptor.md, "Digests"). One made
// by ParseDigest has a registered algorithm that we can compute.
type Digest string

// The algorithms we can verify.
const (
	SHA256 = "sha256"
	SHA512 = "sha512"
)

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Hex returns the part after the colon.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// NewHash returns a hash of the given algorithm, or nil when we do not have it.
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	}
	return nil
}

// DigestOf returns the digest of h's algorithm name and present sum.
func DigestOf(algorithm string, h hash.Hash) Digest {
	return Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// FromBytes returns the sha256 digest of b.
func FromBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(SHA256 + ":" + hex.EncodeToString(sum[:]))
}

// Matches reports whether b has digest d.
func (d Digest) Matches(b []byte) bool {
	h := NewHash(d.Algorithm())
	if h == nil {
		return false
	}
	h.Write(b)
	return DigestOf(d.Algorithm(), h) == d
}

// ParseDigest checks s: sha256 with 64 or sha512 with 128 lower-case hex
// digits. Errors: DigestInvalid, also for algorithms we do not have.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, found := strings.Cut(s, ":")
	want := 0
	switch algorithm {
	case SHA256:
		want = 2 * sha256.Size
	case SHA512:
		want = 2 * sha512.Size
	}
	switch {
	case !found:
		return "", Errorf(DigestInvalid, "digest %.140q: want algorithm:hex", s)
	case want == 0:
		return "", Errorf(DigestInvalid, "digest algorithm %.40q is not supported: use sha256 or sha512", algorithm)
	case len(encoded) != want:
		return "", Errorf(DigestInvalid, "digest has %d characters after %s: want %d", len(encoded), algorithm, want)
	}
	for i := range len(encoded) {
		if c := encoded[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return "", Errorf(DigestInvalid, "digest %.140q: want lower-case hex after the algorithm", s)
		}
	}
	return Digest(s), nil
}
