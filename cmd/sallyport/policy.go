package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/internal/client"
)

func newPolicy() *cobra.Command {
	return family("policy", "Show and change the policy: who may do what", newPolicyShow(), newPolicyApply())
}

func newPolicyShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy as it is now",
		Long:  "Print the policy as it is now, exactly as it was applied; its version goes to standard error.",
		Example: `  sallyport policy show
  sallyport policy show >policy.yaml`,
		Args: arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		p, err := c.Policy(cmd.Context())
		if err != nil {
			return fmt.Errorf("show policy: %w", err)
		}
		if *f == jsonFormat {
			return f.write(cmd, p, nil)
		}
		say(cmd, "policy version %d, applied %s by %s", p.Version, date(&p.Applied), client.Printable(p.Author))
		document := p.Document
		if file, ok := cmd.OutOrStdout().(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			document = client.PrintableLines(document)
		}
		_, err = io.WriteString(cmd.OutOrStdout(), document)
		return err
	})
	return cmd
}

func newPolicyApply() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Replace the policy by a document, whole or not at all",
		Long: `Replace the policy by the document in FILE, or on standard input for "-". What is
wrong with a document is listed by line and field, and the policy stays as it was.

With --base it is replaced only if it is still of that version, which
"sallyport policy show" tells: a change that somebody made since is not lost.`,
		Example: `  sallyport policy apply policy.yaml
  sallyport policy apply policy.yaml --base 3
  sallyport policy apply - <policy.yaml`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	base := cmd.Flags().Int64("base", -1, "the version that the document is based on (default the present one)")
	cmd.Flags().Lookup("base").DefValue = ""
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		document, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		if !cmd.Flags().Changed("base") {
			now, err := c.Policy(cmd.Context())
			if err != nil {
				return fmt.Errorf("apply policy: %w", err)
			}
			*base = now.Version
		}
		p, err := c.ApplyPolicy(cmd.Context(), document, *base)
		if err != nil {
			return fmt.Errorf("apply policy: %w", err)
		}
		return result(cmd, "applied policy version %d", p.Version)
	})
	return cmd
}
