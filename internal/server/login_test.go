package server_test

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/browser"
	"github.com/sallyport/sallyport/internal/client/browser/browsertest"
	"github.com/sallyport/sallyport/internal/config"
	cred "github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/federation/provider/providertest"
	"github.com/sallyport/sallyport/internal/server"
)

// TestLogin: the client's half of a sign-in with a provider meets the server's, on
// this machine and on another, until the credential helper has the identity token and
// the logout has ended it.
func TestLogin(t *testing.T) {
	op := providertest.New(t)
	op.Claims = map[string]any{"preferred_username": "alice"}
	c := settings(t)
	caFile := filepath.Join(t.TempDir(), "idp.pem")
	noError(t, os.WriteFile(caFile, op.CA(), 0o600))
	c.Login.Providers = []config.LoginProvider{{
		Name: "corp", Issuer: op.Issuer(), ClientID: "reg", CAFile: caFile, PrivateHosts: []string{"127.0.0.1"}, CreateAccounts: true,
	}}
	r := start(t, c, server.Options{})
	ca, err := os.ReadFile(filepath.Join(c.Data, "tls", "ca.pem"))
	noError(t, err)
	t.Setenv("SALLYPORT_KEYCHAIN", "none")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	store, err := client.NewStore()
	noError(t, err)
	address := client.Address(r.url)
	in, err := client.NewSignIn(t.Context(), address, string(ca), client.Options{Wait: func(context.Context, time.Duration) error { return nil }})
	noError(t, err)
	person := func() *browsertest.Browser {
		b, err := browsertest.New(ca)
		noError(t, err)
		b.Provider, b.At = "corp", op.Authorize
		return b
	}
	here := func() (client.Login, error) {
		l, err := browser.Listen(t.Context())
		noError(t, err)
		defer l.Close()
		attempt, err := in.Begin(l.Redirect())
		noError(t, err)
		seen := make(chan string, 1)
		go func() {
			page, err := person().Open(attempt.URL())
			if err != nil {
				page = err.Error()
			}
			seen <- page
		}()
		answer, err := l.Wait(t.Context(), attempt.IsAnswer)
		noError(t, err)
		if page := <-seen; !strings.Contains(page, "You can close this window") {
			t.Errorf("the browser shows %s", page)
		}
		if _, err := attempt.Finish(t.Context(), url.Values{"code": answer["code"], "state": answer["state"], "iss": {"https://evil.test"}}); err == nil {
			t.Error("O-07: the answer of another server")
		}
		return attempt.Finish(t.Context(), answer)
	}
	elsewhere := func() (client.Login, error) {
		d, err := in.Device(t.Context())
		noError(t, err)
		if page, err := person().Approve(d.Page, d.UserCode, "approve"); err != nil || !strings.Contains(page, "is logged in") {
			t.Errorf("the browser shows %s, %v", page, err)
		}
		return d.Wait(t.Context())
	}
	for name, signIn := range map[string]func() (client.Login, error){"here": here, "elsewhere": elsewhere} {
		t.Run(name, func(t *testing.T) {
			l, err := signIn()
			noError(t, err)
			cl, err := client.New(l, client.Options{})
			noError(t, err)
			if me, err := cl.Whoami(t.Context()); err != nil || me.Principal != "user:corp/alice" || me.Method != "session" || me.Expires == nil {
				t.Errorf("logged in as %+v, %v", me, err)
			}
			noError(t, store.Save(l))
			helper := cred.Helper{Store: store, Notes: &bytes.Buffer{}}
			host := strings.TrimPrefix(r.url, "https://")
			var out bytes.Buffer
			if helper.Serve(t.Context(), []string{"get"}, strings.NewReader(host), &out) != 0 || !strings.Contains(out.String(), l.Token.Reveal()) {
				t.Errorf("the helper says %s", &out)
			}
			if helper.Serve(t.Context(), []string{"erase"}, strings.NewReader(host), &out) != 0 {
				t.Errorf("the helper says %s", &out)
			}
			if _, err := client.AccessToken(t.Context(), l, nil, client.Options{}); err == nil {
				t.Error("C-20: the identity token serves after the logout")
			}
		})
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
