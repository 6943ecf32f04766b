package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// helper: how long docker waits for the credential helper, of the whole process:
// start, look-up in the file of logins, answer. The target is 30 ms.
func (b *bench) helper() error {
	link := filepath.Join(b.dir, "docker-credential-sallyport")
	target, err := filepath.Abs(b.sallyport)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, link); err != nil {
		return err
	}
	env := append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(b.dir, "helper"), "SALLYPORT_KEYCHAIN=none")
	call := func(action, in string) (time.Duration, error) {
		c := exec.Command(link, action)
		c.Env, c.Stdin = env, strings.NewReader(in)
		began := time.Now()
		out, err := c.Output()
		if err != nil {
			return 0, fmt.Errorf("%s: %w: %s", action, err, out)
		}
		return time.Since(began), nil
	}
	if _, err := call("store", `{"ServerURL":"bench.test","Username":"<token>","Secret":"secret"}`); err != nil {
		return err
	}
	fmt.Printf("\ncredential helper (wall time of a process)\n")
	for action, in := range map[string]string{"get": "bench.test", "version": ""} {
		var took []time.Duration
		for range 40 * b.runs {
			t, err := call(action, in)
			if err != nil {
				return err
			}
			took = append(took, t)
		}
		slices.Sort(took)
		fmt.Printf("  %-10s median %8s    99th %8s\n", action, short(took[len(took)/2]), short(took[len(took)*99/100]))
	}
	return nil
}
