package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/internal/client"
)

// issuerHeader is the line that "issuer show" puts before a document: it names the
// revision that an edited copy is based on.
var issuerHeader = regexp.MustCompile(`^# sallyport issuer [^\n ]+ revision ([0-9a-zA-Z]+)\n`)

// A presetChoice is a preset with what it is told: the flags instead of a file.
type presetChoice struct {
	preset, name string
	parameters   []string // KEY=VALUE
	audiences    []string
}

func newIssuerAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add [FILE]",
		Short: "Trust the tokens of an issuer, by a definition or a preset",
		Long: `Trust the tokens of an issuer. Its definition is in FILE, or on standard input for
"-", in the form that one entry of Kubernetes' AuthenticationConfiguration has, or
it is a preset with its parameters: see "sallyport issuer presets". The audience is
what the tokens must be made for; no other registry should have the same.

Trust gives no rights: what is printed afterwards says how a rule of the policy
names who comes. Adding the same again changes nothing. With --replace the
definition of that name is replaced; what came of tokens before ends.`,
		Example: `  sallyport issuer add --preset github --parameter owner_id=1234 --audience registry.example.com
  sallyport issuer add issuer.yaml
  sallyport issuer add issuer.yaml --replace`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	var p presetChoice
	cmd.Flags().StringVar(&p.preset, "preset", "", "the platform, instead of a file")
	cmd.Flags().StringVar(&p.name, "name", "", "name of the issuer (default that of the preset)")
	cmd.Flags().StringArrayVar(&p.parameters, "parameter", nil, "a parameter of the preset, KEY=VALUE; may be given several times")
	cmd.Flags().StringSliceVar(&p.audiences, "audience", nil, "what tokens must be made for; may be given several times")
	replace := cmd.Flags().Bool("replace", false, "replace the definition of that name")
	for _, name := range []string{"parameter", "audience"} {
		cmd.Flags().Lookup(name).DefValue = ""
	}
	f := addFormat(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error { return p.check(cmd, args) }
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		document, err := p.document(cmd, args)
		if err != nil {
			return err
		}
		added, err := addIssuer(cmd, c, document, *replace)
		if err != nil {
			return err
		}
		if f.data() {
			return f.write(cmd, added, nil)
		}
		if err := result(cmd, "trusts issuer %s, %s", client.Printable(added.Name), client.Printable(added.URL)); err != nil {
			return err
		}
		nextSteps(cmd, added)
		return nil
	})
	return cmd
}

// check holds the flags against the file.
func (p *presetChoice) check(cmd *cobra.Command, args []string) error {
	switch {
	case (p.preset == "") == (len(args) == 0):
		return usage(cmd, errors.New("name a file with the definition, or a preset with --preset"))
	case p.preset == "" && (p.name != "" || len(p.parameters) > 0 || len(p.audiences) > 0):
		return usage(cmd, errors.New("--name, --parameter and --audience belong to a preset: write into the file what it is to say"))
	case p.preset != "" && len(p.audiences) == 0:
		return usage(cmd, errors.New("--audience is missing: say what tokens must be made for, such as the host of this registry"))
	}
	for _, text := range p.parameters {
		if key, value, found := strings.Cut(text, "="); !found || key == "" || value == "" {
			return usage(cmd, fmt.Errorf("--parameter %q is not KEY=VALUE", text))
		}
	}
	return notEmpty(cmd, "audience", p.audiences)
}

// document returns the file, or a document that names the preset.
func (p *presetChoice) document(cmd *cobra.Command, args []string) ([]byte, error) {
	if len(args) == 1 {
		return readInput(cmd, args[0])
	}
	issuer := map[string]any{"audiences": p.audiences}
	if len(p.audiences) > 1 {
		issuer["audienceMatchPolicy"] = "MatchAny"
	}
	document := map[string]any{"preset": p.preset, "issuer": issuer, "name": p.preset}
	if p.name != "" {
		document["name"] = p.name
	}
	parameters := map[string]string{}
	for _, text := range p.parameters {
		key, value, _ := strings.Cut(text, "=")
		if _, twice := parameters[key]; twice {
			return nil, usage(cmd, fmt.Errorf("--parameter %s is given twice: write several values with commas between them", key))
		}
		parameters[key] = value
	}
	if len(parameters) > 0 {
		document["parameters"] = parameters
	}
	return yaml.Dump(document)
}

// addIssuer adds a definition, or replaces the revision that the document's first
// line names, or without one the present revision.
func addIssuer(cmd *cobra.Command, c *client.Client, document []byte, replace bool) (client.IssuerDocument, error) {
	if !replace {
		added, err := c.AddIssuer(cmd.Context(), document)
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Type == "urn:sallyport:problem:exists" {
			return added, hintedError{fmt.Errorf("add issuer: %w", err), "see what it says with: sallyport issuer list; replace a definition with --replace"}
		}
		if err != nil {
			return added, fmt.Errorf("add issuer: %w", err)
		}
		return added, nil
	}
	var named struct {
		Name string `yaml:"name"`
	}
	if err := yaml.Unmarshal(document, &named); err != nil || named.Name == "" {
		return client.IssuerDocument{}, hintedError{errors.New("the document names no issuer"), "give it a line such as: name: github"}
	}
	revision := ""
	if found := issuerHeader.FindSubmatch(document); found != nil {
		revision = string(found[1])
	} else {
		now, err := c.Issuer(cmd.Context(), named.Name)
		if err != nil {
			return client.IssuerDocument{}, fmt.Errorf("read issuer %s: %w", named.Name, err)
		}
		revision = now.Revision
	}
	replaced, err := c.ReplaceIssuer(cmd.Context(), named.Name, document, revision)
	if err != nil {
		return replaced, fmt.Errorf("replace issuer %s: %w", named.Name, err)
	}
	return replaced, nil
}

// nextSteps says how to go on: trust alone gives nothing.
func nextSteps(cmd *cobra.Command, i client.IssuerDocument) {
	say(cmd, "next: let a rule of the policy name who comes, such as")
	fmt.Fprint(cmd.ErrOrStderr(), client.PrintableLines(fmt.Sprintf(`  - name: %s-pushes
    subjects:
      - issuer: %s
        %s
    repositories: ["team/**"]
    actions: [pull, push]
`, i.Name, i.URL, cmp.Or(exampleSubject[i.Preset], "name: NAME"))))
	say(cmd, "what it can name of a token: sallyport issuer check --token-stdin <TOKEN-FILE")
}

// exampleSubject names some principal of a preset's platform by what cannot be
// taken over by others.
var exampleSubject = map[string]string{
	"aws":                   `name: "arn:aws:iam::ACCOUNT:role/NAME"`,
	"azure":                 "name: OBJECT-ID",
	"buildkite":             "claims: {pipeline_id: PIPELINE-ID, build_branch: main}",
	"circleci":              "claims: {project_id: PROJECT-ID, vcs_ref: refs/heads/main}",
	"github":                `claims: {repository_id: "NUMBER", ref: refs/heads/main}`,
	"gitlab":                `claims: {project_id: "NUMBER", ref_type: branch, ref_protected: "true"}`,
	"google":                `name: "ACCOUNT-NUMBER"`,
	"kubernetes":            "claims: {namespace: NAMESPACE, service_account: NAME}",
	"kubernetes-in-cluster": "claims: {namespace: NAMESPACE, service_account: NAME}",
	"spiffe":                "name: spiffe://DOMAIN/PATH",
}

func onTerminal(cmd *cobra.Command) bool {
	file, ok := cmd.OutOrStdout().(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
