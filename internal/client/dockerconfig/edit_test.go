package dockerconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// TestEditLink: a link stays one, also where what it names is not there.
func TestEditLink(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "config.json"), filepath.Join(dir, "kept.json")
	if err := os.Symlink("kept.json", path); err != nil {
		t.Fatal(err)
	}
	change := func(d *dockerconfig.Document) error {
		d.Set("credsStore", []byte(`"pass"`))
		return nil
	}
	if err := dockerconfig.Edit(path, change); err == nil || !strings.Contains(err.Error(), "is a link to kept.json, which is not there") {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(target, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dockerconfig.Edit(path, change); err != nil {
		t.Error(err)
	}
	if c, err := dockerconfig.Read(target); err != nil || c.Store != "pass" {
		t.Errorf("the file holds %+v, %v", c, err)
	}
	if to, err := os.Readlink(path); err != nil || to != "kept.json" {
		t.Errorf("the link is %q, %v", to, err)
	}
}
