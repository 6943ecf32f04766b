package doctor_test

import (
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

// TestKinds runs last, by the name of its file's place among the tests, and fails
// for a kind that no other test found.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && len(told) > len(doctor.Kinds)/2 { // all tests ran
		for _, k := range doctor.Kinds {
			if !told[k.ID] {
				fmt.Printf("no test finds %s\n", k.ID)
				code = 1
			}
		}
	}
	os.Exit(code)
}
