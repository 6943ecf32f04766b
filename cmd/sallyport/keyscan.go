package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/leak"
)

// maxFindings bounds what a scan keeps and prints.
const maxFindings = 10_000

// A finding is a secret that a scan came upon, and with --check what the server
// knows of it.
type finding struct {
	Path   string      `json:"path"`
	Line   int         `json:"line"`
	Prefix string      `json:"prefix"`
	Key    *client.Key `json:"key,omitempty"`

	found leak.Finding
}

func newKeyScan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan PATH…",
		Short: "Find access keys and identity tokens in files, directories and image layers",
		Long: `Look for access keys and identity tokens of Sallyport in files, in directories
with all that is below, and in archives and images: what "docker save" writes and
OCI layouts are opened layer by layer, gzip and zstd too. "-" is standard input.

A secret counts only when its checksum is right, so there are no false alarms.
Printed are the place and the first characters, never the secret. The exit code
is 1 when something was found, or could not be scanned to its end.

With --check the server of the last login is asked which key it is: it is sent
the SHA-256 of the secret, and tells those who may see the key.`,
		Example: `  sallyport key scan .
  sallyport key scan - <image.tar
  sallyport key scan --check ~/.docker /etc`,
		Args: arguments(cobra.MinimumNArgs(1)),
	}
	check := cmd.Flags().Bool("check", false, "ask the server which keys they are")
	f := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		found, skipped, err := scan(cmd, args)
		if err != nil {
			return err
		}
		if *check {
			err = with(func(cmd *cobra.Command, c *client.Client, _ []string) error { return identify(cmd, c, found) })(cmd, nil)
			if err != nil {
				return err
			}
		}
		if err := f.write(cmd, found, findingTable(found, *check)); err != nil {
			return err
		}
		switch {
		case len(found) > 0:
			return hintedError{fmt.Errorf("found %s", counted(len(found), "secret")), "revoke what is still alive, wherever it was copied to: sallyport key revoke ID, or sallyport session revoke --all"}
		case skipped > 0:
			return fmt.Errorf("found nothing, but %s could not be scanned to the end", counted(skipped, "place"))
		}
		return nil
	}
	return cmd
}

// scan looks through every path and says on stderr what it skipped.
func scan(cmd *cobra.Command, paths []string) (found []finding, skipped int, err error) {
	found = []finding{}
	report := leak.Report{
		Found: func(at leak.Finding) {
			if len(found) < maxFindings {
				found = append(found, finding{Path: at.Path, Line: at.Line, Prefix: at.Prefix, found: at})
			}
		},
		Skipped: func(path string, err error) {
			skipped++
			say(cmd, "%s: %s", client.Printable(path), oneLine(err.Error()))
		},
	}
	files := 0
	for _, path := range paths {
		n := 1
		if path == "-" {
			leak.ScanReader(cmd.Context(), "-", cmd.InOrStdin(), report)
		} else if n, err = leak.Scan(cmd.Context(), path, report); err != nil {
			return nil, 0, fmt.Errorf("scan: %w", err)
		}
		files += n
	}
	say(cmd, "looked through %s", counted(files, "file"))
	if len(found) == maxFindings {
		say(cmd, "more than %d were found: the others are not listed", maxFindings)
	}
	return found, skipped, nil
}

// identify asks the server once about each secret.
func identify(cmd *cobra.Command, c *client.Client, found []finding) error {
	known := map[[32]byte]*client.Key{}
	for i := range found {
		sum := found[i].found.Sum
		key, asked := known[sum]
		if !asked {
			keys, err := c.FindKey(cmd.Context(), sum)
			if err != nil {
				return fmt.Errorf("check what was found: %w", err)
			}
			if len(keys) > 0 {
				key = &keys[0]
			}
			known[sum] = key
		}
		found[i].Key = key
	}
	return nil
}

func findingTable(found []finding, checked bool) *table {
	t := &table{head: []string{"WHERE", "SECRET"}}
	if checked {
		t.head = append(t.head, "KEY", "OWNER", "STATE")
	}
	for _, at := range found {
		cells := []string{at.Path + ":" + strconv.Itoa(at.Line), at.Prefix}
		if k := at.Key; checked && k != nil {
			cells = append(cells, k.ID, k.Owner, state(k.Revoked, k.Expires))
		} else if checked {
			cells = append(cells, "", "", "unknown")
		}
		t.add(cells...)
	}
	return t
}
