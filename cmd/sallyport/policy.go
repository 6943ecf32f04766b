package main

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newPolicy() *cobra.Command {
	return family("policy", "Show, check and change the policy: who may do what",
		newPolicyShow(), newPolicyHistory(), newPolicyValidate(), newPolicyTest(), newPolicyReplay(), newPolicyDiff(), newPolicyApply(), newPolicyRollback())
}

// policyHeader is the line that "policy show" puts before a document and "policy
// apply" takes away again: it names the version that an edited copy is based on.
var policyHeader = regexp.MustCompile(`^# sallyport policy version ([1-9][0-9]{0,17})\b[^\n]*\n`)

// splitHeader returns the document without its header, and the version that the
// header names, or 0.
func splitHeader(document []byte) ([]byte, int64) {
	found := policyHeader.FindSubmatch(document)
	if found == nil {
		return document, 0
	}
	version, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		return document, 0
	}
	return document[len(found[0]):], version
}

func newPolicyShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy as it is now",
		Long: `Print the policy as it is now, exactly as it was applied, after one comment line
that names its version: "sallyport policy apply" takes that as what an edited copy
is based on, and does not store it.`,
		Example: `  sallyport policy show
  sallyport policy show >policy.yaml
  sallyport policy show --version 3`,
		Args: arguments(cobra.NoArgs),
	}
	version := cmd.Flags().Int64("version", 0, "print this version instead of the present one")
	cmd.Flags().Lookup("version").DefValue = ""
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		p, err := policyOf(cmd, c, *version)
		if err != nil {
			return fmt.Errorf("show policy: %w", err)
		}
		if f.data() {
			return f.write(cmd, p, nil)
		}
		document := fmt.Sprintf("# sallyport policy version %d, applied %s by %s\n%s", p.Version, date(&p.Applied), client.Printable(p.Author), p.Document)
		return writeDocument(cmd, document)
	})
	return cmd
}

// policyOf returns a version of the policy, or for 0 the present one.
func policyOf(cmd *cobra.Command, c *client.Client, version int64) (client.Policy, error) {
	if version == 0 {
		return c.Policy(cmd.Context())
	}
	return c.PolicyVersion(cmd.Context(), version)
}

func newPolicyHistory() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "List the versions of the policy: who applied them, when and why",
		Example: "  sallyport policy history",
		Args:    arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		versions, err := c.PolicyHistory(cmd.Context())
		if err != nil {
			return fmt.Errorf("list policy versions: %w", err)
		}
		t := &table{head: []string{"VERSION", "APPLIED", "AUTHOR", "REASON"}}
		for _, v := range versions {
			t.add(strconv.FormatInt(v.Version, 10), date(&v.Applied), v.Author, v.Reason)
		}
		return f.write(cmd, versions, t)
	})
	return cmd
}
