package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newPolicyReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "List the recorded decisions that a policy document would change",
		Long: `Put the pulls, pushes and deletions on record to the policy document in FILE, or on
standard input for "-", and list those that it would decide otherwise: by
principal, action, repository and count. Nothing is applied.

Each is asked with the groups, claims, address and time that were recorded. What a
credential was too narrow for stays denied, and is not asked about.`,
		Example: `  sallyport policy replay policy.yaml
  sallyport policy replay policy.yaml --since 30d`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	since := life(7 * 24 * time.Hour)
	cmd.Flags().Var(&since, "since", "how far back, such as 7d or 12h")
	cmd.Flags().Lookup("since").DefValue = "7d"
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		document, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		if err := checkDocument(cmd, args[0], document); err != nil {
			return err
		}
		document, _ = splitHeader(document)
		r, err := c.ReplayPolicy(cmd.Context(), document, time.Now().Add(-time.Duration(since)))
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		t := &table{head: []string{"WOULD BE", "COUNT", "PRINCIPAL", "ACTION", "REPOSITORY", "LAST", "RULE"}}
		for _, line := range r.Changes {
			verdict := "denied"
			if line.Allowed {
				verdict = "allowed"
			}
			t.add(verdict, strconv.FormatInt(line.Count, 10), line.Principal, line.Action, line.Repository, date(&line.Last), line.Rule)
		}
		say(cmd, "%d decisions asked, %d kinds of them would change", r.Decisions, len(r.Changes))
		if r.More > 0 {
			say(cmd, "%d more changed decisions have no line", r.More)
		}
		if len(r.Changes) == 0 && !f.data() {
			return nil
		}
		return f.write(cmd, r, t)
	})
	return cmd
}
