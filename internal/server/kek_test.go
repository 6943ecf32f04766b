package server_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
)

const (
	kekOne = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs="
	kekTwo = "8PHy8/T19vf4+fr7/P3+/wABAgMEBQYHCAkKCwwNDg8="
)

func secretFile(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, []byte(text))
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// end stops r and waits until it has let go of everything.
func end(t *testing.T, r *running) {
	t.Helper()
	r.stop()
	if err := r.err(); err != nil {
		t.Fatal(err)
	}
}

func kids(t *testing.T, r *running) []string {
	t.Helper()
	_, body := r.get(t, "/.well-known/jwks.json")
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range set.Keys {
		out = append(out, k.Kid)
	}
	return out
}

// The first start makes a key-encryption key that is ours alone, whatever the
// umask, and different from any other's. Without it a copied
// database signs nothing, and another one makes nothing and changes nothing.
func TestKEKFile(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	c := settings(t)
	first := start(t, c, server.Options{})
	path := filepath.Join(c.Data, "keys", "signing.kek")
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("X-03 %s: %v %v", p, info, err)
		}
	}
	kid := kids(t, first)
	end(t, first)
	kek, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if all := first.log.String() + first.out.String(); strings.Contains(all, strings.TrimSpace(string(kek))) {
		t.Error("L-01 the key-encryption key is in the log")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = server.New(t.Context(), c, server.Options{})
	hasHint(t, err, "is missing")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a start that failed made another key: %v", err)
	}
	write(t, path, []byte(kekOne))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = server.New(t.Context(), c, server.Options{})
	hasHint(t, err, "and ours is")
	if now, err := os.ReadFile(path); err != nil || string(now) != kekOne {
		t.Errorf("the file was changed: %v", err)
	}
	write(t, path, append([]byte(kekOne+"\n"), kek...)) // the new one, then the old
	again := start(t, c, server.Options{})
	if got := kids(t, again); len(got) != 1 || got[0] != kid[0] {
		t.Errorf("keys %v, want %v", got, kid)
	}
	end(t, again)
	write(t, path, []byte(kekOne)) // the old one is not needed any more
	end(t, start(t, c, server.Options{}))

	other := settings(t)
	end(t, start(t, other, server.Options{}))
	if theirs, err := os.ReadFile(filepath.Join(other.Data, "keys", "signing.kek")); err != nil || string(theirs) == string(kek) {
		t.Errorf("X-04 two installs share a key: %v", err)
	}
}

func TestKEKSources(t *testing.T) {
	for name, tt := range map[string]struct {
		file, variable, credential string
		mode                       os.FileMode
		want                       string // error, or "" for a start
	}{
		"file":                          {file: kekOne, mode: 0o600},
		"file, two keys":                {file: kekOne + "\n" + kekTwo + "\n", mode: 0o400},
		"X-03 group reads the file":     {file: kekOne, mode: 0o640, want: "can be read by others"},
		"X-03 world reads the file":     {file: kekOne, mode: 0o604, want: "can be read by others"},
		"X-04 a sample":                 {file: "changeme", mode: 0o600, want: "line 1"},
		"X-04 zeros":                    {file: strings.Repeat("A", 43) + "=", mode: 0o600, want: "not random"},
		"empty file":                    {file: "\n", mode: 0o600, want: "no key"},
		"large file":                    {file: strings.Repeat("#", 5000), mode: 0o600, want: "larger than"},
		"variable":                      {variable: kekOne},
		"X-04 variable":                 {variable: "changeme", want: "line 1"},
		"credential":                    {credential: kekOne, mode: 0o400},
		"credential of another user":    {credential: kekOne, mode: 0o440},
		"X-03 world reads it":           {credential: kekOne, mode: 0o444, want: "can be read by others"},
		"file and variable":             {file: kekOne, mode: 0o600, variable: kekOne, want: "both set"},
		"variable and credential":       {variable: kekOne, credential: kekOne, mode: 0o400, want: "both set"},
		"credentials of something else": {credential: "", mode: 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			if tt.file != "" {
				c.Signing.KEKFile = secretFile(t, "kek", tt.file, tt.mode)
			}
			if tt.variable != "" {
				t.Setenv("SALLYPORT_SIGNING_KEK", tt.variable)
			}
			if tt.file == "" && tt.variable == "" || tt.credential != "" {
				dir := t.TempDir()
				if tt.credential != "" {
					dir = filepath.Dir(secretFile(t, "sallyport.signing-kek", tt.credential, tt.mode))
				}
				t.Setenv("CREDENTIALS_DIRECTORY", dir)
			}
			if tt.want != "" {
				_, err := server.New(t.Context(), c, server.Options{})
				hasHint(t, err, tt.want)
				if err != nil && strings.Contains(err.Error(), kekOne) {
					t.Errorf("the error shows the key: %v", err)
				}
				return
			}
			r := start(t, c, server.Options{})
			if left, set := os.LookupEnv("SALLYPORT_SIGNING_KEK"); set {
				t.Errorf("L-12 the key stays in the environment: %d bytes", len(left))
			}
			end(t, r)
			_, err := os.Stat(filepath.Join(c.Data, "keys", "signing.kek"))
			if made := err == nil; made != (tt.file+tt.variable+tt.credential == "") {
				t.Errorf("a key of its own was made: %v", made)
			}
		})
	}
}
