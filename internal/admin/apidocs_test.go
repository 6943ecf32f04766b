package admin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestProblemsAreDocumented: docs/api.md has every type of problem that the code
// makes, and no others.
func TestProblemsAreDocumented(t *testing.T) {
	made := kinds(t, `(?:refuse\(|problem\(|, |Status: )http\.Status\w+, (?:Type: )?"([a-z-]+)", `, "*.go")
	documented := kinds(t, "(?m)^\\| `([a-z-]+)` \\| \\d", "../../docs/api.md")
	if made = append(made, "unauthorized"); len(documented) == 0 {
		t.Error("the table is not found")
	}
	for _, kind := range made {
		if !slices.Contains(documented, kind) && kind != "gone" { // which nobody waits for
			t.Errorf("docs/api.md lacks the problem %q", kind)
		}
	}
	for _, kind := range documented {
		if !slices.Contains(made, kind) {
			t.Errorf("docs/api.md has a problem %q, which the code does not", kind)
		}
	}
}

// kinds returns what the group of pattern matches in files.
func kinds(t *testing.T, pattern, files string) []string {
	t.Helper()
	names, err := filepath.Glob(files)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v", files, err)
	}
	var out []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	return out
}
