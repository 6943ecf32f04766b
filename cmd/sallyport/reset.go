package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newUserReset() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reset NAME",
		Short: "Make a one-time code with which a person sets a new password, and print it, once",
		Long: `Make a one-time code for somebody who has lost the password. It is printed once,
alone, to standard output. Who has it sets a new password with it, by "sallyport
redeem", within 24 hours and once.

The old password goes on until then. A new code takes the place of the last one;
setting the password in another way, and disabling the account, ends it.`,
		Example: `  sallyport user reset alice
  sallyport user reset alice -o json`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		code, err := c.ResetPassword(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("reset password of user:%s: %w", args[0], err)
		}
		return showCode(cmd, f, c, code)
	})
	return cmd
}

// showCode writes a one-time code, alone, to standard output.
func showCode(cmd *cobra.Command, f *format, c *client.Client, code client.ResetCode) error {
	say(cmd, "one-time code for %s, until %s; it is shown this once", client.Printable(code.User), date(&code.Expires))
	say(cmd, "who has it sets a password with it: sallyport redeem %s", c.Server())
	if f.data() {
		return f.write(cmd, code, nil)
	}
	return result(cmd, "%s", client.Printable(code.Code.Reveal()))
}

// invite adds a person and shows the code that sets the password.
func invite(cmd *cobra.Command, f *format, c *client.Client, name string) error {
	if _, err := c.AddUser(cmd.Context(), client.NewUser{Name: name, Invite: true}); err != nil {
		return fmt.Errorf("add user:%s: %w", name, err)
	}
	say(cmd, "added user:%s", name)
	code, err := c.ResetPassword(cmd.Context(), name)
	if err != nil {
		return hintedError{fmt.Errorf("user:%s has no password and no code yet: %w", name, err), "run: sallyport user reset " + name}
	}
	return showCode(cmd, f, c, code)
}

func newRedeem() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redeem URL",
		Short: "Set your password with a one-time code",
		Long: `Set your password at a server with the one-time code that an administrator gave
you, without a login. It ends all your sessions; access keys stay.

The code and the new password are asked for, or are the first and the second
line of standard input.`,
		Example: `  sallyport redeem https://registry.example.com
  sallyport redeem https://localhost:5000 --ca-file data/tls/ca.pem
  sallyport redeem https://registry.example.com --password-stdin <code-and-password.txt`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	caFile := cmd.Flags().String("ca-file", "", "PEM file with a CA to trust for this server")
	addPasswordStdin(cmd, "read the code and the password from the lines of standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := client.ParseAddress(args[0])
		if err != nil {
			return usage(cmd, err)
		}
		done, err := redeem(cmd, server, *caFile)
		if err != nil {
			return explain(fmt.Errorf("redeem the code: %w", err), server, true)
		}
		who := client.Printable(done.User)
		say(cmd, "log in with it: sallyport login %s --username %s", server, strings.TrimPrefix(who, "user:"))
		return result(cmd, "set the password of %s", who)
	}
	return cmd
}

// redeem reads a code and a password and brings them to the server.
func redeem(cmd *cobra.Command, server client.Address, caFile string) (client.Redeemed, error) {
	store, err := client.NewStore()
	if err != nil {
		return client.Redeemed{}, err
	}
	ca, err := chooseCA(store, server, caFile)
	if err != nil {
		return client.Redeemed{}, err
	}
	keys, err := openKeyboard(cmd)
	if err != nil {
		return client.Redeemed{}, err
	}
	var r client.Redemption
	if r.Code.Secret, err = keys.secret("one-time code"); err != nil {
		return client.Redeemed{}, err
	}
	if r.Password.Secret, err = keys.newSecret("new password"); err != nil {
		return client.Redeemed{}, err
	}
	return client.Redeem(cmd.Context(), server, ca, r, clientOptions())
}
