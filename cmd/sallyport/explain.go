package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// target splits "apps/web:v1" into a repository and a tag.
func target(s string) (repository, tag string) {
	repository, tag, _ = strings.Cut(s, ":")
	return repository, tag
}

// targetArguments takes ACTION and NAME[:TAG]; the name is missing for the whole
// registry.
func targetArguments(args []string) (action, repository, tag string) {
	if len(args) > 1 {
		repository, tag = target(args[1])
	}
	return args[0], repository, tag
}

func newExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ACTION [REPOSITORY[:TAG]]",
		Short: "Explain what the policy decides about a request, and why",
		Long: `Explain what the policy decides about a request: the rule that gives it with its
line, the protections that take it away, the conditions with the values that they
looked at, and for a denial the rules that come nearest and what each lacks.

ACTION is pull, push, create-tag, move-tag, delete, or an administrative right such
as manage-keys over a name in the tree; without a name it is over the whole
registry. Without a tag the answer is about any tag.

The server answers, with the groups that the account is in now, to whoever manages
that part of the policy. With --policy a document is asked instead, without a
server; --group then says the groups.`,
		Example: `  sallyport explain --as user:alice push apps/web:v1
  sallyport explain --as robot:ci pull apps/web --from 192.0.2.7 --at 2026-01-31T10:32:00Z
  sallyport explain --as user:alice --group dev --policy policy.yaml push apps/web
  sallyport explain --request 0e89aecc4a0a719a033bb8990930f2ec`,
		Args: arguments(cobra.MaximumNArgs(2)),
	}
	var q client.Question
	cmd.Flags().StringVar(&q.Principal, "as", "", "who asks: user:NAME, robot:NAME or anonymous (default yourself)")
	cmd.Flags().StringVar(&q.Address, "from", "", "the address that the request comes from")
	cmd.Flags().BoolVar(&q.TLS, "tls", true, "whether the client speaks TLS")
	cmd.Flags().StringVar(&q.Key, "key", "", "the id of the access key that the request comes with")
	at := cmd.Flags().String("at", "", "when, such as 2026-01-31T10:32:00Z (default now)")
	file := cmd.Flags().String("policy", "", "ask this document instead of the server")
	groups := cmd.Flags().StringSlice("group", nil, "with --policy, a group that the principal is in; repeat for more")
	request := cmd.Flags().String("request", "", "explain what is on record about the request with this id")
	f := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *request != "" && len(args) > 0:
			return usage(cmd, errors.New("--request takes no action: it is on record"))
		case *request != "":
			return with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
				return explainRequest(cmd, c, f, *request)
			})(cmd, args)
		case len(args) == 0:
			return usage(cmd, errors.New("say what to explain: an action and a repository, or --request ID"))
		}
		q.Action, q.Repository, q.Tag = targetArguments(args)
		if *at != "" {
			when, err := time.Parse(time.RFC3339, *at)
			if err != nil {
				return usage(cmd, fmt.Errorf("--at %q is no time such as 2026-01-31T10:32:00Z", *at))
			}
			q.Time = &when
		}
		if *file != "" {
			x, err := explainOffline(cmd, *file, q, *groups)
			return writeExplanation(cmd, f, q, x, err)
		}
		if len(*groups) > 0 {
			return usage(cmd, errors.New("--group is for --policy: the server knows who is in which group"))
		}
		return with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			x, err := c.Explain(cmd.Context(), q)
			return writeExplanation(cmd, f, q, x, err)
		})(cmd, args)
	}
	return cmd
}

// explainOffline asks a document.
func explainOffline(cmd *cobra.Command, file string, q client.Question, groups []string) (client.Explanation, error) {
	policy, err := readPolicy(cmd, file)
	if err != nil {
		return client.Explanation{}, err
	}
	if q.Principal == "" || q.Key != "" {
		return client.Explanation{}, usage(cmd, errors.New("--policy needs --as, and knows no keys"))
	}
	facts := access.Facts{
		Principal: q.Principal, Groups: groups, Action: access.Action(q.Action), Repository: q.Repository, Tag: q.Tag,
		Address: q.Address, TLS: q.TLS, Time: time.Now().UTC(),
	}
	if q.Time != nil {
		facts.Time = *q.Time
	}
	query, err := facts.Query()
	if err != nil {
		return client.Explanation{}, err
	}
	return client.Explanation{Principal: query.Principal.String(), Groups: list(groups), Explanation: policy.Explain(query)}, nil
}

// readPolicy reads a policy document, and says what is wrong with it.
func readPolicy(cmd *cobra.Command, file string) (*access.Policy, error) {
	document, err := readInput(cmd, file)
	if err != nil {
		return nil, err
	}
	if err := checkDocument(cmd, file, document); err != nil {
		return nil, err
	}
	return access.ParsePolicy(document)
}

func writeExplanation(cmd *cobra.Command, f *format, q client.Question, x client.Explanation, err error) error {
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if f.data() {
		return f.write(cmd, x, nil)
	}
	w := &explanationWriter{to: cmd.OutOrStdout()}
	w.explain(q, x)
	return w.err
}

// An explanationWriter writes an explanation for people. What a server sent
// cannot play with the terminal.
type explanationWriter struct {
	to  io.Writer
	err error
}

func (w *explanationWriter) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintln(w.to, client.Printable(fmt.Sprintf(format, args...)))
	}
}

func (w *explanationWriter) explain(q client.Question, x client.Explanation) {
	what := string(x.Action)
	if q.Repository != "" {
		what += " " + q.Repository
	}
	if q.Tag != "" {
		what += ":" + q.Tag
	}
	verdict := "DENIED"
	switch {
	case x.Allowed && x.DependsOnTag:
		verdict = "ALLOWED for some tags"
	case x.Allowed:
		verdict = "ALLOWED"
	}
	who := x.Principal
	if len(x.Groups) > 0 {
		who += " (" + strings.Join(x.Groups, ", ") + ")"
	}
	w.line("%s: %s, %s", verdict, who, what)
	if x.Standing != "" {
		w.line("  %s", x.Standing)
	}
	if x.Allowed && q.Action == string(access.Push) && q.Tag != "" {
		w.line("  a push to a tag is create-tag where the tag is new, and move-tag where it is there: ask for each")
	}
	for _, r := range x.Rules {
		w.reason("given by rule", r)
	}
	if x.Narrowed != "" {
		w.line("  not kept by the credential: %s", x.Narrowed)
	}
	for _, p := range x.Protections {
		w.reason("taken away by protection", p)
	}
	if len(x.Rules) == 0 {
		w.line("  no rule gives it")
		for _, r := range x.Nearest {
			w.reason("near: rule", r)
		}
	}
}

func (w *explanationWriter) reason(intro string, r access.Reason) {
	note := ""
	if r.DependsOnTag {
		note = ", for some tags"
	}
	w.line("  %s %q, line %d%s", intro, r.Name, r.Line, note)
	for _, l := range r.Lacks {
		w.line("    lacks %s: it %s", l.What, strings.TrimPrefix(l.Text, "it "))
	}
	if r.Condition == nil {
		return
	}
	w.line("    when %s: %s", r.Condition.Text, r.Condition.Outcome)
	for _, name := range slices.Sorted(maps.Keys(r.Condition.Values)) {
		w.line("      %s is %s", name, r.Condition.Values[name])
	}
}

func newWhoCan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "who-can ACTION [REPOSITORY[:TAG]]",
		Short: "List who may do something: the subjects, their rules, and what takes it away",
		Example: `  sallyport who-can push apps/web
  sallyport who-can move-tag prod/app:v1
  sallyport who-can manage-policy`,
		Args: arguments(cobra.RangeArgs(1, 2)),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		action, repository, tag := targetArguments(args)
		found, err := c.WhoCan(cmd.Context(), action, repository, tag)
		if err != nil {
			return fmt.Errorf("ask who can: %w", err)
		}
		t := &table{head: []string{"STATEMENT", "LINE", "ACTIONS", "SUBJECTS", "PATTERN", "WHEN"}}
		for _, g := range found.Gives {
			t.add("rule "+g.Name, fmt.Sprint(g.Line), joined(g.Actions), words(g.Subjects), g.Pattern, g.When)
		}
		for _, p := range found.Takes {
			from := "everybody"
			if len(p.Except) > 0 {
				from = "all but " + words(p.Except)
			}
			t.add("protection "+p.Name, fmt.Sprint(p.Line), "not "+joined(p.Actions), from, words(p.Tags), p.When)
		}
		return f.write(cmd, found, t)
	})
	return cmd
}

func joined(actions []access.Action) string {
	var out []string
	for _, a := range actions {
		out = append(out, string(a))
	}
	return words(out)
}
