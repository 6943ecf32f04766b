package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newSigningKey() *cobra.Command {
	return family("signing-key", "Manage the keys that sign access tokens",
		newSigningKeyList(), newSigningKeyRotate(), newSigningKeyRevoke(), newSigningKeyJWKS())
}

func newSigningKeyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys: the one that signs, the next one, and those whose tokens still count",
		Example: `  sallyport signing-key list
  sallyport signing-key list -o json`,
		Args: arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		keys, err := c.SigningKeys(cmd.Context())
		if err != nil {
			return fmt.Errorf("list signing keys: %w", err)
		}
		t := &table{head: []string{"ID", "STATE", "SIGNS FROM", "SIGNS UNTIL", "GONE"}}
		for _, k := range keys {
			t.add(k.ID, k.State, date(&k.Activates), date(k.Retires), date(k.Ends))
		}
		return f.write(cmd, keys, t)
	})
	return cmd
}

func newSigningKeyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make the next key, which signs once others can have learned it",
		Long: `Make the next key. It is published at once, and signs after the server's
tokens.key_publish_ahead, so that registries that read the key set from a file can
follow. If the next key is there already, nothing changes.

With --now it signs within seconds, as soon as every process of this server knows
it; other registries refuse its tokens until they have the new key set.`,
		Example: `  sallyport signing-key rotate
  sallyport signing-key rotate --now`,
		Args: arguments(cobra.NoArgs),
	}
	now := cmd.Flags().Bool("now", false, "do not wait for other registries")
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		k, err := c.RotateSigningKey(cmd.Context(), client.Rotation{Now: *now})
		if err != nil {
			return fmt.Errorf("rotate signing key: %w", err)
		}
		t := &table{head: []string{"ID", "STATE", "SIGNS FROM"}}
		t.add(k.ID, k.State, date(&k.Activates))
		return f.write(cmd, k, t)
	})
	return cmd
}

func newSigningKeyRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Take a key away at once, and end every access token that it signed",
		Long: `Take a key away at once, on every process, and end every access token that it
signed; clients get new ones by themselves. If it is the key that signs, the next
one does. For a key that was, or may have been, seen by others.`,
		Example: "  sallyport signing-key revoke ID",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := c.RevokeSigningKey(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("revoke signing key %s: %w", args[0], err)
			}
			return result(cmd, "revoked signing key %s", args[0])
		}),
	}
}

func newSigningKeyJWKS() *cobra.Command {
	return &cobra.Command{
		Use:   "jwks",
		Short: "Print the key set for registries that read it from a file",
		Example: `  sallyport signing-key jwks
  sallyport signing-key jwks >jwks.json`,
		Args: arguments(cobra.NoArgs),
		RunE: with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			set, err := c.KeySet(cmd.Context())
			if err != nil {
				return fmt.Errorf("read key set: %w", err)
			}
			return client.WriteJSON(cmd.OutOrStdout(), set)
		}),
	}
}
