package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newGC() *cobra.Command {
	return family("gc", "Free what nothing refers to", newGCRun(), newGCStatus())
}

func newGCRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Sweep now and wait for the end",
		Long: `Remove blobs that no manifest refers to and uploads that were never finished,
once they are older than the grace period. Pushes and pulls go on meanwhile. An
interrupt ends the sweep cleanly.`,
		Example: `  sallyport gc run --dry-run
  sallyport gc run`,
		Args: arguments(cobra.NoArgs),
	}
	dry := cmd.Flags().Bool("dry-run", false, "only say what would be removed")
	large := cmd.Flags().Bool("large", false, "remove even more than a tenth of all blobs")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "large")
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.Sweep(cmd.Context(), client.SweepRequest{DryRun: *dry, Large: *large})
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		mode := "sweep"
		if s.DryRun {
			mode = "dry run"
		}
		t := &table{head: append([]string{"MODE"}, sweepHead...)}
		t.add(append([]string{mode}, sweepRow(&s)...)...)
		return f.write(cmd, s, t)
	})
	return cmd
}

func newGCStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show whether a sweep is running and what the last one did",
		Example: "  sallyport gc status\n  sallyport gc status -o json",
		Args:    arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.SweepStatus(cmd.Context())
		if err != nil {
			return err
		}
		t := &table{head: append([]string{"RUNNING"}, sweepHead...)}
		t.add(append([]string{yesNo(s.Running)}, sweepRow(s.Last)...)...)
		return f.write(cmd, s, t)
	})
	return cmd
}

var sweepHead = []string{"STARTED", "TOOK", "UPLOADS", "LINKS", "BLOBS", "BYTES", "ERROR"}

func sweepRow(s *client.Sweep) []string {
	if s == nil {
		return make([]string, len(sweepHead))
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		date(&s.Started), s.Finished.Sub(s.Started).Round(time.Millisecond).String(),
		count(s.Uploads), count(s.Links), count(s.Blobs), count(s.Bytes), s.Err,
	}
}
