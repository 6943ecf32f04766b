package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newIssuer() *cobra.Command {
	return family("issuer", "Manage trusted issuers: whose tokens jobs, pods and machines log in with",
		newIssuerAdd(), newIssuerList(), newIssuerShow(), newIssuerCheck(), newIssuerRemove(), newIssuerPresets())
}

func newIssuerList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List trusted issuers, those of the server's issuers_file too",
		Example: `  sallyport issuer list
  sallyport issuer list -o yaml`,
		Args: arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		issuers, err := c.Issuers(cmd.Context())
		if err != nil {
			return fmt.Errorf("list issuers: %w", err)
		}
		t := &table{head: []string{"NAME", "PRESET", "URL", "AUDIENCES", "FROM", "CHANGED", "PROBLEM"}}
		for _, i := range issuers {
			t.add(i.Name, i.Preset, i.URL, words(i.Audiences), i.Source, date(i.Changed), i.Problem)
		}
		return f.write(cmd, issuers, t)
	})
	return cmd
}

func newIssuerShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print the definition of a trusted issuer",
		Long: `Print the definition of a trusted issuer, after one comment line that names its
revision: "sallyport issuer add --replace" takes that as what an edited copy is based
on. What a preset means: "sallyport issuer presets NAME".`,
		Example: `  sallyport issuer show github
  sallyport issuer show github >github.yaml`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		i, err := c.Issuer(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("show issuer %s: %w", args[0], err)
		}
		if f.data() {
			return f.write(cmd, i, nil)
		}
		return writeDocument(cmd, fmt.Sprintf("# sallyport issuer %s revision %s\n%s", client.Printable(i.Name), client.Printable(i.Revision), i.Document))
	})
	return cmd
}

func newIssuerRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "End the trust in an issuer, and everything that came of its tokens",
		Long: `End the trust in an issuer. Access tokens and sessions that came of its tokens end
at once. Rules of the policy that name it stay and give nobody anything.`,
		Example: "  sallyport issuer remove github",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := c.RemoveIssuer(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("remove issuer %s: %w", args[0], err)
			}
			return result(cmd, "removed issuer %s", args[0])
		}),
	}
}

func newIssuerPresets() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "presets [NAME]",
		Short: "List the definitions for platforms, or print one with its rules",
		Long: `List the platforms that there are definitions for. With a name, print the
definition: its parameters, what it takes from a token, and which tokens it refuses.`,
		Example: `  sallyport issuer presets
  sallyport issuer presets github`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if len(args) == 1 {
			p, err := c.IssuerPreset(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show preset %s: %w", args[0], err)
			}
			if f.data() {
				return f.write(cmd, p, nil)
			}
			return writeDocument(cmd, presetText(p))
		}
		presets, err := c.IssuerPresets(cmd.Context())
		if err != nil {
			return fmt.Errorf("list presets: %w", err)
		}
		t := &table{head: []string{"NAME", "FOR", "PARAMETERS"}}
		for _, p := range presets {
			t.add(p.Name, p.Summary, parameterNames(p))
		}
		return f.write(cmd, presets, t)
	})
	return cmd
}

// parameterNames lists what a preset has to be told; in brackets what it need not.
func parameterNames(p client.IssuerPreset) string {
	var out []string
	for _, q := range p.Parameters {
		if q.Required {
			out = append(out, q.Name)
		} else {
			out = append(out, "["+q.Name+"]")
		}
	}
	return words(out)
}

// presetText is a preset for people: its parameters as comments, and its rules as
// they are.
func presetText(p client.IssuerPreset) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# %s\n#\n# Parameters:\n", p.Summary, p.Source)
	for _, q := range p.Parameters {
		note := "optional"
		switch {
		case q.Required:
			note = "required"
		case q.Default != "":
			note = "default " + q.Default
		}
		fmt.Fprintf(&b, "#   %s=%s (%s)\n#     %s\n", q.Name, q.Example, note, q.Summary)
	}
	return b.String() + "\n" + p.Template
}

// errUntrusted gives a check that found problems its exit code.
var errUntrusted = errors.New("there are problems: see above")

func newIssuerCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Have the server ask issuers for their keys, or explain a token",
		Long: `Have the server ask an issuer, or all of them, for the keys of its tokens, and list
what it found, each problem with its cure. The exit code is 1 if there is one.

With --token-stdin, read a token from the first line of standard input and say what
it would prove, with the claims that rules of the policy can name, or why it is
refused. The token is sent to the server, which neither keeps nor logs it.`,
		Example: `  sallyport issuer check
  sallyport issuer check github
  sallyport issuer check --token-stdin <token`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	fromStdin := cmd.Flags().Bool("token-stdin", false, "explain the token on the first line of standard input")
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *fromStdin && len(args) > 0 {
			return usage(cmd, errors.New("--token-stdin needs no name: the token says whose it is"))
		}
		return nil
	}
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if *fromStdin {
			return explainToken(cmd, c, f)
		}
		names := args
		if len(args) == 0 {
			issuers, err := c.Issuers(cmd.Context())
			if err != nil {
				return fmt.Errorf("list issuers: %w", err)
			}
			for _, i := range issuers {
				names = append(names, i.Name)
			}
		}
		return checkIssuers(cmd, c, f, names)
	})
	return cmd
}

func checkIssuers(cmd *cobra.Command, c *client.Client, f *format, names []string) error {
	reports := []client.IssuerReport{}
	good := true
	t := &table{head: []string{"ISSUER", "CHECK", "LEVEL", "FOUND", "CURE"}}
	for _, name := range names {
		r, err := c.CheckIssuer(cmd.Context(), name)
		if err != nil {
			return fmt.Errorf("check issuer %s: %w", name, err)
		}
		reports = append(reports, r)
		good = good && r.Good
		for _, found := range r.Findings {
			t.add(r.Name, found.About, found.Level, found.Text, found.Cure)
		}
	}
	if err := f.write(cmd, reports, t); err != nil || good {
		return err
	}
	return errUntrusted
}

func explainToken(cmd *cobra.Command, c *client.Client, f *format) error {
	token, err := readLine(cmd, "token")
	if err != nil {
		return err
	}
	v, err := c.TestToken(cmd.Context(), client.TokenToTest{Token: client.Secret{Secret: token}})
	if err != nil {
		return fmt.Errorf("test token: %w", err)
	}
	t := &table{head: []string{"TOKEN", map[bool]string{true: "accepted", false: "REFUSED"}[v.Accepted]}}
	if v.Issuer != "" {
		t.add("issuer", v.Issuer)
	}
	if v.Accepted {
		t.add("principal", v.Principal)
		t.add("ends", date(v.Expires))
		t.add("session", (time.Duration(v.Session) * time.Second).String())
		for _, name := range sortedKeys(v.Claims) {
			t.add("claim "+name, v.Claims[name])
		}
		return f.write(cmd, v, t)
	}
	if err := f.write(cmd, v, t); err != nil {
		return err
	}
	return hintedError{errors.New(client.Printable(v.Reason)), client.Printable(v.Cure)}
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// writeDocument writes lines that a server sent: as they are to a file, escaped to
// a terminal.
func writeDocument(cmd *cobra.Command, document string) error {
	if onTerminal(cmd) {
		document = client.PrintableLines(document)
	}
	_, err := io.WriteString(cmd.OutOrStdout(), document)
	return err
}
