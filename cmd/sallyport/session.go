package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newSession() *cobra.Command {
	return family("session", "Manage sessions: what logins of docker and of this tool keep",
		newSessionList(), newSessionRevoke())
}

func newSessionList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions: your own, or as an administrator others'",
		Example: `  sallyport session list
  sallyport session list --owner user:alice
  sallyport session list --all -o json`,
		Args: arguments(cobra.NoArgs),
	}
	owner := addOwner(cmd)
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		sessions, err := c.Sessions(cmd.Context(), owner())
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "OWNER", "STATE", "EXPIRES", "LAST USED", "KEY", "CLIENT"}}
		for _, s := range sessions {
			t.add(s.ID, s.Owner, state(s.Revoked, s.Expires), date(&s.Expires), date(s.LastUsed), s.KeyID, s.Client)
		}
		return f.write(cmd, sessions, t)
	})
	return cmd
}

func newSessionRevoke() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID…",
		Short:   "End sessions and the access tokens that came of them",
		Example: "  sallyport session revoke ID",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			for _, id := range args {
				if err := c.RevokeSession(cmd.Context(), id); err != nil {
					return fmt.Errorf("revoke session %s: %w", id, err)
				}
				if err := result(cmd, "revoked session %s", id); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}
