package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// A statementChange is one rule or protection that two documents do not share.
type statementChange struct {
	Change    string        `json:"change"`    // "added", "removed" or "changed"
	Statement string        `json:"statement"` // "rule web-push", "protection releases"
	Fields    []fieldChange `json:"fields"`    // of a changed one
}

// A fieldChange is a field of a statement with its two values, as compact YAML;
// "" is absent.
type fieldChange struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

func newPolicyDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Compare a policy document with the policy that is in force",
		Long: `Compare the document in FILE, or on standard input for "-", with the policy that is
in force, rule by rule: their order, comments and layout do not matter. With
--unified the texts are compared line by line instead.

The exit code is 1 if they differ, as that of diff.`,
		Example: `  sallyport policy diff policy.yaml
  sallyport policy diff policy.yaml --version 3 --unified`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	version := cmd.Flags().Int64("version", 0, "compare with this version instead of the present one")
	cmd.Flags().Lookup("version").DefValue = ""
	unified := cmd.Flags().BoolP("unified", "u", false, "compare the texts line by line")
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		document, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		if err := checkDocument(cmd, args[0], document); err != nil {
			return err
		}
		document, _ = splitHeader(document)
		p, err := policyOf(cmd, c, *version)
		if err != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		if *unified {
			return diffTexts(cmd, p, args[0], document)
		}
		changes, err := compareDocuments([]byte(p.Document), document)
		if err != nil {
			return fmt.Errorf("compare with policy version %d: %w", p.Version, err)
		}
		if err := writeChanges(cmd, f, changes); err != nil || len(changes) == 0 {
			return err
		}
		return errDiffer
	})
	return cmd
}

// errDiffer gives a comparison the exit code of a difference.
var errDiffer = errors.New("the policies differ")

func diffTexts(cmd *cobra.Command, p client.Policy, name string, document []byte) error {
	text := diff.Diff(fmt.Sprintf("version %d", p.Version), []byte(p.Document), name, document)
	if len(text) == 0 {
		return nil
	}
	if _, err := fmt.Fprint(cmd.OutOrStdout(), client.PrintableLines(string(text))); err != nil {
		return err
	}
	return errDiffer
}

func writeChanges(cmd *cobra.Command, f *format, changes []statementChange) error {
	t := &table{head: []string{"CHANGE", "STATEMENT", "FIELD", "FROM", "TO"}}
	for _, c := range changes {
		if len(c.Fields) == 0 {
			t.add(c.Change, c.Statement, "", "", "")
		}
		for _, field := range c.Fields {
			t.add(c.Change, c.Statement, field.Field, field.From, field.To)
		}
	}
	if len(changes) == 0 && *f == tableFormat {
		return result(cmd, "no difference")
	}
	return f.write(cmd, changes, t)
}

// errInvalid is a document of which everything that is wrong was said.
var errInvalid = errors.New("the document is not a valid policy")

// checkDocument says what is wrong with a policy document, by line. Errors:
// errInvalid.
func checkDocument(cmd *cobra.Command, name string, document []byte) error {
	_, err := access.ParsePolicy(document)
	if invalid, ok := errors.AsType[*access.PolicyError](err); ok {
		for _, at := range invalid.Problems {
			say(cmd, "%s: %s", name, oneLine(at.String()))
		}
		return errInvalid
	}
	return err
}

// compareDocuments compares two valid documents, statement by statement.
func compareDocuments(old, fresh []byte) ([]statementChange, error) {
	from, err := statementsOf(old)
	if err != nil {
		return nil, err
	}
	to, err := statementsOf(fresh)
	if err != nil {
		return nil, err
	}
	changes := []statementChange{}
	for _, s := range from {
		if other := findStatement(to, s.name); other == nil {
			changes = append(changes, statementChange{"removed", s.name, []fieldChange{}})
		} else if fields := compareFields(s, *other); len(fields) > 0 {
			changes = append(changes, statementChange{"changed", s.name, fields})
		}
	}
	for _, s := range to {
		if findStatement(from, s.name) == nil {
			changes = append(changes, statementChange{"added", s.name, []fieldChange{}})
		}
	}
	return changes, nil
}

// A statement is a rule or a protection as it is written.
type statement struct {
	name   string // "rule NAME"
	fields []string
	values map[string]string // compact YAML
}

func findStatement(list []statement, name string) *statement {
	i := slices.IndexFunc(list, func(s statement) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func compareFields(from, to statement) []fieldChange {
	var out []fieldChange
	for _, name := range from.fields {
		if from.values[name] != to.values[name] {
			out = append(out, fieldChange{name, from.values[name], to.values[name]})
		}
	}
	for _, name := range to.fields {
		if _, had := from.values[name]; !had {
			out = append(out, fieldChange{name, "", to.values[name]})
		}
	}
	return out
}

// statementsOf reads the statements of a valid document. The rules of version 1
// have no names: they are numbered, as elsewhere.
func statementsOf(document []byte) ([]statement, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	var out []statement
	for kind, list := range map[string]string{"rule": "rules", "protection": "protections"} {
		node := fieldOf(root.Content[0], list)
		if node == nil {
			continue
		}
		for i, n := range node.Content {
			name := fmt.Sprintf("%s-%d", kind, i+1)
			if given := fieldOf(n, "name"); given != nil {
				name = given.Value
			}
			out = append(out, readStatement(kind+" "+name, n))
		}
	}
	slices.SortStableFunc(out, func(a, b statement) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func fieldOf(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func readStatement(name string, n *yaml.Node) statement {
	s := statement{name: name, values: map[string]string{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		field := n.Content[i].Value
		s.fields = append(s.fields, field)
		s.values[field] = compact(n.Content[i+1])
	}
	return s
}

// compact writes a value on one line, without comments and layout.
func compact(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		parts := make([]string, len(n.Content))
		for i, c := range n.Content {
			parts[i] = compact(c)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.MappingNode:
		var parts []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, n.Content[i].Value+": "+compact(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return strings.Join(strings.Fields(n.Value), " ")
}
