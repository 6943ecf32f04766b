package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// A format is how a listing is written: the flag -o.
type format string

const (
	tableFormat format = "table"
	jsonFormat  format = "json"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "table|json" }

func (f *format) Set(s string) error {
	if s != string(tableFormat) && s != string(jsonFormat) {
		return fmt.Errorf("use table or json")
	}
	*f = format(s)
	return nil
}

// addFormat gives cmd the flag -o.
func addFormat(cmd *cobra.Command) *format {
	f := tableFormat
	cmd.Flags().VarP(&f, "output", "o", "form of the result")
	// Fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// A table is a listing for people. Cells may hold anything.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes v as JSON, or t. What a server sent cannot play with the
// terminal: it is escaped here, once for all commands.
func (f *format) write(cmd *cobra.Command, v any, t *table) error {
	if *f == jsonFormat {
		return client.WriteJSON(cmd.OutOrStdout(), v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			row[i] = client.Printable(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// date writes a time for a table; nil is one that has not come.
func date(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// state says whether something that ends is alive.
func state(revoked *time.Time, expires time.Time) string {
	switch {
	case revoked != nil:
		return "revoked"
	case !time.Now().Before(expires):
		return "expired"
	}
	return "active"
}

// words joins a list for a table.
func words(s []string) string { return strings.Join(s, ",") }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
