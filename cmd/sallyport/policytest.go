package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

func newPolicyTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE…",
		Short: "Ask a policy the cases of test files, and compare the answers",
		Long: `Ask a policy document the cases of test files, without a server, and compare the
answers with those that the cases expect. Without --policy the policy that is in
force is fetched from the server.

  cases:
    - name: the pipeline releases
      principal: "robot:release"
      action: create-tag
      repository: prod/app
      tag: v1.2.3
      expect: allow
      rule: releases          # optional: what must have decided

A case may also give groups, claims, address, tls and time. The exit code is 1 if
an answer is not the expected one.`,
		Example: `  sallyport policy test --policy policy.yaml cases.yaml`,
		Args:    arguments(cobra.MinimumNArgs(1)),
	}
	file := cmd.Flags().String("policy", "", "the document to ask (default the policy in force)")
	f := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cases, err := readCases(cmd, args)
		if err != nil {
			return err
		}
		if *file != "" {
			policy, err := readPolicy(cmd, *file)
			if err != nil {
				return err
			}
			return reportCases(cmd, f, policy.Test(cases))
		}
		return with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			p, err := c.Policy(cmd.Context())
			if err != nil {
				return fmt.Errorf("read policy: %w", err)
			}
			policy, err := access.ParsePolicy([]byte(p.Document))
			if err != nil {
				return fmt.Errorf("read policy version %d: %w", p.Version, err)
			}
			return reportCases(cmd, f, policy.Test(cases))
		})(cmd, args)
	}
	return cmd
}

func readCases(cmd *cobra.Command, files []string) ([]access.PolicyCase, error) {
	var all []access.PolicyCase
	for _, name := range files {
		document, err := readInput(cmd, name)
		if err != nil {
			return nil, err
		}
		cases, err := access.ParsePolicyCases(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, cases...)
	}
	return all, nil
}

// A caseReport is the result of one case as data.
type caseReport struct {
	Name    string   `json:"name"`
	Passed  bool     `json:"passed"`
	Failure string   `json:"failure"`
	Decided []string `json:"decided"` // the rules, or protections, that decided
}

func reportCases(cmd *cobra.Command, f *format, results []access.PolicyResult) error {
	reports := []caseReport{}
	t := &table{head: []string{"CASE", "FAILURE", "DECIDED BY"}}
	for _, r := range results {
		report := caseReport{Name: r.Case.Name, Passed: r.Passed, Failure: r.Failure, Decided: []string{}}
		for _, reason := range append(r.Explanation.Rules, r.Explanation.Protections...) {
			report.Decided = append(report.Decided, fmt.Sprintf("%s (line %d)", reason.Name, reason.Line))
		}
		reports = append(reports, report)
		if !r.Passed {
			t.add(report.Name, report.Failure, words(report.Decided))
		}
	}
	if f.data() || len(t.rows) > 0 {
		if err := f.write(cmd, reports, t); err != nil {
			return err
		}
	}
	if len(t.rows) > 0 {
		return fmt.Errorf("%d of %d cases failed", len(t.rows), len(reports))
	}
	return f.say(cmd, "%d cases passed", len(reports))
}
