package browser

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Missing says why people cannot see a browser that is opened here; "" where they
// can, as far as one can tell.
func Missing() string {
	switch {
	case os.Getenv("SSH_CONNECTION") != "" || os.Getenv("SSH_TTY") != "":
		return "this is a session of SSH"
	case os.Getenv("BROWSER") != "" || runtime.GOOS == "darwin" || runtime.GOOS == "windows":
		return ""
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return "there is no display here"
	}
	return ""
}

// Open has a browser show a page. It does not wait; what the program that opens it
// says in the end comes on the channel: nil when it did.
func Open(page string) (<-chan error, error) {
	args, err := command(runtime.GOOS, os.Getenv("BROWSER"), page)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...) // no shell reads the page's address
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("open a browser: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

// command returns the program that opens a page, and its arguments. $BROWSER is a
// list with colons between, of which the first is taken; %s in it is the page.
func command(system, variable, page string) ([]string, error) {
	if !strings.HasPrefix(page, "https://") && !strings.HasPrefix(page, "http://") {
		return nil, errors.New("open a browser: the page has no web address")
	}
	if system != "windows" {
		variable, _, _ = strings.Cut(variable, ":")
	}
	args := strings.Fields(variable)
	switch {
	case len(args) > 0 && strings.Contains(variable, "%s"):
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "%s", page)
		}
		return args, nil
	case len(args) > 0:
	case system == "darwin":
		args = []string{"open"}
	case system == "windows":
		args = []string{"rundll32", "url.dll,FileProtocolHandler"}
	default:
		args = []string{"xdg-open"}
	}
	return append(args, page), nil
}
