package client_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/client"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "team/app é 漢", "team/app é 漢"},
		{"C-12 colour", "\x1b[31mred", `\x1b[31mred`},
		{"C-12 title", "\x1b]0;x\a", `\x1b]0;x\a`},
		{"C-12 C1 control", "a\u009b31mb", `a\u009b31mb`},
		{"C-12 line", "a\r\nhint: run evil", `a\r\nhint: run evil`},
		{"C-12 backspace", "a\bb\x7f", `a\bb\x7f`},
		{"C-12 right to left", "a\u202eb", `a\u202eb`},
		{"C-12 zero width", "a\u200bb", `a\u200bb`},
		{"C-12 bytes", "a\xffb", `a\xffb`},
		{"replacement character", "\uFFFD", "\uFFFD"},
		{"no-break space", "a\u00a0b", `a\u00a0b`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := client.Printable(c.in); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := client.Printable(strings.Repeat("é", 10_000)); len(got) > 5000 || !utf8.ValidString(got) || !strings.HasSuffix(got, "é…") {
		t.Errorf("a long text becomes %d bytes, ending in %q", len(got), got[len(got)-10:])
	}
	if got := client.PrintableLines("a:\n\t- b\x1b\n"); got != "a:\n\t- b\\x1b\n" {
		t.Errorf("lines become %q", got)
	}
}

// FuzzText: whatever a server sends, what reaches the terminal is printable,
// and JSON stays the same value.
func FuzzText(f *testing.F) {
	f.Add("a\u202e\x1b[2J\u009b\xff\U000e0001\n\t")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range client.Printable(s) {
			if !strconv.IsPrint(r) {
				t.Errorf("Printable(%q) holds %q", s, r)
			}
		}
		for _, r := range client.PrintableLines(s) {
			if !strconv.IsPrint(r) && r != '\n' && r != '\t' {
				t.Errorf("PrintableLines(%q) holds %q", s, r)
			}
		}
		in := map[string][]string{strings.ToValidUTF8(s, "?"): {strings.ToValidUTF8(s, "!")}}
		var b bytes.Buffer
		if err := client.WriteJSON(&b, in); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if !strconv.IsPrint(r) && r != '\n' {
				t.Errorf("JSON of %q holds %q", s, r)
			}
		}
		var out map[string][]string
		if err := json.Unmarshal(b.Bytes(), &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%q became %q (%v)", in, out, err)
		}
	})
}

// TestProblem: an error of a hostile server is one that the terminal survives.
func TestProblem(t *testing.T) {
	p := &client.Problem{
		Title: "x", Status: 400, Detail: "a\x1b[2J\nhint: b", RequestID: "c\r",
		Errors: []client.FieldError{{Line: 3, Field: "d\u202e", Detail: "e\x07"}, {Line: 4, Detail: "f\n"}, {Detail: "g\b"}},
	}
	if got, want := p.Error(), `a\x1b[2J\nhint: b (request c\r)`; got != want {
		t.Errorf("C-12: %q, want %q", got, want)
	}
	for i, want := range []string{`line 3: d\u202e: e\a`, `line 4: f\n`, `g\b`} {
		if got := p.Errors[i].String(); got != want {
			t.Errorf("C-12: %q, want %q", got, want)
		}
	}
	if got := (&client.Problem{Status: 502}).Error(); got != "the server answered 502" {
		t.Errorf("an empty problem is %q", got)
	}
}
