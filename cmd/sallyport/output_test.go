package main

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

// TestOutput: what a server sent reaches the terminal escaped, in either form,
// and a cell never becomes two (C-12).
func TestOutput(t *testing.T) {
	hostile := "\x1b]0;x\a\u202e\u009b\t\r\nevil"
	for _, f := range []format{tableFormat, jsonFormat, yamlFormat} {
		var out bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		tab := &table{head: []string{"A", "B"}}
		tab.add(hostile, "")
		if err := f.write(cmd, []string{hostile}, tab); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(out.String(), "\x1b\a\u202e\u009b\t\r") || strings.Contains(out.String(), "\nevil") {
			t.Errorf("%s: %q", f, out.String())
		}
		if f == tableFormat && !strings.HasSuffix(out.String(), `\r\nevil  -`+"\n") {
			t.Errorf("the table is %q", out.String())
		}
	}
}

// FuzzYAML: YAML output is the same value as JSON output, in printable
// characters.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{"a\u202e\x1b[2J\u009b\U000e0001\n\t", "two\nlines\n", "  indented\n", "yes", "0x1f", "~", "- a: b # c", "\ufeff", "\u2028", "é", "=", "<<", "a\n\x00b", "\n", " \n", "a\r\nb", "!!x", "2026-11-23", "1e3", ".inf", "a: \n b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		type value struct {
			Text string            `json:"text"`
			List []string          `json:"list"`
			Of   map[string]string `json:"of"`
			N    int64             `json:"n"`
			Yes  bool              `json:"yes"`
			None *string           `json:"none"`
		}
		in := value{s, []string{s, ""}, map[string]string{s: s}, 1 << 60, true, nil}
		var out bytes.Buffer
		if err := writeYAML(&out, in); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if !strconv.IsPrint(r) && r != '\n' {
				t.Errorf("YAML of %q holds %q", s, r)
			}
		}
		var got struct {
			Text string
			List []string
			Of   map[string]string
			N    int64
			Yes  bool
			None *string
		}
		if err := yaml.Load(out.Bytes(), &got); err != nil || !reflect.DeepEqual(value(got), in) {
			t.Errorf("%+v became %+v (%v) by\n%s", in, got, err, &out)
		}
	})
}
