package keychain_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestOtherSystems: what the client half is made of compiles for systems that it
// is not tested on. The server does not run on Windows.
func TestOtherSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles much")
	}
	for system, packages := range map[string][]string{
		"darwin":  {"../../credential/...", "../../../cmd/docker-credential-sallyport"},
		"windows": {"../../credential/...", "../../../cmd/docker-credential-sallyport"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-o", os.DevNull}, packages...)...)
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", system, err, out)
		}
	}
}
