package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newKey() *cobra.Command {
	return family("key", "Manage access keys: secrets for machines and for clients that keep what is typed",
		newKeyCreate(), newKeyList(), newKeyNarrow(), newKeyRotate(), newKeyRevoke(), newKeyScan())
}

// A life is a duration that may be given in days: "90d", "36h", "1d12h".
type life time.Duration

func (l *life) String() string { return time.Duration(*l).String() }
func (l *life) Type() string   { return "duration" }

func (l *life) Set(s string) error {
	var days time.Duration
	rest := s
	if count, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil || n > math.MaxInt64/uint64(24*time.Hour) {
			return fmt.Errorf("use a duration such as 90d or 12h")
		}
		days, rest = time.Duration(n)*24*time.Hour, after
	}
	var hours time.Duration
	if rest != "" || days == 0 {
		var err error
		if hours, err = time.ParseDuration(rest); err != nil || hours < 0 {
			return fmt.Errorf("use a duration such as 90d or 12h")
		}
	}
	if days+hours < time.Minute {
		return fmt.Errorf("use at least one minute")
	}
	*l = life(days + hours)
	return nil
}

func newKeyCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an access key and print its secret, once",
		Long: `Create an access key for yourself or, as an administrator, for another account.
Its secret is printed once, alone, to standard output. It serves as the password
of docker login and of every other client, with any user name.

Without --repository and --action the key may do what its owner may do. With
them it may do no more than they say: patterns as in the policy ("team/app",
"team/*", "team/**"), and the policy's actions, such as pull or create-tag.

To create a key for yourself, log in with a password: a key cannot make another
for its own owner, which would go on after the first is revoked. It can rotate
itself: see "sallyport key rotate".`,
		Example: `  sallyport key create --name laptop
  sallyport key create --for robot:ci --name pipeline --expires 30d --repository 'team/**' --action pull,push`,
		Args: arguments(cobra.NoArgs),
	}
	owner := cmd.Flags().String("for", "", "the owner, user:NAME or robot:NAME (default yourself)")
	name := cmd.Flags().String("name", "", "what the key is for; no other live key of the owner may have the name")
	to := addNarrowing(cmd)
	var expires life
	cmd.Flags().Var(&expires, "expires", "how long the key lives, such as 90d or 12h (default the server's, 90d)")
	cmd.Flags().Lookup("expires").DefValue = ""
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return to.check(cmd) }
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		k, err := c.CreateKey(cmd.Context(), client.NewKey{
			Owner: *owner, Name: *name, ExpiresIn: int64(time.Duration(expires) / time.Second),
			Repositories: list(to.repositories), Actions: list(to.actions), Networks: list(to.networks),
		})
		if err != nil {
			return fmt.Errorf("create key: %w", err)
		}
		return showSecret(cmd, f, k)
	})
	return cmd
}

// showSecret writes a new key's secret, alone, to standard output.
func showSecret(cmd *cobra.Command, f *format, k client.CreatedKey) error {
	say(cmd, "key %s of %s, until %s; its secret is shown this once", client.Printable(k.ID), client.Printable(k.Owner), date(&k.Expires))
	if f.data() {
		return f.write(cmd, k, nil)
	}
	return result(cmd, "%s", client.Printable(k.Secret.Reveal()))
}

// notEmpty refuses a list flag that is given without a value, as by a variable
// that is not set: it must not mean the same as no flag.
func notEmpty(cmd *cobra.Command, flag string, given []string) error {
	if cmd.Flags().Changed(flag) && (len(given) == 0 || slices.Contains(given, "")) {
		return usage(cmd, fmt.Errorf("--%s is empty: say what the key is narrowed to, or leave it out", flag))
	}
	return nil
}

// counted writes "1 key" or "3 keys".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// addOwner gives a listing the flags that select whose things it shows, and
// returns what reads them.
func addOwner(cmd *cobra.Command) func() string {
	owner := cmd.Flags().String("owner", "", "show those of user:NAME or robot:NAME, as an administrator")
	all := cmd.Flags().Bool("all", false, "show everybody's, as an administrator")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *all && *owner != "" {
			return usage(cmd, errors.New("--owner and --all cannot be used together"))
		}
		return nil
	}
	return func() string {
		if *all {
			return client.Everybody
		}
		return *owner
	}
}

func newKeyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List access keys: your own, or as an administrator others'",
		Long: `List access keys, newest first: your own, or as an administrator others'.

WARN names keys that end within 14 days and have no successor yet, and keys that
were not used for 90 days; a line on standard error counts them. SUCCESSOR is the
key that a key was rotated to. Keys are listed until 90 days after their end.`,
		Example: `  sallyport key list
  sallyport key list --owner robot:ci
  sallyport key list --all -o json`,
		Args: arguments(cobra.NoArgs),
	}
	owner := addOwner(cmd)
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		keys, err := c.Keys(cmd.Context(), owner())
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "OWNER", "NAME", "STATE", "EXPIRES", "LAST USED", "FROM", "ACTIONS", "REPOSITORIES", "NETWORKS", "SUCCESSOR", "WARN"}}
		warned := 0
		for _, k := range keys {
			t.add(k.ID, k.Owner, k.Name, state(k.Revoked, k.Expires), date(&k.Expires), date(k.LastUsed), k.LastAddress,
				words(k.Actions), words(k.Repositories), words(k.Networks), k.Successor, words(k.Warnings))
			if len(k.Warnings) > 0 {
				warned++
			}
		}
		if warned > 0 {
			say(cmd, "%s with a warning (ends within 14 days, or not used for 90): rotate what is still needed, revoke the rest", counted(warned, "key"))
		}
		return f.write(cmd, keys, t)
	})
	return cmd
}

func newKeyRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID…",
		Short: "Revoke access keys and end the sessions that came of them",
		Long: `Revoke access keys and end the sessions and tokens that came of them, at once.

A successor that the key made by rotating itself ends too, since whoever had the
key could have made it. A successor that a person made lives on.`,
		Example: "  sallyport key revoke ID",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			for _, id := range args {
				if err := c.RevokeKey(cmd.Context(), id); err != nil {
					return fmt.Errorf("revoke key %s: %w", id, err)
				}
				if err := result(cmd, "revoked key %s", id); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}
