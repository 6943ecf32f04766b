package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// newAccounts returns "sallyport user" or "sallyport robot".
func newAccounts(kind string) *cobra.Command {
	short := "Manage people: local accounts with a password"
	members := []*cobra.Command{newAccountList(kind), newAccountShow(kind)}
	if kind == "robot" {
		short = "Manage robots: accounts for machines, with access keys alone"
		members = append(members, newRobotAdd())
	} else {
		members = append(members, newUserAdd(), newUserPassword(), newUserReset(), newUserImport(), newUserLink(), newUserUnlink())
	}
	members = append(members,
		newAccountSwitch(kind, "disable", "Take every right from accounts, until they are enabled", "disabled", (*client.Client).Disable),
		newAccountSwitch(kind, "enable", "Give disabled accounts their rights again", "enabled", (*client.Client).Enable),
		newAccountRemove(kind),
	)
	return family(kind, short, members...)
}

// someone is an account for examples.
var someone = map[string]string{"user": "alice", "robot": "ci"}

func newAccountSwitch(kind, verb, short, done string, change func(*client.Client, context.Context, string, string) (client.Account, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " NAME…",
		Short:   short,
		Example: fmt.Sprintf("  sallyport %s %s %s", kind, verb, someone[kind]),
		Args:    arguments(cobra.MinimumNArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		changed := []client.Account{}
		for _, name := range args {
			a, err := change(c, cmd.Context(), kind, name)
			if err != nil {
				return f.end(cmd, changed, fmt.Errorf("%s %s:%s: %w", verb, kind, name, err))
			}
			changed = append(changed, a)
			if err := f.say(cmd, "%s %s:%s", done, kind, name); err != nil {
				return err
			}
		}
		return f.end(cmd, changed, nil)
	})
	return cmd
}

func newAccountRemove(kind string) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME…",
		Short:   "Remove accounts for ever, with their keys and sessions",
		Example: fmt.Sprintf("  sallyport %s remove %s", kind, someone[kind]),
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			for _, name := range args {
				if err := c.RemoveAccount(cmd.Context(), kind, name); err != nil {
					return fmt.Errorf("remove %s:%s: %w", kind, name, err)
				}
				if err := result(cmd, "removed %s:%s", kind, name); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func newAccountList(kind string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   map[string]string{"user": "List people", "robot": "List robots"}[kind],
		Example: fmt.Sprintf("  sallyport %s list\n  sallyport %s list -o json", kind, kind),
		Args:    arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		accounts, err := c.Accounts(cmd.Context(), kind)
		if err != nil {
			return err
		}
		return f.write(cmd, accounts, accountTable(accounts...))
	})
	return cmd
}

func accountTable(accounts ...client.Account) *table {
	linked := slices.ContainsFunc(accounts, func(a client.Account) bool { return len(a.Links) > 0 })
	t := &table{head: []string{"NAME", "STATE", "GROUPS", "CREATED"}}
	if linked {
		t.head = append(t.head, "SIGNS IN WITH")
	}
	for _, a := range accounts {
		state := "active"
		if a.Disabled {
			state = "disabled"
		}
		row := []string{a.Name, state, words(a.Groups), date(&a.Created)}
		if linked {
			row = append(row, words(identities(a.Links)))
		}
		t.add(row...)
	}
	return t
}

func newAccountShow(kind string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   map[string]string{"user": "Show a person", "robot": "Show a robot"}[kind],
		Example: fmt.Sprintf("  sallyport %s show %s\n  sallyport %s show %s -o yaml", kind, someone[kind], kind, someone[kind]),
		Args:    arguments(cobra.ExactArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		a, err := c.Account(cmd.Context(), kind, args[0])
		if err != nil {
			return fmt.Errorf("show %s:%s: %w", kind, args[0], err)
		}
		return f.write(cmd, a, accountTable(a))
	})
	return cmd
}

func newUserAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a person",
		Long: `Add a person. The password is asked for twice, or read from standard input.

With --invite there is none yet, and a one-time code is printed as by "sallyport
user reset": with it the person sets a password.`,
		Example: `  sallyport user add alice
  sallyport user add alice --password-stdin <password.txt
  sallyport user add alice --invite`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	addPasswordStdin(cmd, "read the password from standard input")
	invited := cmd.Flags().Bool("invite", false, "give no password, and print a one-time code that sets one")
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *invited && cmd.Flags().Changed("password-stdin") {
			return usage(cmd, errors.New("--invite and --password-stdin: who is invited has no password yet"))
		}
		return nil
	}
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if *invited {
			return invite(cmd, f, c, args[0])
		}
		keys, err := openKeyboard(cmd)
		if err != nil {
			return err
		}
		password, err := keys.newSecret("password of " + args[0])
		if err != nil {
			return err
		}
		a, err := c.AddUser(cmd.Context(), client.NewUser{Name: args[0], Password: client.Secret{Secret: password}})
		if err != nil {
			return fmt.Errorf("add user:%s: %w", args[0], err)
		}
		return f.end(cmd, a, f.say(cmd, "added user:%s", client.Printable(a.Name)))
	})
	return cmd
}

func newRobotAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "add NAME",
		Short:   "Add a robot",
		Long:    "Add a robot. It has no password: make it an access key with \"sallyport key create --for robot:NAME\".",
		Example: "  sallyport robot add ci",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		a, err := c.AddRobot(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("add robot:%s: %w", args[0], err)
		}
		return f.end(cmd, a, f.say(cmd, "added robot:%s", client.Printable(a.Name)))
	})
	return cmd
}

func newUserPassword() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "password [NAME]",
		Short: "Set a password and end the sessions that were begun with the old one",
		Long: `Set your own password, or as an administrator that of another person. It ends
all sessions of that person.

For your own password the current one is needed as well. With --password-stdin
it is the first line, and the new password the second.`,
		Example: `  sallyport user password
  sallyport user password alice`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	addPasswordStdin(cmd, "read the passwords from the lines of standard input")
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		me, err := c.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		who := me.Principal
		if len(args) > 0 {
			who = "user:" + args[0]
		}
		return setPassword(cmd, c, who, who == me.Principal)
	})
	return cmd
}

func setPassword(cmd *cobra.Command, c *client.Client, who string, own bool) error {
	name, ok := cutKind(who, "user")
	if !ok {
		return fmt.Errorf("%s has no password, only access keys", client.Printable(who))
	}
	keys, err := openKeyboard(cmd)
	if err != nil {
		return err
	}
	var p client.NewPassword
	if own {
		if p.Current.Secret, err = keys.secret("current password"); err != nil {
			return err
		}
	}
	if p.Password.Secret, err = keys.newSecret("new password"); err != nil {
		return err
	}
	if err := c.SetPassword(cmd.Context(), name, p); err != nil {
		return fmt.Errorf("set password of %s: %w", who, err)
	}
	if own {
		say(cmd, "all your sessions have ended, this one too: run sallyport login %s", c.Server())
	}
	return result(cmd, "set the password of %s", who)
}

func newUserImport() *cobra.Command {
	htpasswd := &cobra.Command{
		Use:   "htpasswd FILE",
		Short: "Add the people of an htpasswd file with bcrypt hashes",
		Long: `Add a person for each line of an htpasswd file, or of standard input for "-".
Only bcrypt hashes (htpasswd -B) are taken; each is replaced by a stronger one
at the next login. If one line is bad, nobody is added.`,
		Example: `  sallyport user import htpasswd users.htpasswd`,
		Args:    arguments(cobra.ExactArgs(1)),
	}
	f := addFormat(htpasswd)
	htpasswd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		file, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		imported, err := c.ImportHtpasswd(cmd.Context(), file)
		if err != nil {
			return fmt.Errorf("import %s: %w", args[0], err)
		}
		for _, name := range imported.Users {
			if err := f.say(cmd, "added user:%s", client.Printable(name)); err != nil {
				return err
			}
		}
		return f.end(cmd, imported, nil)
	})
	return family("import", "Add people from elsewhere", htpasswd)
}

// readInput reads a file, or standard input for "-", that fits into a request.
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return readAll(cmd.InOrStdin(), "standard input", client.MaxBody)
	}
	return readFile(name, client.MaxBody)
}
