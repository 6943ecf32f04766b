//go:build linux

package keychain_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/client/keychain"
)

// TestSecretService keeps, reads and removes secrets in a GNOME Keyring on a bus
// of its own.
func TestSecretService(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, dir)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	if err := keychain.Set("a", "b"); !errors.Is(err, keychain.ErrNone) {
		t.Errorf("without a bus: %v", err)
	}
	socket := filepath.Join(dir, "bus")
	// Without directories of services: it starts nothing by itself.
	config := filepath.Join(dir, "bus.conf")
	must(t, os.WriteFile(config, []byte(`<busconfig><type>session</type><listen>unix:path=`+socket+`</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`), 0o600))
	start(t, "", "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	wait(t, "the bus", func() bool { _, err := os.Stat(socket); return err == nil })
	if err := keychain.Set("a", "b"); !errors.Is(err, keychain.ErrNone) {
		t.Errorf("on a bus without a keyring: %v", err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+socket) // for the daemon
	start(t, "canary-of-the-keyring", "gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	const canary = "canary-of-a-secret, 17 bytes and more: é"
	wait(t, "the keyring", func() bool { return keychain.Set("one", "first") == nil })

	for _, secret := range []string{canary, "x", strings.Repeat("y", 16), strings.Repeat("z", 4000)} {
		if err := keychain.Set("one", secret); err != nil {
			t.Fatal(err)
		}
		if got, err := keychain.Get("one"); err != nil || got != secret {
			t.Errorf("kept %q, got %q, %v", secret, got, err)
		}
	}
	if err := keychain.Set("two", canary); err != nil {
		t.Fatal(err)
	}
	if err := keychain.Remove("one"); err != nil {
		t.Error(err)
	}
	if err := keychain.Remove("one"); err != nil {
		t.Errorf("removing twice: %v", err)
	}
	if got, err := keychain.Get("one"); !errors.Is(err, keychain.ErrUnknown) {
		t.Errorf("after it was removed: %q, %v", got, err)
	}
	if got, err := keychain.Get("two"); err != nil || got != canary {
		t.Errorf("the other one: %q, %v", got, err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("C-09: %s holds the secret in clear", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	t.Setenv("SALLYPORT_KEYCHAIN", "none")
	if _, err := keychain.Get("two"); !errors.Is(err, keychain.ErrNone) {
		t.Errorf("turned off: %v", err)
	}
	t.Setenv("SALLYPORT_KEYCHAIN", "nne")
	if _, err := keychain.Get("two"); err == nil || errors.Is(err, keychain.ErrNone) {
		t.Errorf("a misspelt variable: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, stdin, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

func wait(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 200 {
		if ready() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s is not ready", what)
}
