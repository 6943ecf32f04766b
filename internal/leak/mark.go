package leak

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// mark begins every secret of ours.
const mark = "sallyport_"

// A written is one way in which mark may be written.
type written struct {
	text string
	// A base64 text depends on how many bytes stand before mark in the group of
	// three: those are left out, and stand in for what text does not begin with.
	base64 bool
	before string // characters that text needs before it to be decoded
	drop   int    // bytes that they decode to
}

// marks are as it is, and in base64 (RFC 4648, both alphabets: the characters that
// tell them apart cannot stand in a secret).
var marks = []written{
	{text: mark},
	inBase64("", 0),
	inBase64("A", 2),
	inBase64("AA", 3),
}

// inBase64 is mark behind so many bytes, without the first characters, which
// depend on what those bytes are.
func inBase64(before string, skip int) written {
	all := base64.RawStdEncoding.EncodeToString([]byte(before + mark))
	whole := len(before+mark) * 8 / 6 // the last character may depend on what follows
	head := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", len(before)) + mark))[:skip]
	return written{text: all[skip:whole], base64: true, before: head, drop: len(before)}
}

// Sizes of what is looked for, in bytes.
var (
	longestMark = func() (n int) {
		for _, m := range marks {
			n = max(n, len(m.text))
		}
		return n
	}()
	longestSecret = func() (n int) {
		for _, f := range forms {
			n = max(n, f.Length())
		}
		return n
	}()
	// In base64, which may be broken into lines.
	longest = longestSecret*2 + 8
)

// nextMark returns where the first mark stands, and how it is written.
func nextMark(b []byte) (at int, m written) {
	at = -1
	for _, w := range marks {
		if i := bytes.Index(b, []byte(w.text)); i >= 0 {
			b = b[:min(len(b), i+longestMark)] // only what comes before matters now
			if at < 0 || i < at {
				at, m = i, w
			}
		}
	}
	return at, m
}

// read returns what b, which begins with the mark, says: as much as a secret can
// be long.
func (m written) read(b []byte) []byte {
	b = b[:min(len(b), longest)]
	if !m.base64 {
		return b
	}
	text := []byte(m.before)
	for _, c := range b {
		switch {
		case c == '\n' || c == '\r':
			continue
		case c == '-':
			c = '+'
		case c == '_':
			c = '/'
		case !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/'):
			c = 0
		}
		if c == 0 {
			break
		}
		text = append(text, c)
	}
	if len(text)%4 == 1 {
		text = text[:len(text)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, _ := base64.RawStdEncoding.Decode(out, text) // what cannot be decoded is no secret
	return out[min(n, m.drop):n]
}
