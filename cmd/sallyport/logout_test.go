package main

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// A desk is what one person has: a server, and a directory with the files of all.
type desk struct {
	t          *testing.T
	server     client.Address
	host, ca   string
	store      client.Store
	docker     string
	ended      []string // identity tokens that came to the server
	unwilling  string   // one whose session it does not end
	mine, gave client.Secret
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, mine: identityToken(t), gave: identityToken(t)}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch token := r.FormValue("token"); {
		case r.Method == http.MethodGet:
			fmt.Fprintf(w, `{"revocation_endpoint":%q}`, string(d.server)+"/oauth/revoke")
		case token == d.unwilling:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			d.ended = append(d.ended, token)
		}
	}))
	t.Cleanup(s.Close)
	d.host = strings.TrimPrefix(s.URL, "https://")
	d.server = client.Address(s.URL)
	d.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	home := t.TempDir()
	d.docker = filepath.Join(home, "docker", "config.json")
	for variable, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, ".config"), "XDG_RUNTIME_DIR": filepath.Join(home, "run"),
		"DOCKER_CONFIG": filepath.Dir(d.docker), "REGISTRY_AUTH_FILE": "", "DBUS_SESSION_BUS_ADDRESS": "", "PATH": "",
	} {
		t.Setenv(variable, value)
	}
	var err error
	if d.store, err = client.NewStore(); err != nil {
		t.Fatal(err)
	}
	return d
}

func identityToken(t *testing.T) client.Secret {
	t.Helper()
	s, err := access.RefreshSecret.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return client.Secret{Secret: s}
}

func (d *desk) write(path, text string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// TestLogoutGoesOn: what fails keeps nothing else from being ended and forgotten:
// nobody has the tokens afterwards.
func TestLogoutGoesOn(t *testing.T) {
	login := func(d *desk) {
		if err := d.store.Save(client.Login{Server: d.server, Token: d.mine, CA: d.ca}); err != nil {
			d.t.Fatal(err)
		}
	}
	inDocker := func(d *desk) {
		d.write(d.docker, `{"credHelpers":{"`+d.host+`":"sallyport"},"auths":{"`+d.host+`":{"auth":"YWxpY2U6","identitytoken":"`+d.gave.Reveal()+`"}}}`)
	}
	for _, c := range []struct {
		name   string
		before func(*desk)
		ended  func(*desk) []string
		want   string
	}{
		{"a session that does not end", func(d *desk) {
			login(d)
			inDocker(d)
			d.unwilling = d.mine.Reveal()
		}, func(d *desk) []string { return []string{d.gave.Reveal()} }, "its session could not be ended"},
		{"a keychain that does not forget", func(d *desk) {
			inDocker(d)
			d.write(d.store.Path(), fmt.Sprintf(`{"servers":{%q:{"keychain":"gone","ca":%q,"clients":[%q]}}}`, d.server, d.ca, d.docker))
		}, func(d *desk) []string { return []string{d.gave.Reveal()} }, "keychain"},
		{"logins that cannot be changed", func(d *desk) {
			login(d)
			inDocker(d)
			lock := filepath.Join(filepath.Dir(d.store.Path()), "login.lock")
			if err := os.Remove(lock); err != nil {
				d.t.Fatal(err)
			}
			d.write(filepath.Join(lock, "x"), "")
		}, func(d *desk) []string { return []string{d.mine.Reveal(), d.gave.Reveal()} }, "lock logins"},
		{"no home", func(d *desk) {
			login(d)
			d.t.Setenv("HOME", "")
			d.t.Setenv("DOCKER_CONFIG", "")
		}, func(d *desk) []string { return []string{d.mine.Reveal()} }, "home directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			c.before(d)
			_, err := logOut(t.Context(), d.store, d.server)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v", err)
			}
			if want := c.ended(d); !slices.Equal(d.ended, want) {
				t.Errorf("%d sessions were ended, want %d", len(d.ended), len(want))
			}
			text, _ := os.ReadFile(d.docker)
			if strings.Contains(string(text), "identitytoken") || strings.Contains(c.want, "keychain") && strings.Contains(string(text), "credHelpers") {
				t.Errorf("docker has %s", text)
			}
		})
	}
}

// TestLoginNotKept: a login that is not stored is ended, also an interrupted one.
func TestLoginNotKept(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := keep(ctx, d.store, &client.Login{Server: d.server, Token: d.mine, CA: d.ca, Realm: string(d.server) + "/token"})
	if err == nil || !slices.Equal(d.ended, []string{d.mine.Reveal()}) {
		t.Errorf("%d sessions were ended, %v", len(d.ended), err)
	}
}
