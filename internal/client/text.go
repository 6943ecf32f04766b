package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPrintable is where Printable cuts, in bytes.
const maxPrintable = 4096

// Printable returns s fit for a terminal: what a hostile server could use to
// move the cursor, to colour, to reverse the direction of the text or to hide
// in it is written as an escape, and an overlong text is cut.
func Printable(s string) string {
	if len(s) <= maxPrintable {
		return escape(s)
	}
	end := maxPrintable
	for end > maxPrintable-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return escape(s[:end]) + "…"
}

// PrintableLines is Printable for a text of many lines, which is not cut: line
// breaks and tabs stay.
func PrintableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		fields := strings.Split(line, "\t")
		for j, f := range fields {
			fields[j] = escape(f)
		}
		lines[i] = strings.Join(fields, "\t")
	}
	return strings.Join(lines, "\n")
}

func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// WriteJSON writes v, indented, as JSON of printable characters only.
func WriteJSON(w io.Writer, v any) error {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(PrintableJSON(raw.Bytes()))
	return err
}

// PrintableJSON returns JSON that says the same as text in printable characters
// and line breaks only: others can stand only inside strings, where they are
// escaped.
func PrintableJSON(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			out.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}
