package browser

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestListener: only the answer to the request ends the waiting, and only once.
func TestListener(t *testing.T) {
	l, err := Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name, method, host, target string, want int, text string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+l.host+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		h := resp.Header
		if resp.StatusCode != want || !strings.Contains(string(body), text) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("W-12 %s: %v", name, h)
		}
		if strings.Contains(string(body), "canary") {
			t.Errorf("%s: %s", name, body)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan url.Values, 1)
	go func() {
		answer, err := l.Wait(ctx, func(v url.Values) bool { return v.Get("state") == "mine" })
		if err != nil {
			t.Error(err)
		}
		got <- answer
	}()
	_, port, _ := strings.Cut(l.host, ":")
	for _, host := range []string{"evil.test", "evil.test:" + port, "localhost:" + port, "127.0.0.1", "127.0.0.1.evil.test:" + port} {
		ask("DNS rebinding, "+host, "GET", host, "/callback?state=mine&code=canary", 421, "wrong address")
	}
	ask("another page", "GET", l.host, "/?state=mine", 404, "no such page")
	ask("POST", "POST", l.host, "/callback?state=mine", 405, "Only GET")
	ask("O-04 no state", "GET", l.host, "/callback?code=canary", 403, "not the answer")
	ask("O-04 another's state", "GET", l.host, "/callback?state=other&code=canary", 403, "not the answer")
	ask("not a query", "GET", l.host, "/callback?state=mine&code=%zz", 403, "not the answer")
	select {
	case answer := <-got:
		t.Fatalf("answered with %v", answer)
	default:
	}
	ask("the answer", "GET", l.host, "/callback?state=mine&code=canary", 200, "You can close this window")
	if answer := <-got; answer.Get("code") != "canary" {
		t.Errorf("answered with %v", answer)
	}
	l.answer <- nil // as while the first one is being read
	ask("O-04 a second one", "GET", l.host, "/callback?state=mine&code=canary", 410, "Answered already")
	cancel()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(l.Redirect()); err == nil {
		t.Error("it listens still")
	}
}

// TestCanceled: who waits no more does not listen.
func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := l.Wait(ctx, func(url.Values) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unused, err := Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Listener{l, unused} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCommand(t *testing.T) {
	const page = "https://reg.test/oauth/authorize?a=b&c=$(d)"
	for _, c := range []struct{ system, variable, page, want string }{
		{"linux", "", page, "xdg-open|" + page},
		{"freebsd", "", page, "xdg-open|" + page},
		{"darwin", "", page, "open|" + page},
		{"windows", "", page, "rundll32|url.dll,FileProtocolHandler|" + page},
		{"linux", "firefox", page, "firefox|" + page},
		{"linux", "firefox:lynx", page, "firefox|" + page},
		{"linux", "/opt/b --new %s --x", page, "/opt/b|--new|" + page + "|--x"},
		{"windows", `C:\b.exe`, page, `C:\b.exe|` + page},
		{"linux", "", "file:///etc/passwd", ""},
		{"linux", "", "-help", ""},
	} {
		args, err := command(c.system, c.variable, c.page)
		if got := strings.Join(args, "|"); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %q: %q, %v", c.system, c.variable, got, err)
		}
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"", "there is no display here"},
		{"DISPLAY", ""},
		{"WAYLAND_DISPLAY", ""},
		{"BROWSER", ""},
		{"DISPLAY SSH_CONNECTION", "this is a session of SSH"},
		{"DISPLAY SSH_TTY", "this is a session of SSH"},
	} {
		for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "SSH_CONNECTION", "SSH_TTY"} {
			value := ""
			if strings.Contains(" "+c.set+" ", " "+name+" ") {
				value = "x"
			}
			t.Setenv(name, value)
		}
		if got := Missing(); got != c.want {
			t.Errorf("with %s: %q", c.set, got)
		}
	}
}

// TestOpen: no shell reads the address.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "b")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf %s \"$1\" >"+dir+"/got\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BROWSER", script)
	page := "https://reg.test/?a=$(touch " + dir + "/evil);b&c"
	ended, err := Open(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "got")); err != nil || string(got) != page {
		t.Errorf("it was given %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "evil")); err == nil {
		t.Error("a shell read it")
	}
	t.Setenv("BROWSER", filepath.Join(dir, "none"))
	if _, err := Open(page); err == nil {
		t.Error("none was opened")
	}
}
