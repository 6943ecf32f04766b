package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// TestAuditTerminal: L-02, whatever a server sends, an event is one line without
// anything that could forge another or play with the terminal, in every form.
func TestAuditTerminal(t *testing.T) {
	const hostile = "x\r\n2026-01-01 00:00:00Z  user:admin\x1b[2J\x1b]0;t\a\u009b31m\u202e\u2028\t\x00\x7f"
	e := client.AuditEvent{Event: ledger.Event{
		Seq: 1, Kind: hostile, Action: hostile, Decision: ledger.Denied, Reason: hostile, Rule: hostile, Principal: hostile, Repository: hostile,
		Tag: hostile, Object: hostile, Address: hostile, UserAgent: hostile, RequestID: hostile, Detail: map[string]string{hostile: hostile},
	}, Prev: hostile, Hash: hostile}
	for _, form := range []format{tableFormat, jsonFormat, yamlFormat} {
		for _, head := range []bool{true, false} {
			var out bytes.Buffer
			cmd := &cobra.Command{}
			cmd.SetOut(&out)
			if err := writeEvents(cmd, []client.AuditEvent{e, e}, &form, head); err != nil {
				t.Fatal(err)
			}
			if bad := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }); bad >= 0 {
				t.Errorf("L-02 %s: %q", form, out.String()[max(0, bad-20):])
			}
			if form == yamlFormat {
				continue // of many lines
			}
			want := 2
			if head && form == tableFormat {
				want = 3
			}
			if n := strings.Count(out.String(), "\n"); n != want {
				t.Errorf("L-02 %s, head %t: %d lines, want %d:\n%s", form, head, n, want, &out)
			}
		}
	}
	// What it is as a server of ours writes it leaves as it is.
	sealed := ledger.Seal(ledger.Link{}, e.Event)
	var out bytes.Buffer
	cmd, form := &cobra.Command{}, jsonFormat
	cmd.SetOut(&out)
	if err := writeEvents(cmd, []client.AuditEvent{{Event: sealed.Event, Prev: sealed.Prev.String(), Hash: sealed.Hash.String()}}, &form, true); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(out.String(), "\n"); got != string(sealed.Line()) {
		t.Errorf("%s is written\n%s", sealed.Line(), got)
	}
}
