package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Idle connections of a client end a minute and a half later.
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

const canary = "canary-password-1"

// A sink is a server that must hear nothing.
func sink(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server got %s %s with %v", r.Method, r.URL, r.Header)
	}))
	t.Cleanup(s.Close)
	return s
}

// hostile starts a server on loopback whose handler a test wrote.
func hostile(t *testing.T, handler http.HandlerFunc) client.Address {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	a, err := client.ParseAddress(s.URL)
	must(t, err)
	return a
}

func logIn(t *testing.T, a client.Address) (client.Login, error) {
	return client.LogIn(t.Context(), client.LoginRequest{Server: a, Username: "alice", Password: access.NewSecret(canary)}, client.Options{})
}

func challenge(w http.ResponseWriter, realm string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"reg.test\"", realm))
	w.WriteHeader(http.StatusUnauthorized)
}

func TestLogInForeignRealm(t *testing.T) {
	elsewhere := sink(t)
	for _, c := range []struct{ name, realm string }{
		{"another port", elsewhere.URL + "/token"},
		{"another name of it", strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) + "/token"},
		{"https", "https://evil.test/token"},
		{"metadata", "http://169.254.169.254/token"},
		{"user info", "http://reg.test@" + strings.TrimPrefix(elsewhere.URL, "http://") + "/token"},
	} {
		t.Run("C-04 "+c.name, func(t *testing.T) {
			a := hostile(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Errorf("%s was sent with %q", r.URL, r.Header.Get("Authorization"))
				}
				challenge(w, c.realm)
			})
			if l, err := logIn(t, a); !errors.Is(err, client.ErrForeignRealm) {
				t.Errorf("logged in as %+v, %v", l, err)
			}
			// A stored login that names such a realm is not used either.
			l := login(a)
			l.Realm = c.realm
			if _, err := client.New(l, client.Options{}); !errors.Is(err, client.ErrForeignRealm) {
				t.Errorf("a client was made: %v", err)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := sink(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, at := range []string{"/v2/", "/token", "/api/v1/whoami"} {
			t.Run(fmt.Sprintf("C-05 %d from %s", status, at), func(t *testing.T) {
				var self client.Address
				self = hostile(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == at:
						w.Header().Set("Location", elsewhere.URL+at+"#\u202e")
						w.WriteHeader(status)
					case r.URL.Path == "/v2/":
						challenge(w, string(self)+"/token")
					default:
						fmt.Fprint(w, `{"access_token":"t","refresh_token":"r","expires_in":300}`)
					}
				})
				l, err := logIn(t, self)
				if err == nil {
					var c *client.Client
					c, err = client.New(l, client.Options{})
					must(t, err)
					_, err = c.Whoami(t.Context())
				}
				if err == nil || !strings.Contains(err.Error(), "redirect") || strings.ContainsRune(err.Error(), '\u202e') {
					t.Errorf("error is %v", err)
				}
			})
		}
	}
}

func TestLogInRefuses(t *testing.T) {
	deaf := hostile(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked for", r.URL) })
	for _, c := range []struct{ name, user, password string }{
		{"C-01 LF in the name", "ali\nce", canary},
		{"C-01 NUL in the name", "ali\x00ce", canary},
		{"C-01 leading -", "-alice", canary},
		{"C-01 a colon in the name", "ali:ce", canary},
		{"C-01 1 MB", strings.Repeat("a", 1<<20), canary},
		{"C-01 no name", "", canary},
		{"I-08 no password", "alice", ""},
		{"C-01 LF in the password", "alice", "a\nb"},
		{"C-01 1 MB password", "alice", strings.Repeat("a", 1<<20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client.LogIn(t.Context(), client.LoginRequest{Server: deaf, Username: c.user, Password: access.NewSecret(c.password)}, client.Options{})
			if err == nil || strings.Contains(err.Error(), canary) || len(err.Error()) > 5000 {
				t.Errorf("error is %.200v", err)
			}
		})
	}
}

func TestLogInHostile(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"no challenge", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }},
		{"Basic", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
		}},
		{"two challenges", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
			challenge(w, "http://"+r.Host+"/token")
		}},
		{"T-14 no identity token", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				fmt.Fprint(w, `{"access_token":"t"}`)
				return
			}
			challenge(w, "http://"+r.Host+"/token")
		}},
		{"an answer without end", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				challenge(w, "http://"+r.Host+"/token")
				return
			}
			for part := bytes.Repeat([]byte("[ "), 1<<15); ; {
				if _, err := w.Write(part); err != nil {
					return
				}
			}
		}},
		{"an error that plays with the terminal", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				challenge(w, "http://"+r.Host+"/token")
				return
			}
			w.WriteHeader(400)
			fmt.Fprint(w, `{"errors":[{"message":"\u001b[2J\r\nhint: run evil"}]}`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := logIn(t, hostile(t, c.handler))
			if err == nil {
				t.Fatalf("logged in: %+v", l)
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\n") || strings.Contains(err.Error(), canary) {
				t.Errorf("C-10 C-12: error is %q", err)
			}
		})
	}
}

// counter is a server that gives tokens named by their number.
type counter struct {
	tokens  atomic.Int64
	expires int
	refuse  func(token string) bool
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":%d}`, c.tokens.Add(1), c.expires)
		return
	}
	if c.refuse != nil && c.refuse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprint(w, `{"principal":"user:alice"}`)
}

func TestTokenCache(t *testing.T) {
	srv := &counter{expires: 300}
	a := hostile(t, srv.ServeHTTP)
	now := time.Now()
	c, err := client.New(login(a), client.Options{Now: func() time.Time { return now }})
	must(t, err)
	ask := func(tokens int64) {
		t.Helper()
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := srv.tokens.Load(); got != tokens {
			t.Errorf("%d tokens were asked for, want %d", got, tokens)
		}
	}
	ask(1)
	ask(1)
	now = now.Add(269 * time.Second)
	ask(1)
	now = now.Add(2 * time.Second) // near its end
	ask(2)
	srv.refuse = func(token string) bool { return token == "t2" } // revoked
	ask(3)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { c.Whoami(t.Context()) })
	}
	group.Wait()
	ask(3)
	// A server that takes no token is asked twice, not for ever.
	srv.refuse = func(string) bool { return true }
	_, err = c.Whoami(t.Context())
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 401 {
		t.Errorf("error is %v", err)
	}
	if got := srv.tokens.Load(); got != 4 {
		t.Errorf("%d tokens were asked for", got)
	}
}

func TestLoginEnded(t *testing.T) {
	a := hostile(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	c, err := client.New(login(a), client.Options{})
	must(t, err)
	if _, err := c.Whoami(t.Context()); !errors.Is(err, client.ErrLoginEnded) {
		t.Errorf("error is %v", err)
	}
	if _, err := logIn(t, hostile(t, func(w http.ResponseWriter, r *http.Request) { challenge(w, "http://"+r.Host+"/token") })); !errors.Is(err, client.ErrBadLogin) {
		t.Errorf("error is %v", err)
	}
}

func TestNames(t *testing.T) {
	c, err := client.New(login(hostile(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			fmt.Fprint(w, `{"access_token":"t","expires_in":300}`)
			return
		}
		if r.Method == "DELETE" && r.URL.EscapedPath() != "/api/v1/users/..~gc%3Fx%0A" {
			t.Errorf("asked for %q", r.URL.EscapedPath())
		}
		w.WriteHeader(204)
	})), client.Options{})
	must(t, err)
	for _, name := range []string{"", ".", ".."} {
		if err := c.RemoveAccount(t.Context(), "user", name); err == nil {
			t.Errorf("H-06: %q was sent as a name", name)
		}
	}
	must(t, c.RemoveAccount(t.Context(), "user", "../gc?x\n"))
}

// TestRedacted: a login does not show its token when it is printed or logged.
func TestRedacted(t *testing.T) {
	l := login("https://reg.test")
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	log.Info("x", "login", l, "token", l.Token)
	fmt.Fprintf(&b, "%v %+v %#v %s %q", l, l, l, l.Token, l.Token)
	if strings.Contains(b.String(), "canary of") {
		t.Errorf("L-01: %s", b.String())
	}
}
