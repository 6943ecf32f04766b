package access

import (
	"crypto/sha256"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

// A SecretForm is a typed secret that scanners can find and that we can refuse
// without a look-up when it was mistyped:
//
//	sallyport_key_ 30 base62 (178 bits)  6 base62 (CRC-32 of all before it)
//	sallyport_idt_ 43 base62 (256 bits)  6 base62
//	sallyport_rst_ 30 base62 (178 bits)  6 base62
//	sallyport_aut_ 43 base62 (256 bits)  6 base62
//	sallyport_dev_ 43 base62 (256 bits)  6 base62
type SecretForm struct {
	Prefix string
	Random int // base62 characters of randomness
}

// The forms of our opaque secrets. No secret of one form is ever tried as
// another.
var (
	KeySecret     = SecretForm{Prefix: "sallyport_key_", Random: 30}
	RefreshSecret = SecretForm{Prefix: "sallyport_idt_", Random: 43}
	ResetSecret   = SecretForm{Prefix: "sallyport_rst_", Random: 30} // sets a password once
	CodeSecret    = SecretForm{Prefix: "sallyport_aut_", Random: 43} // what a browser brings a program that logs in
	DeviceSecret  = SecretForm{Prefix: "sallyport_dev_", Random: 43} // with which a program waits for somebody's approval
)

const (
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	checksumLength = 6
)

// New makes a secret of form f from rand (crypto/rand.Reader in production).
func (f SecretForm) New(rand io.Reader) (Secret, error) {
	var b strings.Builder
	b.WriteString(f.Prefix)
	var buf [1]byte
	for n := 0; n < f.Random; {
		if _, err := io.ReadFull(rand, buf[:]); err != nil {
			return Secret{}, err
		}
		if buf[0] < 248 { // 4 × 62: every character equally likely
			b.WriteByte(base62[buf[0]%62])
			n++
		}
	}
	return NewSecret(b.String() + checksum(b.String())), nil
}

// Length returns the length of every secret of form f, in bytes.
func (f SecretForm) Length() int { return len(f.Prefix) + f.Random + checksumLength }

// Claims reports whether s has the prefix of form f, well made or not.
func (f SecretForm) Claims(s string) bool { return strings.HasPrefix(s, f.Prefix) }

// Valid reports whether s is well made: prefix, length, alphabet, checksum.
func (f SecretForm) Valid(s string) bool {
	body := len(f.Prefix) + f.Random
	if !f.Claims(s) || len(s) != f.Length() {
		return false
	}
	for i := len(f.Prefix); i < body; i++ {
		if strings.IndexByte(base62, s[i]) < 0 {
			return false
		}
	}
	return checksum(s[:body]) == s[body:]
}

// Sum returns what is stored instead of the secret: its SHA-256.
func (s Secret) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(s.Reveal())) }

func checksum(s string) string {
	text := big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))).Text(62)
	// big.Int writes 0-9 a-z A-Z; any fixed alphabet serves.
	return strings.Repeat("0", checksumLength-len(text)) + text
}
