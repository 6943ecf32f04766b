package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// No test may touch the keychain of who runs it.
	os.Setenv("SALLYPORT_KEYCHAIN", "none")
	testscript.Main(m, map[string]func(){"sallyport": main, "docker-credential-sallyport": main, "sallyport-credential-provider": main, "test-browser": testBrowser})
}

// TestServe runs the scripts about starting, configuring and stopping a server.
func TestServe(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, "docker"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": scriptPorts, "ready": scriptReady, "signal": scriptSignal, "exits": scriptExits,
			"private": scriptPrivate, "secret": scriptSecret, "sockets": scriptSockets,
		},
	})
}

// ports NAME… sets each $NAME to a port that is free on 127.0.0.1 and ::1.
func scriptPorts(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		address, _, err := freeAddresses()
		ts.Check(err)
		_, port, err := net.SplitHostPort(address)
		ts.Check(err)
		ts.Setenv(name, port)
	}
}

// ready PORT waits until a health listener says that its server is ready.
func scriptReady(ts *testscript.TestScript, _ bool, args []string) {
	for range 1500 {
		resp, err := http.Get("http://127.0.0.1:" + args[0] + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("the server was not ready after 30 s")
}

// signal TERM|INT FILE sends a signal to the process whose id is in a file.
func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

// private DIR fails unless everything in DIR is for its owner alone.
func scriptPrivate(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			return fmt.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return nil
	}))
}

// secret NAME FILE sets $NAME to the password that a banner shows.
func scriptSecret(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(`(?m)^  password       (\S+)   \(shown this once`).FindStringSubmatch(ts.ReadFile(args[1]))
	if found == nil {
		ts.Fatalf("no password in %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// sockets FILE PORT… fails unless the process whose id is in FILE listens on
// these ports, on loopback, and on nothing else.
func scriptSockets(ts *testscript.TestScript, _ bool, args []string) {
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	want := map[string]bool{}
	for _, port := range args[1:] {
		want[port] = true
	}
	own := map[string]bool{}
	links, err := filepath.Glob("/proc/" + pid + "/fd/*")
	ts.Check(err)
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			own[target] = true
		}
	}
	seen := map[string]bool{}
	for family, loopback := range map[string]string{"tcp": "0100007F", "tcp6": "00000000000000000000000001000000"} {
		table, err := os.ReadFile("/proc/" + pid + "/net/" + family)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		ts.Check(err)
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !own["socket:["+f[9]+"]"] { // 0A: LISTEN
				continue
			}
			address, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			ts.Check(err)
			if text := strconv.FormatUint(port, 10); address != loopback || !want[text] {
				ts.Fatalf("X-02: listens on %s", f[1])
			} else {
				seen[text] = true
			}
		}
	}
	if len(seen) != len(want) {
		ts.Fatalf("listens on %v, want %v", seen, want)
	}
}
