package access

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// MaxPolicyCases bounds the cases of one test file.
const MaxPolicyCases = 10_000

// A PolicyCase is one case of a test file for policies:
//
//	cases:
//	  - name: the pipeline releases
//	    principal: "robot:release"
//	    action: create-tag
//	    repository: prod/app
//	    tag: v1.2.3
//	    expect: allow
//	    rule: releases
//
// The other fields of Facts may be given too.
type PolicyCase struct {
	Name  string `yaml:"name"`
	Facts `yaml:",inline"`
	// Expect is "allow" or "deny".
	Expect string `yaml:"expect"`
	// Rule names one that must give it, or for a denial a protection that must
	// take it away. "" expects nothing.
	Rule string `yaml:"rule"`
}

// A PolicyResult is what a policy says to a case.
type PolicyResult struct {
	Case        PolicyCase
	Passed      bool
	Explanation Explanation
	// Failure says what is different from what was expected, "" if nothing.
	Failure string
}

// ParsePolicyCases reads a test file. Errors name the case and the cure.
func ParsePolicyCases(document []byte) ([]PolicyCase, error) {
	if len(document) > MaxPolicySize {
		return nil, fmt.Errorf("the test file is %d bytes long; the limit is %d", len(document), MaxPolicySize)
	}
	var file struct {
		Cases []PolicyCase `yaml:"cases"`
	}
	if err := yaml.Load(document, &file, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("read test file: %w", err)
	}
	if n := len(file.Cases); n == 0 || n > MaxPolicyCases {
		return nil, fmt.Errorf("the test file has %d cases: write 1 to %d under \"cases:\"", n, MaxPolicyCases)
	}
	for i, c := range file.Cases {
		at := fmt.Sprintf("cases[%d] %q", i, c.Name)
		if c.Name == "" {
			return nil, fmt.Errorf("%s: name is missing", at)
		}
		if c.Expect != "allow" && c.Expect != "deny" {
			return nil, fmt.Errorf("%s: expect is %.40q: write allow or deny", at, c.Expect)
		}
		if _, err := c.Query(); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return file.Cases, nil
}

// Test asks pol every case.
func (pol *Policy) Test(cases []PolicyCase) []PolicyResult {
	var out []PolicyResult
	for _, c := range cases {
		r := PolicyResult{Case: c}
		q, err := c.Query()
		if err != nil {
			r.Failure = err.Error()
		} else {
			r.Explanation = pol.Explain(q)
			r.Failure = c.compare(r.Explanation)
		}
		r.Passed = r.Failure == ""
		out = append(out, r)
	}
	return out
}

// compare says what of x is not as expected.
func (c PolicyCase) compare(x Explanation) string {
	answer, decided := "deny", x.Protections
	if x.Allowed {
		answer, decided = "allow", x.Rules
	}
	switch {
	case answer != c.Expect:
		return fmt.Sprintf("expected %s, got %s", c.Expect, answer)
	case c.Rule != "" && !slices.ContainsFunc(decided, func(r Reason) bool { return r.Name == c.Rule }):
		return fmt.Sprintf("%s as expected, but not by %s", answer, c.Rule)
	}
	return ""
}
