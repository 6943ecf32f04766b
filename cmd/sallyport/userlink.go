package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// identities writes links as PROVIDER:SUBJECT.
func identities(links []client.Link) []string {
	var out []string
	for _, l := range links {
		out = append(out, client.Printable(l.Provider+":"+l.Subject))
	}
	return out
}

// addIdentity adds the flags that say who it is elsewhere.
func addIdentity(cmd *cobra.Command) *client.NewLink {
	var l client.NewLink
	cmd.Flags().StringVar(&l.Issuer, "issuer", "", "issuer URL of the provider")
	cmd.Flags().StringVar(&l.Subject, "subject", "", "what the provider calls the person for ever (sub)")
	cmd.MarkFlagRequired("issuer")
	cmd.MarkFlagRequired("subject")
	return &l
}

func newUserLink() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link NAME",
		Short: "Let who an OpenID provider vouches for sign in as a person",
		Long: `Let who an OpenID provider vouches for sign in as a person. Issuer and subject
say who that is: never a name or an e-mail address, which are given to others
again. Somebody of the provider's who has not signed in yet ("corp/alice") gets the
account now.`,
		Example: "  sallyport user link alice --issuer https://idp.example.com --subject 248289761001\n" +
			"  sallyport user link corp/bob --issuer https://idp.example.com --subject 248289761002",
		Args: arguments(cobra.ExactArgs(1)),
	}
	l := addIdentity(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.Link(cmd.Context(), args[0], *l); err != nil {
			return fmt.Errorf("link user:%s: %w", args[0], err)
		}
		return result(cmd, "linked user:%s", client.Printable(args[0]))
	})
	return cmd
}

func newUserUnlink() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "unlink NAME",
		Short:   "Undo a link and end the person's sessions",
		Example: "  sallyport user unlink alice --issuer https://idp.example.com --subject 248289761001",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	l := addIdentity(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.Unlink(cmd.Context(), args[0], *l); err != nil {
			return fmt.Errorf("unlink user:%s: %w", args[0], err)
		}
		return result(cmd, "unlinked user:%s", client.Printable(args[0]))
	})
	return cmd
}
