package main

import (
	"errors"
	"fmt"
	"slices"
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
	yamlFormat  format = "yaml"
)

var formats = []string{string(tableFormat), string(jsonFormat), string(yamlFormat)}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "table|json|yaml" }

func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) {
		return fmt.Errorf("use table, json or yaml")
	}
	*f = format(s)
	return nil
}

// addFormat gives cmd the flag -o.
func addFormat(cmd *cobra.Command) *format {
	f := tableFormat
	cmd.Flags().VarP(&f, "output", "o", "form of the result")
	// Fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// say tells what was done, unless the result is wanted as data.
func (f *format) say(cmd *cobra.Command, format string, args ...any) error {
	if f.data() {
		return nil
	}
	return result(cmd, format, args...)
}

// end writes v, if the result is wanted as data, and joins a failure to err.
func (f *format) end(cmd *cobra.Command, v any, err error) error {
	if !f.data() {
		return err
	}
	return errors.Join(err, f.write(cmd, v, nil))
}

// A table is a listing for people. Cells may hold anything.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// data reports whether the result is wanted as data, not as text for people.
func (f *format) data() bool { return *f != tableFormat }

// write writes v as data, or t. What a server sent cannot play with the
// terminal: it is escaped here, once for all commands.
func (f *format) write(cmd *cobra.Command, v any, t *table) error {
	switch *f {
	case jsonFormat:
		return client.WriteJSON(cmd.OutOrStdout(), v)
	case yamlFormat:
		return writeYAML(cmd.OutOrStdout(), v)
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
