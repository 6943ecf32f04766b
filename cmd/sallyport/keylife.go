package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newKeyNarrow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "narrow ID",
		Short: "Take rights from a live access key, at once",
		Long: `Narrow a live access key, your own or as an administrator any, to fewer
repositories, actions or client networks than it has. It takes effect at once, also on the access
tokens and sessions that came of the key. What is not given stays as it is.

A key cannot be widened: every pattern must lie within one that the key has, and
every network too.`,
		Example: `  sallyport key narrow ID --repository team/app --action pull
  sallyport key narrow ID --network 10.0.0.0/8`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	to := addNarrowing(cmd)
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if !to.given(cmd) {
			return usage(cmd, errors.New("nothing to narrow to: give --repository, --action or --network"))
		}
		return to.check(cmd)
	}
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		k, err := c.NarrowKey(cmd.Context(), args[0], client.KeyChange{Repositories: list(to.repositories), Actions: list(to.actions), Networks: list(to.networks)})
		if err != nil {
			return fmt.Errorf("narrow key %s: %w", args[0], err)
		}
		t := &table{head: []string{"ID", "OWNER", "NAME", "ACTIONS", "REPOSITORIES", "NETWORKS"}}
		t.add(k.ID, k.Owner, k.Name, words(k.Actions), words(k.Repositories), words(k.Networks))
		return f.write(cmd, k, t)
	})
	return cmd
}

// defaultOverlap is how long a rotated key lives on, unless said otherwise.
const defaultOverlap = 24 * time.Hour

func newKeyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate ID | rotate --key-stdin",
		Short: "Make the successor of an access key and print its secret, once",
		Long: `Make the successor of a live access key: for the same owner, with the same name,
narrowing and life. Its secret is printed once, alone, to standard output. The
old key lives on for the overlap, or until "sallyport key revoke", so that
nothing fails while the new one is brought to where it is used.

At most two keys of a line live at once: while a key and its successor do,
neither can be rotated.

With --key-stdin a key rotates itself, however narrowed: its secret is read from
standard input, and no login is needed. Revoking a key ends the successors that
it made this way.`,
		Example: `  sallyport key rotate ID --overlap 24h
  sallyport key rotate --key-stdin --server https://registry.example.com <key.txt >next.txt`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	overlap := life(defaultOverlap)
	cmd.Flags().Var(&overlap, "overlap", "how long the old key lives on, such as 1h or 7d")
	cmd.Flags().Lookup("overlap").DefValue = "24h"
	itself := cmd.Flags().Bool("key-stdin", false, "rotate the key whose secret is on standard input, with the key itself")
	caFile := cmd.Flags().String("ca-file", "", "with --key-stdin: PEM file with a CA to trust for this server")
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *itself == (len(args) == 1) {
			return usage(cmd, errors.New("give either the ID of a key or --key-stdin"))
		}
		return nil
	}
	rotate := func(cmd *cobra.Command, c *client.Client, id string) error {
		k, err := c.RotateKey(cmd.Context(), id, client.KeyRotation{Overlap: int64(time.Duration(overlap) / time.Second)})
		if err != nil {
			return fmt.Errorf("rotate key %s: %w", id, err)
		}
		return showSecret(cmd, f, k)
	}
	byLogin := with(func(cmd *cobra.Command, c *client.Client, args []string) error { return rotate(cmd, c, args[0]) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*itself {
			return byLogin(cmd, args)
		}
		return withKey(cmd, *caFile, func(c *client.Client) error {
			me, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			if me.KeyID == "" {
				return errors.New("what standard input holds is no access key")
			}
			return rotate(cmd, c, me.KeyID)
		})
	}
	return cmd
}

// withKey calls do with a client that comes with the access key on standard
// input, and keeps no login.
func withKey(cmd *cobra.Command, caFile string, do func(*client.Client) error) error {
	store, err := client.NewStore()
	if err != nil {
		return err
	}
	server, err := selected(cmd)
	if err != nil {
		return err
	}
	if server == "" {
		login, err := store.Find("")
		if err != nil {
			return err
		}
		server = login.Server
	}
	ca, err := chooseCA(store, server, caFile)
	if err != nil {
		return err
	}
	key, err := readLine(cmd, "access key")
	if err != nil {
		return err
	}
	c, err := client.Enter(cmd.Context(), client.LoginRequest{Server: server, Username: "key", Password: key, CA: ca}, clientOptions())
	if err == nil {
		err = do(c)
	}
	return explain(err, server, true)
}

// A narrowing is what the flags --repository, --action and --network say.
type narrowing struct{ repositories, actions, networks []string }

func addNarrowing(cmd *cobra.Command) *narrowing {
	var n narrowing
	cmd.Flags().StringArrayVar(&n.repositories, "repository", nil, "narrow the key to repositories of this pattern; repeat for more")
	cmd.Flags().StringSliceVar(&n.actions, "action", nil, "narrow the key to this action; repeat for more")
	cmd.Flags().StringSliceVar(&n.networks, "network", nil, "narrow the key to clients of this network, such as 10.0.0.0/8; repeat for more")
	return &n
}

// check refuses a flag that is given without a value.
func (n *narrowing) check(cmd *cobra.Command) error {
	return cmp.Or(notEmpty(cmd, "repository", n.repositories), notEmpty(cmd, "action", n.actions), notEmpty(cmd, "network", n.networks))
}

func (n *narrowing) given(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("repository") || cmd.Flags().Changed("action") || cmd.Flags().Changed("network")
}
