package issuer_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// TestDocs: what docs/federation.md shows is taken, and it names every preset with
// its parameters.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../../docs/federation.md")
	if err != nil {
		t.Fatal(err)
	}
	text, read := string(data), 0
	for _, part := range strings.Split(text, "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		switch {
		case strings.HasPrefix(block, "# definition\n"):
			_, err = issuer.Parse([]byte(block))
		case strings.HasPrefix(block, "# file\n"):
			_, err = issuer.ParseFile([]byte(block))
		case strings.HasPrefix(block, "# policy\n"):
			_, err = access.ParsePolicy([]byte(block))
		default:
			t.Errorf("what is this?\n%s", block)
			continue
		}
		if read++; err != nil {
			t.Errorf("%s\n%v", block, err)
		}
	}
	if read < 5 {
		t.Errorf("%d documents", read)
	}
	for _, p := range issuer.Presets() {
		row := "\n| `" + p.Name + "` |"
		_, row, found := strings.Cut(text, row)
		row, _, _ = strings.Cut(row, "\n")
		for _, parameter := range p.Parameters {
			if !found || !strings.Contains(row, "`"+parameter.Name+"`") {
				t.Errorf("%s has the parameter %s", p.Name, parameter.Name)
			}
		}
	}
}
