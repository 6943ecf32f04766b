package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// serverVariable names the environment variable that selects a stored login.
const serverVariable = "SALLYPORT_URL"

// adminCommands returns the commands that speak to the admin API.
func adminCommands() []*cobra.Command {
	commands := []*cobra.Command{
		newLogin(), newLogout(), newWhoami(), newToken(), newRedeem(),
		newAccounts("user"), newAccounts("robot"), newGroup(),
		newKey(), newSession(), newSigningKey(), newIssuer(), newPolicy(), newExplain(), newWhoCan(), newAudit(), newGC(), newOpenAPI(), newDoctor(),
	}
	for _, c := range commands {
		if !slices.Contains([]string{"login", "redeem", "doctor"}, c.Name()) { // these name it
			c.PersistentFlags().String("server", "", "speak to this server instead of the one of the last login (or set "+serverVariable+")")
		}
	}
	return commands
}

// family returns a command that only holds others.
func family(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]))
			}
			return cmd.Help()
		},
	}
	var examples []string
	for _, m := range members {
		cmd.AddCommand(m)
		examples = append(examples, m.Example)
	}
	cmd.Example = strings.Join(examples, "\n")
	return cmd
}

// usage makes err one about the command line.
func usage(cmd *cobra.Command, err error) error {
	return usageError{err, "run: " + cmd.CommandPath() + " --help"}
}

// arguments makes what check refuses an error about the command line.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(cmd, fmt.Errorf("%w: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// A hintedError is an error with its cure.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Hint() string  { return e.hint }
func (e hintedError) Unwrap() error { return e.error }

// selected returns the server that flag or environment name; "" for the one of
// the last login.
func selected(cmd *cobra.Command) (client.Address, error) {
	text, err := cmd.Flags().GetString("server")
	if err != nil {
		return "", err
	}
	if !cmd.Flags().Changed("server") {
		text = os.Getenv(serverVariable)
	}
	if text == "" {
		return "", nil
	}
	a, err := client.ParseAddress(text)
	if err != nil {
		return "", usage(cmd, err)
	}
	return a, nil
}

// connect returns a client with the stored login that cmd selects.
func connect(cmd *cobra.Command) (*client.Client, error) {
	server, err := selected(cmd)
	if err != nil {
		return nil, err
	}
	store, err := client.NewStore()
	if err != nil {
		return nil, err
	}
	login, err := store.Find(server)
	if err != nil {
		return nil, err
	}
	return client.New(login, clientOptions())
}

func clientOptions() client.Options {
	return client.Options{UserAgent: "sallyport/" + version()}
}

// with returns the body of a command that needs a client.
func with(do func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		err = do(cmd, c, args)
		if p, ok := errors.AsType[*client.Problem](err); ok {
			for _, at := range p.Errors {
				say(cmd, "%s", at)
			}
		}
		return explain(err, c.Server(), false)
	}
}

// explain adds the cure to errors that have a common one.
func explain(err error, server client.Address, loggingIn bool) error {
	again := "run: sallyport login " + string(server)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, client.ErrLoginEnded):
		return hintedError{err, again}
	case errors.Is(err, syscall.ECONNREFUSED):
		return hintedError{err, "nothing listens there: is the server running?"}
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		ca := "CA.pem"
		if server.IsLoopback() {
			ca = "data/tls/ca.pem"
		}
		hint := "if you trust this server, name the CA that signed its certificate: sallyport login " + string(server) + " --ca-file " + ca
		if loggingIn && server.IsLoopback() {
			hint = "a server that made its own CA keeps it in its data directory: add --ca-file " + ca
		}
		return hintedError{err, hint}
	}
	return err
}

// say tells the person, on stderr, what is not the result.
func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "sallyport: "+format+"\n", args...)
}

// result writes one line of the result.
func result(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}
