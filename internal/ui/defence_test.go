package ui_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

// ask sends a form to pages from an address, with a cookie.
func (f *fixture) ask(pages http.Handler, address, cookie, path string, pairs ...string) page {
	r := httptest.NewRequest(http.MethodPost, f.srv.URL+path, strings.NewReader(form(pairs...).Encode()))
	r.RemoteAddr = address + ":1234"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", f.srv.URL)
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, r)
	return page{w.Code, w.Header(), w.Body.String()}
}

// TestAttemptServesOnce: O-04, after an answer that was refused another one is not
// the answer to this attempt.
func TestAttemptServesOnce(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	sent := b.get("/oauth/provider/corp?flow=" + b.authorize().flow(t))
	answer := f.op.Authorize(sent.header.Get("Location"))
	b.get("/oauth/callback/corp?"+form("state", answer.Get("state"), "error", "access_denied").Encode()).want(t, "refused", 403, "access_denied")
	b.get("/oauth/callback/corp?"+answer.Encode()).want(t, "O-04 a second answer", 403, "has begun")
}

// TestUserCodesInAll: O-10, also who has many networks has few guesses. Right ones
// do not count.
func TestUserCodesInAll(t *testing.T) {
	f := newFixture(t)
	d := f.beginDevice()
	try := func(address, code string) page {
		return f.ask(f.srv.Config.Handler, address, "", "/oauth/device", "user_code", code)
	}
	for i := range 999 {
		try(fmt.Sprintf("203.0.%d.%d", i/5/100, i/5%100), "wrong").want(t, fmt.Sprint("guess ", i), 403, "No program waits")
	}
	for range 6 {
		try("192.0.2.1", d.User).want(t, "a right one", 200, "another machine")
	}
	try("192.0.2.2", "wrong").want(t, "the last guess", 403, "No program waits")
	try("192.0.2.3", d.User).want(t, "O-10 after a thousand", 429, "Too many wrong codes")
}

// A gatedStore lets look-ups of user codes wait until the gate is opened.
type gatedStore struct {
	token.Store
	came chan bool
	gate chan struct{}
}

func (s gatedStore) GrantByUserSum(ctx context.Context, sum [32]byte) (token.Grant, error) {
	s.came <- true
	<-s.gate
	return s.Store.GrantByUserSum(ctx, sum)
}

// TestUserCodesAtOnce: O-10, guesses at the same moment are not more.
func TestUserCodesAtOnce(t *testing.T) {
	f := newFixture(t)
	const guesses = 8
	store := gatedStore{f.deps.Store, make(chan bool, guesses), make(chan struct{})}
	pages := f.pages(f.tokensOn(store))
	answers := make(chan int, guesses)
	for range guesses {
		go func() {
			p := f.ask(pages, "192.0.2.1", "", "/oauth/device", "user_code", "BCDFG-HJKLM")
			if p.status == http.StatusTooManyRequests {
				store.came <- false
			}
			answers <- p.status
		}()
	}
	looked := 0
	for range guesses {
		if <-store.came {
			looked++
		}
	}
	close(store.gate)
	for range guesses {
		if status := <-answers; status != http.StatusForbidden && status != http.StatusTooManyRequests {
			t.Errorf("answered %d", status)
		}
	}
	if looked != 5 {
		t.Errorf("O-10 %d of %d guesses were looked up, want 5", looked, guesses)
	}
}

// TestCookiePurpose: W-06, what the registry has sealed for something else is no
// sign-in that goes on.
func TestCookiePurpose(t *testing.T) {
	f := newFixture(t)
	plain := fmt.Appendf(nil, `{"i":"id","e":%d,"r":%q,"s":"state","c":%q}`, f.clock().Add(time.Minute).Unix(), redirect, challengeOf(verifier))
	for purpose, status := range map[string]int{"sign-in cookie": 200, "": 400, "signing key id": 400, "sign-in": 400} {
		cookie := "__Host-sallyport=" + f.sealer.ID() + "." + base64.RawURLEncoding.EncodeToString(f.sealer.Seal(purpose, plain))
		if p := f.ask(f.srv.Config.Handler, "192.0.2.1", cookie, "/oauth/password", "flow", "id", "name", "alice", "password", horse); p.status != status {
			t.Errorf("sealed as %q: %d, want %d:\n%s", purpose, p.status, status, p.text)
		}
	}
}
