package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// completionPatience bounds what a shell waits for after the tab key.
const completionPatience = 2 * time.Second

// argumentsOf says what completes the arguments of which commands, by the paths
// of these. The flags in flagsOf complete alike in all of them.
var (
	argumentsOf = map[string]cobra.CompletionFunc{
		"user show": complete(accountsOf("user")), "user disable": complete(accountsOf("user")), "user enable": complete(accountsOf("user")),
		"user remove": complete(accountsOf("user")), "user password": complete(accountsOf("user")), "user reset": complete(accountsOf("user")),
		"robot show": complete(accountsOf("robot")), "robot disable": complete(accountsOf("robot")), "robot enable": complete(accountsOf("robot")),
		"robot remove": complete(accountsOf("robot")),
		"group add":    first(complete(groups), complete(principals)), "group remove": first(complete(groups), complete(principals)),
		"key revoke": complete(keys), "key rotate": complete(keys), "key narrow": complete(keys), "session revoke": complete(sessions),
		"policy rollback": complete(versions),
		"issuer show":     complete(issuers), "issuer check": complete(issuers), "issuer remove": complete(issuers), "issuer presets": complete(presets),
		"explain": first(actions, nothing), "who-can": first(actions, nothing),
	}
	flagsOf = map[string]cobra.CompletionFunc{
		"owner": complete(principals), "for": complete(principals), "as": complete(principals), "who": complete(principals),
		"action": actions, "version": complete(versions), "base": complete(versions), "preset": complete(presets),
	}
)

// addCompletion gives the commands below root what completes their arguments.
func addCompletion(root *cobra.Command) {
	for _, c := range root.Commands() {
		addCompletion(c)
	}
	_, path, _ := strings.Cut(root.CommandPath(), " ")
	if with := argumentsOf[path]; with != nil {
		root.ValidArgsFunction = with
	}
	for name, with := range flagsOf {
		if root.Flags().Lookup(name) != nil {
			// Fails only for a flag that does not exist.
			_ = root.RegisterFlagCompletionFunc(name, with)
		}
	}
}

// complete returns a completion by what the server of the stored login knows.
// Where that cannot be had there is none, and no word about it: a shell shows no
// errors.
func complete(ask func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := connect(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		found, err := ask(ctx, c)
		if err != nil {
			found = nil
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// first completes the first argument by one and the others by rest.
func first(one, rest cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return one(cmd, args, typed)
		}
		return rest(cmd, args, typed)
	}
}

// actions completes the actions of the policy.
func actions(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return strings.Fields("pull push create-tag move-tag delete manage-policy manage-accounts manage-keys read-audit operate admin"), cobra.ShellCompDirectiveNoFileComp
}

// nothing completes what cannot be known, and offers no files for it.
func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// accountsOf completes the names of people ("user") or robots.
func accountsOf(kind string) func(context.Context, *client.Client) ([]string, error) {
	return func(ctx context.Context, c *client.Client) ([]string, error) {
		accounts, err := c.Accounts(ctx, kind)
		return each(accounts, func(a client.Account) (string, string) { return a.Name, "" }), err
	}
}

// principals completes "user:alice" and "robot:ci".
func principals(ctx context.Context, c *client.Client) ([]string, error) {
	people, err := c.Accounts(ctx, "user")
	if err != nil {
		return nil, err
	}
	robots, err := c.Accounts(ctx, "robot")
	return each(append(people, robots...), func(a client.Account) (string, string) { return a.Kind + ":" + a.Name, "" }), err
}

func groups(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Groups(ctx)
	return each(all, func(g client.Group) (string, string) { return g.Name, "" }), err
}

// keys and sessions are one's own.
func keys(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Keys(ctx, "")
	return each(all, func(k client.Key) (string, string) { return k.ID, k.Name }), err
}

func sessions(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Sessions(ctx, "")
	return each(all, func(s client.Session) (string, string) { return s.ID, s.Client }), err
}

func versions(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.PolicyHistory(ctx)
	return each(all, func(v client.PolicyVersion) (string, string) { return strconv.FormatInt(v.Version, 10), v.Reason }), err
}

func issuers(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Issuers(ctx)
	return each(all, func(i client.Issuer) (string, string) { return i.Name, i.URL }), err
}

func presets(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.IssuerPresets(ctx)
	return each(all, func(p client.IssuerPreset) (string, string) { return p.Name, p.Summary }), err
}

// each returns what completes, with a note for people. What a server sent cannot
// play with the terminal.
func each[T any](all []T, text func(T) (value, note string)) []string {
	out := make([]string, 0, len(all))
	for _, one := range all {
		value, note := text(one)
		if note != "" {
			out = append(out, cobra.CompletionWithDesc(client.Printable(value), client.Printable(note)))
		} else {
			out = append(out, client.Printable(value))
		}
	}
	return out
}

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes command lines in bash, zsh, fish or powershell",
		Long: `Print a script that makes a shell complete command lines: commands, options, and
the names of accounts, groups, keys, sessions and policy versions, for which the
server of the last login is asked. The one for bash needs the package
bash-completion.`,
		Example: `  source <(sallyport completion bash)
  sallyport completion zsh >"${fpath[1]}/_sallyport"
  sallyport completion fish >~/.config/fish/completions/sallyport.fish`,
		Args:      arguments(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return root.GenPowerShellCompletionWithDesc(out)
		},
	}
}
