package doctor_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/doctor"
)

// TestDocs: docs/doctor.md has every kind of finding, as the code has it.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/doctor.md")
	must(t, err)
	var want strings.Builder
	for _, k := range doctor.Kinds {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", k.ID, k.Severity, k.Meaning)
	}
	_, table, _ := strings.Cut(string(b), "| id | severity | means |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if table+"\n" != want.String() {
		t.Errorf("the table of docs/doctor.md should be\n%s", want.String())
	}
}

// TestMain fails for a kind that no test found, when all were run.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			os.Exit(code)
		}
	}
	for _, k := range doctor.Kinds {
		if code == 0 && !told[k.ID] {
			fmt.Printf("no test finds %s\n", k.ID)
			code = 1
		}
	}
	os.Exit(code)
}
