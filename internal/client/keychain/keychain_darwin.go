package keychain

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

const name = "keychain of macOS"

// security is the system's own program; one from PATH could be anybody's.
const security = "/usr/bin/security"

// notFound is its exit code for errSecItemNotFound.
const notFound = 44

// set speaks to it on standard input: other users see a program's arguments.
func set(key, secret string) error {
	cmd := exec.Command(security, "-i")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("add-generic-password -U -s sallyport -l %q -a %q -X %s\n", label, key, hex.EncodeToString([]byte(secret))))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("keep a secret in the keychain: %w", err)
	}
	// In this mode it ends with 0 whatever came of the command.
	kept, err := get(key)
	if err == nil && kept != secret {
		err = errors.New("it keeps something else")
	}
	if err != nil {
		return fmt.Errorf("keep a secret in the keychain: %w", err)
	}
	return nil
}

func get(key string) (string, error) {
	out, err := exec.Command(security, "find-generic-password", "-s", "sallyport", "-a", key, "-w").Output()
	if err != nil {
		return "", because("read the keychain", err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

func remove(key string) error {
	err := because("remove from the keychain", exec.Command(security, "delete-generic-password", "-s", "sallyport", "-a", key).Run())
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}

func because(doing string, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == notFound:
		return ErrUnknown
	}
	return fmt.Errorf("%s: %w", doing, err)
}
