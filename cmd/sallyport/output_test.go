package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestOutput: what a server sent reaches the terminal escaped, in either form,
// and a cell never becomes two (C-12).
func TestOutput(t *testing.T) {
	hostile := "\x1b]0;x\a\u202e\u009b\t\r\nevil"
	for _, f := range []format{tableFormat, jsonFormat} {
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
