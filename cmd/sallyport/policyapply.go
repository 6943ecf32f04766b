package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// latest as a base means whatever version is the present one.
const latest = "latest"

func newPolicyApply() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Replace the policy by a document, whole or not at all",
		Long: `Replace the policy by the document in FILE, or on standard input for "-". What is
wrong with a document is listed by line and field, and the policy stays as it was.

It is replaced only if it is still of the version that the document is based on,
so that a change that somebody made since is not lost. "sallyport policy show" puts
that version into the first line of what it prints; --base names it otherwise.`,
		Example: `  sallyport policy apply policy.yaml --reason OPS-42
  sallyport policy apply policy.yaml --base 3
  sallyport policy apply - --base latest <policy.yaml`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	base := cmd.Flags().String("base", "", `the version that the document is based on, or "latest" (default the one that its first line names)`)
	cmd.Flags().Lookup("base").DefValue = ""
	reason := cmd.Flags().String("reason", "", "why, for the history")
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		document, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		whole := document
		document, named := splitHeader(document)
		on, err := baseVersion(cmd, c, *base, named)
		if err != nil {
			return err
		}
		p, err := c.ApplyPolicy(cmd.Context(), document, on, *reason)
		if err != nil {
			shiftLines(err, len(document) < len(whole))
			return outdated(fmt.Errorf("apply policy: %w", err), args[0])
		}
		return result(cmd, "applied policy version %d", p.Version)
	})
	return cmd
}

// shiftLines makes the lines that a server names those of the file, whose header
// it has not seen.
func shiftLines(err error, header bool) {
	if p, ok := errors.AsType[*client.Problem](err); ok && header {
		for i := range p.Errors {
			if p.Errors[i].Line > 0 {
				p.Errors[i].Line++
			}
		}
	}
}

// baseVersion returns the version that flag or header name.
func baseVersion(cmd *cobra.Command, c *client.Client, flag string, named int64) (int64, error) {
	switch {
	case flag == latest:
		now, err := c.Policy(cmd.Context())
		if err != nil {
			return 0, fmt.Errorf("read policy: %w", err)
		}
		return now.Version, nil
	case flag != "":
		n, err := strconv.ParseInt(flag, 10, 64)
		if err != nil || n < 0 {
			return 0, usage(cmd, fmt.Errorf("--base %q is no version: use a number or %q", flag, latest))
		}
		return n, nil
	case named != 0:
		return named, nil
	}
	return 0, hintedError{errors.New("the document does not say which version it is based on"),
		`begin with "sallyport policy show >FILE", or add --base VERSION, or --base latest to replace whatever there is`}
}

// outdated adds the cure to the error of a change that is based on an old version.
func outdated(err error, file string) error {
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Type == "urn:sallyport:problem:conflict" {
		return hintedError{err, "see what differs with: sallyport policy diff " + file + "; then apply with --base and the present version"}
	}
	return err
}

func newPolicyRollback() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback VERSION",
		Short: "Apply an earlier version of the policy again, as a new version",
		Long: `Apply the document of an earlier version again. It becomes a new version: the
history keeps both, and nothing is lost.`,
		Example: `  sallyport policy rollback 3
  sallyport policy rollback 3 --reason OPS-43`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	reason := cmd.Flags().String("reason", "", "why, for the history (default \"rollback to version N\")")
	cmd.Flags().Lookup("reason").DefValue = ""
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		version, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || version < 1 {
			return usage(cmd, fmt.Errorf("%q is no version: use a number that the history shows", args[0]))
		}
		now, err := c.Policy(cmd.Context())
		if err != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		if now.Version == version {
			return result(cmd, "policy version %d is the present one: nothing to do", version)
		}
		old, err := c.PolicyVersion(cmd.Context(), version)
		if err != nil {
			return fmt.Errorf("read policy version %d: %w", version, err)
		}
		if *reason == "" {
			*reason = fmt.Sprintf("rollback to version %d", version)
		}
		p, err := c.ApplyPolicy(cmd.Context(), []byte(old.Document), now.Version, *reason)
		if err != nil {
			return fmt.Errorf("roll back policy: %w", err)
		}
		return result(cmd, "applied policy version %d, which is version %d again", p.Version, version)
	})
	return cmd
}

func newPolicyValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE…",
		Short: "Check policy documents without a server",
		Long: `Check policy documents, or standard input for "-", without a server. What is wrong
is listed by file, line and field; the exit code is then 1.`,
		Example: `  sallyport policy validate policy.yaml`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			wrong := 0
			for _, file := range args {
				document, err := readInput(cmd, file)
				if err != nil {
					return err
				}
				switch err := checkDocument(cmd, file, document); {
				case errors.Is(err, errInvalid):
					wrong++
				case err != nil:
					return fmt.Errorf("read %s: %w", file, err)
				default:
					if err := result(cmd, "%s: valid", file); err != nil {
						return err
					}
				}
			}
			if wrong > 0 {
				return fmt.Errorf("%d of %d documents are not valid", wrong, len(args))
			}
			return nil
		},
	}
}
