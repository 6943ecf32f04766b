package client_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

func login(server client.Address) client.Login {
	return client.Login{
		Server: server, Username: "alice", Realm: string(server) + "/token", Service: "reg.test",
		Token: client.Secret{Secret: access.NewSecret("canary of " + string(server))},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Mode()
}

func TestStore(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s, err := client.NewStore()
	must(t, err)
	_, err = s.Find("")
	if none, ok := errors.AsType[*client.NotLoggedIn](err); !ok || none.Hint() == "" {
		t.Errorf("before a login: %v", err)
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	must(t, s.Save(login("https://reg.test")))
	must(t, s.Save(login("https://two.test")))
	if m := mode(t, s.Path()); m != 0o600 {
		t.Errorf("C-09: the file has mode %v", m)
	}
	if m := mode(t, filepath.Dir(s.Path())); m.Perm() != 0o700 {
		t.Errorf("C-09: the directory has mode %v", m)
	}
	for server, want := range map[client.Address]client.Address{"": "https://two.test", "https://reg.test": "https://reg.test"} {
		l, err := s.Find(server)
		if err != nil || l.Server != want || l.Token.Reveal() != "canary of "+string(want) {
			t.Errorf("Find(%q) = %+v, %v", server, l, err)
		}
	}
	for _, server := range []client.Address{"https://reg.test.evil", "https://reg.test:8443", "http://reg.test", "https://REG.TEST"} {
		if l, err := s.Find(server); err == nil {
			t.Errorf("C-02: %s finds the login to %s", server, l.Server)
		}
	}
	ended, found, err := s.Forget("two.test")
	if err != nil || !found || len(ended) != 1 {
		t.Errorf("Forget: %v, %v, %v", ended, found, err)
	}
	if _, err := s.Find(""); err == nil {
		t.Error("after a logout there is a current login")
	}
	b, err := os.ReadFile(s.Path())
	must(t, err)
	if strings.Contains(string(b), "canary of https://two.test") || !strings.Contains(string(b), "canary of https://reg.test") {
		t.Errorf("after a logout the file is %s", b)
	}
	left, err := os.ReadDir(filepath.Dir(s.Path()))
	must(t, err)
	for _, e := range left {
		if n := e.Name(); n != "login.json" && n != "login.lock" {
			t.Errorf("%s was left", n)
		}
	}
}

func TestStoreRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"a symbolic link", func(path string) error {
			elsewhere := filepath.Join(filepath.Dir(path), "elsewhere")
			return errors.Join(os.WriteFile(elsewhere, []byte("{}"), 0o600), os.Symlink(elsewhere, path))
		}},
		{"a dangling link", func(path string) error { return os.Symlink("/nowhere", path) }},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"one that others may read", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("{}"), 0o600), os.Chmod(path, 0o640))
		}},
		{"one that others may write", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("{}"), 0o600), os.Chmod(path, 0o602))
		}},
		{"damage", func(path string) error { return os.WriteFile(path, []byte(`{"servers":`), 0o600) }},
		{"a large file", func(path string) error { return os.WriteFile(path, make([]byte, 2<<20), 0o600) }},
	} {
		t.Run("C-09 "+c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "login.json")
			must(t, c.make(path))
			before := mode(t, path)
			if l, err := client.StoreAt(path).Find(""); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("found %+v, %v", l, err)
			}
			if err := client.StoreAt(path).Save(login("https://reg.test")); err == nil {
				t.Error("it was written to")
			}
			if after := mode(t, path); after != before {
				t.Errorf("mode was %v, is %v", before, after)
			}
		})
	}
}

// TestStoreTogether: logins at the same moment are all kept, and whoever reads
// meets a whole file (C-09).
func TestStoreTogether(t *testing.T) {
	s := client.StoreAt(filepath.Join(t.TempDir(), "sallyport", "login.json"))
	const n = 20
	var writers sync.WaitGroup
	for i := range n {
		writers.Go(func() {
			if err := s.Save(login(client.Address(fmt.Sprintf("https://r%d.test", i)))); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if _, err := s.Find("https://r0.test"); err != nil {
			if _, none := errors.AsType[*client.NotLoggedIn](err); !none {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		if _, err := s.Find(client.Address(fmt.Sprintf("https://r%d.test", i))); err != nil {
			t.Error(err)
		}
	}
}
