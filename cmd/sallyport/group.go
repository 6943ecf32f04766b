package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newGroup() *cobra.Command {
	return family("group", "Manage local groups, which rules of the policy name",
		newGroupList(),
		newGroupChange("add", "Put accounts into a group, which is made when it does not exist", "to", (*client.Client).AddMember),
		newGroupChange("remove", "Take accounts out of a group, which ends with its last member", "from", (*client.Client).RemoveMember),
	)
}

// cutKind cuts "user:" off "user:alice".
func cutKind(principal, kind string) (name string, ok bool) {
	return strings.CutPrefix(principal, kind+":")
}

func newGroupChange(verb, short, preposition string, change func(*client.Client, context.Context, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " GROUP MEMBER…",
		Short:   short,
		Long:    short + ".\nA member is user:NAME or robot:NAME; a bare NAME is a person.",
		Example: fmt.Sprintf("  sallyport group %s developers alice robot:ci", verb),
		Args:    arguments(cobra.MinimumNArgs(2)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			group := args[0]
			for _, member := range args[1:] {
				if !strings.Contains(member, ":") {
					member = "user:" + member
				}
				if err := change(c, cmd.Context(), group, member); err != nil {
					return fmt.Errorf("%s %s %s group %s: %w", verb, member, preposition, group, err)
				}
				if err := result(cmd, "%s %s %s group %s", past(verb), member, preposition, group); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func past(verb string) string { return strings.TrimSuffix(verb, "e") + "ed" }

func newGroupList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List groups and their members",
		Example: "  sallyport group list\n  sallyport group list -o json",
		Args:    arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		groups, err := c.Groups(cmd.Context())
		if err != nil {
			return err
		}
		t := &table{head: []string{"GROUP", "MEMBERS"}}
		for _, g := range groups {
			t.add(g.Name, words(g.Members))
		}
		return f.write(cmd, groups, t)
	})
	return cmd
}
