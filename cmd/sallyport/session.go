package main

import (
	"errors"
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
		t := &table{head: []string{"ID", "OWNER", "STATE", "EXPIRES", "LAST USED", "FROM", "KEY", "CLIENT"}}
		for _, s := range sessions {
			t.add(s.ID, s.Owner, state(s.Revoked, s.Expires), date(&s.Expires), date(s.LastUsed), s.LastAddress, s.KeyID, s.Client)
		}
		return f.write(cmd, sessions, t)
	})
	return cmd
}

func newSessionRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID… | revoke --all",
		Short: "End sessions and the access tokens that came of them",
		Long: `End sessions and the access tokens that came of them, at once.

With --all an account is logged out everywhere: every session ends, this tool's
own too, and every access token that came of one or of the password. Access keys
stay; see "sallyport key revoke".`,
		Example: `  sallyport session revoke ID
  sallyport session revoke --all
  sallyport session revoke --all --owner user:alice`,
		Args: arguments(cobra.ArbitraryArgs),
	}
	all := cmd.Flags().Bool("all", false, "end all sessions of the account")
	owner := cmd.Flags().String("owner", "", "with --all: those of user:NAME or robot:NAME, as an administrator (default yourself)")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *all == (len(args) > 0):
			return usage(cmd, errors.New("give either the IDs of sessions or --all"))
		case !*all && *owner != "":
			return usage(cmd, errors.New("--owner goes with --all"))
		}
		return nil
	}
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if *all {
			out, err := c.RevokeSessions(cmd.Context(), *owner)
			if err != nil {
				return fmt.Errorf("revoke sessions: %w", err)
			}
			return result(cmd, "revoked %s", counted(out.Ended, "session"))
		}
		for _, id := range args {
			if err := c.RevokeSession(cmd.Context(), id); err != nil {
				return fmt.Errorf("revoke session %s: %w", id, err)
			}
			if err := result(cmd, "revoked session %s", id); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}
