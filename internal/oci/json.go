package oci

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits on the JSON of a manifest beside those of its content.
const (
	maxJSONKeys   = 10_000 // in one object
	maxJSONNumber = 64     // bytes
)

// A jsonReader reads one JSON document (RFC 8259) from front to back in one
// pass, and refuses what two readers could understand differently: keys that
// are there twice, text that is no Unicode, bytes after the end. It stops at
// the first error, which it remembers in err; every method then does nothing.
//
// encoding/json is not used because it takes the last of two equal keys, and
// "Layers" or "layerſ" for "layers", without a word.
type jsonReader struct {
	in    string
	at    int // bytes read
	depth int // objects and arrays that are open
	keys  []string
	err   error
}

// failf remembers the first error. where names the field, or is "".
func (r *jsonReader) failf(where, format string, args ...any) {
	if r.err != nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	if where != "" {
		text = where + ": " + text
	}
	r.err = Errorf(ManifestInvalid, "manifest: %s", text)
}

func (r *jsonReader) syntax(expect string) {
	r.failf("", "not valid JSON: at byte %d: want %s", r.at, expect)
}

// document reads a document whose value is read by value.
func (r *jsonReader) document(value func()) {
	switch {
	case strings.HasPrefix(r.in, "\ufeff"):
		r.failf("", "not valid JSON: it begins with a byte order mark")
	case !utf8.ValidString(r.in):
		r.failf("", "not valid JSON: it is not UTF-8")
	}
	value()
	if r.space(); r.err == nil && r.at != len(r.in) {
		r.failf("", "not valid JSON: %d bytes follow the document's end at byte %d", len(r.in)-r.at, r.at)
	}
}

// space skips white space and returns the byte that follows, 0 at the end.
func (r *jsonReader) space() byte {
	for ; r.at < len(r.in); r.at++ {
		switch c := r.in[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take reads the byte c, after white space, if it comes next.
func (r *jsonReader) take(c byte) bool {
	if r.err != nil || r.space() != c || r.at == len(r.in) {
		return false
	}
	r.at++
	return true
}

func (r *jsonReader) open() bool {
	if r.depth++; r.depth > MaxManifestDepth {
		r.failf("", "nested deeper than %d levels at byte %d", MaxManifestDepth, r.at)
	}
	return r.err == nil
}

// object reads an object and calls field after each key; field must read the
// value. The keys of all open objects lie on one stack.
func (r *jsonReader) object(where string, field func(key string)) {
	if !r.take('{') {
		r.failf(where, "must be an object")
		return
	}
	if !r.open() {
		return
	}
	bottom := len(r.keys)
	for first := true; r.err == nil && !r.take('}'); first = false {
		if !first && !r.take(',') {
			r.syntax("',' or '}'")
			return
		}
		if r.space() != '"' {
			r.syntax("a key in quotes")
			return
		}
		key := r.text("")
		if !r.take(':') {
			r.syntax("':'")
			return
		}
		if r.keys = append(r.keys, key); len(r.keys)-bottom > maxJSONKeys {
			r.failf(where, "has more than %d keys", maxJSONKeys)
			return
		}
		field(key)
	}
	r.distinct(where, r.keys[bottom:])
	r.keys = r.keys[:bottom]
	r.depth--
}

// distinct refuses keys that are there twice.
func (r *jsonReader) distinct(where string, keys []string) {
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			r.failf(where, "the key %.80q is there twice", keys[i])
		}
	}
}

// array reads an array and calls element before each element, which it must read.
func (r *jsonReader) array(where string, element func(i int)) {
	if !r.take('[') {
		r.failf(where, "must be an array")
		return
	}
	if !r.open() {
		return
	}
	for i := 0; r.err == nil && !r.take(']'); i++ {
		if i > 0 && !r.take(',') {
			r.syntax("',' or ']'")
			return
		}
		element(i)
	}
	r.depth--
}

// skip reads any value and checks its form.
func (r *jsonReader) skip() {
	if r.err != nil {
		return
	}
	switch c := r.space(); {
	case c == '{':
		r.object("", func(string) { r.skip() })
	case c == '[':
		r.array("", func(int) { r.skip() })
	case c == '"':
		r.text("")
	case c == '-' || '0' <= c && c <= '9':
		r.number("")
	case !r.word("true") && !r.word("false") && !r.null():
		r.syntax("a value")
	}
}

func (r *jsonReader) word(w string) bool {
	if r.err != nil || r.space() == 0 || !strings.HasPrefix(r.in[r.at:], w) {
		return false
	}
	r.at += len(w)
	return true
}

// null reads null if it comes next.
func (r *jsonReader) null() bool { return r.word("null") }

// number reads a number and returns its text. One that no IEEE 754 double can
// hold is refused, as many readers refuse it (RFC 8259 §6).
func (r *jsonReader) number(where string) string {
	if r.err != nil {
		return ""
	}
	r.space()
	start := r.at
	r.byteOf("-")
	if !r.byteOf("0") && r.digits() == 0 {
		r.failf(where, "must be a number")
		return ""
	}
	if r.byteOf(".") && r.digits() == 0 {
		r.syntax("a digit")
	}
	if r.byteOf("eE") {
		r.byteOf("+-")
		if r.digits() == 0 {
			r.syntax("a digit")
		}
	}
	text := r.in[start:r.at]
	if len(text) > maxJSONNumber {
		r.failf(where, "the number at byte %d has more than %d characters", start, maxJSONNumber)
	} else if _, err := strconv.ParseFloat(text, 64); err != nil && r.err == nil {
		r.failf(where, "the number at byte %d is too large", start)
	}
	return text
}

// byteOf reads one byte of set if it comes next.
func (r *jsonReader) byteOf(set string) bool {
	if r.at == len(r.in) || strings.IndexByte(set, r.in[r.at]) < 0 {
		return false
	}
	r.at++
	return true
}

func (r *jsonReader) digits() (n int) {
	for r.byteOf("0123456789") {
		n++
	}
	return n
}

// text reads a string. Half a surrogate pair is refused.
func (r *jsonReader) text(where string) string {
	if !r.take('"') {
		r.failf(where, "must be a string")
		return ""
	}
	var decoded []byte // nil while the text has no escapes
	start, from := r.at, r.at
	for r.at < len(r.in) {
		switch c := r.in[r.at]; {
		case c == '"':
			tail := r.in[from:r.at]
			r.at++
			if decoded == nil {
				return r.in[start : r.at-1]
			}
			return string(append(decoded, tail...))
		case c < ' ':
			r.failf("", "not valid JSON: at byte %d: control character in a string", r.at)
			return ""
		case c == '\\':
			decoded = append(decoded, r.in[from:r.at]...)
			if decoded = r.escape(decoded); r.err != nil {
				return ""
			}
			from = r.at
		default:
			r.at++
		}
	}
	r.syntax("'\"'")
	return ""
}

// escape reads one escape sequence and appends what it stands for.
func (r *jsonReader) escape(to []byte) []byte {
	const short, plain = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	r.at++
	if r.at == len(r.in) {
		r.syntax("an escape")
		return to
	}
	c := r.in[r.at]
	r.at++
	if i := strings.IndexByte(short, c); i >= 0 {
		return append(to, plain[i])
	}
	r.at--
	if c != 'u' {
		r.syntax("an escape")
		return to
	}
	one := r.hex4()
	if utf16.IsSurrogate(one) {
		two := rune(-1)
		if r.at+1 < len(r.in) && r.in[r.at] == '\\' {
			r.at++
			two = r.hex4()
		}
		if one = utf16.DecodeRune(one, two); one == utf8.RuneError {
			r.syntax("both halves of a surrogate pair")
		}
	}
	return utf8.AppendRune(to, one)
}

// hex4 reads "u" and four hexadecimal digits.
func (r *jsonReader) hex4() rune {
	if r.at+5 > len(r.in) || r.in[r.at] != 'u' {
		r.syntax("\\u and four hexadecimal digits")
		return -1
	}
	v, err := strconv.ParseUint(r.in[r.at+1:r.at+5], 16, 16)
	if err != nil {
		r.syntax("four hexadecimal digits")
		return -1
	}
	r.at += 5
	return rune(v)
}
