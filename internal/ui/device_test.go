package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/federation/provider/providertest"
)

type providertestProvider = providertest.Provider

type device struct {
	Code     string `json:"device_code"`
	User     string `json:"user_code"`
	Page     string `json:"verification_uri"`
	Complete string `json:"verification_uri_complete"`
	Expires  int    `json:"expires_in"`
	Interval int    `json:"interval"`
}

func (f *fixture) beginDevice() device {
	f.t.Helper()
	r, err := http.NewRequest("POST", f.srv.URL+"/oauth/device/code", strings.NewReader("client_id=sallyport"))
	f.ok(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "sallyport/1 <b>")
	w, err := f.srv.Client().Do(r)
	f.ok(err)
	defer w.Body.Close()
	var d device
	f.ok(json.NewDecoder(w.Body).Decode(&d))
	return d
}

func (f *fixture) poll(code string, pairs ...string) answer {
	f.t.Helper()
	v := form("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", "sallyport", "device_code", code)
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return f.token(v)
}

// TestDevice: O-11 and O-12, from the code on another machine to its approval.
func TestDevice(t *testing.T) {
	f := newFixture(t)
	d := f.beginDevice()
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{5}-[BCDFGHJKLMNPQRSTVWXZ]{5}$`).MatchString(d.User) || d.Page != f.srv.URL+"/oauth/device" ||
		d.Complete != d.Page+"?user_code="+d.User || d.Expires != 600 || d.Interval != 5 || strings.Contains(d.Complete, d.Code) {
		t.Errorf("O-10 O-12 %+v", d)
	}
	want := func(name, code string) {
		t.Helper()
		if a := f.poll(d.Code); a.Error != code {
			t.Errorf("%s: %+v, want %s", name, a, code)
		}
	}
	want("at first", "authorization_pending")
	want("too soon", "slow_down")
	f.pass(9 * time.Second)
	want("O-12 the interval has grown", "authorization_pending")
	b := f.browser()
	b.get(d.Complete).want(t, "O-11 a link", 200, "Never type one that somebody sent to you")
	f.pass(20 * time.Second)
	want("O-11 a link does nothing", "authorization_pending")
	asked := f.clock().Add(-29 * time.Second).UTC().Format("15:04 MST")
	shown := func(name string, p page) page {
		t.Helper()
		for _, what := range []string{"sallyport/1 <b>", "127.0.0.1", asked, "somebody else wants your rights"} {
			p.want(t, name, 200, what)
		}
		if strings.Contains(p.text, "<b>\n") || strings.Contains(p.text, "refresh") {
			t.Errorf("O-11 O-16 %s: %s", name, p.text)
		}
		return p
	}
	typed := strings.ToLower(strings.ReplaceAll(d.User, "-", " "))
	p := shown("sign-in", b.post("/oauth/device", "user_code", typed))
	b.post("/oauth/device/confirm", "flow", p.flow(t), "decision", "approve").want(t, "O-11 without a sign-in", 403, "Nobody has signed in")
	sent := b.get("/oauth/provider/corp?flow=" + p.flow(t)).header.Get("Location")
	if !strings.Contains(sent, "prompt=login") {
		t.Errorf("O-11 no fresh sign-in: %s", sent)
	}
	p = shown("confirm", b.get("/oauth/callback/corp?"+f.op.Authorize(sent).Encode())).want(t, "confirm", 200, "user:corp/alice")
	f.pass(30 * time.Second)
	want("O-11 only signed in", "authorization_pending")
	b.post("/oauth/device/confirm", "flow", p.flow(t)).want(t, "neither", 400, "neither yes nor no")
	b.post("/oauth/device/confirm", "flow", p.flow(t), "decision", "approve").want(t, "approve", 200, "is logged in")
	b.post("/oauth/device/confirm", "flow", p.flow(t), "decision", "deny").want(t, "O-15 again", 400, "Begin again")
	f.pass(30 * time.Second)
	if a := f.poll(d.Code, "client_id", "docker"); a.status != 400 {
		t.Errorf("O-12 as another client: %+v", a)
	}
	a := f.poll(d.Code)
	if got := f.who(a.Token); got != "user:corp/alice corp/dev" || a.Refresh == "" {
		t.Errorf("%+v is for %q", a, got)
	}
	f.pass(30 * time.Second)
	if again := f.poll(d.Code); again.status != 401 || f.who(a.Token) != "" {
		t.Errorf("O-12 twice: %+v", again)
	}
	b.post("/oauth/device", "user_code", d.User).want(t, "O-12 after its approval", 403, "No program waits")
}

func TestDeviceDenied(t *testing.T) {
	f := newFixture(t)
	d, late := f.beginDevice(), f.beginDevice()
	b := f.browser()
	p := b.post("/oauth/device", "user_code", d.User)
	b.post("/oauth/password", "flow", p.flow(t), "name", "alice", "password", "wrong").want(t, "wrong", 403, "wrong")
	p = b.post("/oauth/password", "flow", p.flow(t), "name", "alice", "password", horse).want(t, "right", 200, "Let this program log in as user:alice?")
	b.post("/oauth/device/confirm", "flow", p.flow(t), "decision", "deny").want(t, "deny", 200, "gets nothing")
	if a := f.poll(d.Code); a.Error != "access_denied" {
		t.Errorf("denied: %+v", a)
	}
	b.post("/oauth/device", "user_code", d.User).want(t, "O-12 after the denial", 403, "No program waits")
	p = b.post("/oauth/device", "user_code", late.User)
	p = b.post("/oauth/password", "flow", p.flow(t), "name", "alice", "password", horse)
	f.pass(10*time.Minute - time.Second)
	b.post("/oauth/device", "user_code", late.User).want(t, "just in time", 200, "another machine")
	f.pass(time.Second)
	b.post("/oauth/device/confirm", "flow", p.flow(t), "decision", "approve").want(t, "O-12 too late", 400, "Begin again")
	if a := f.poll(late.Code); a.Error != "expired_token" {
		t.Errorf("late: %+v", a)
	}
}

// TestUserCodes: O-10, few guesses and few that wait.
func TestUserCodes(t *testing.T) {
	f := newFixture(t)
	d := f.beginDevice()
	b := f.browser()
	for i := range 5 {
		b.post("/oauth/device", "user_code", []string{"", "BCDFG-HJKLM", "aeiou", strings.Repeat("B", 1000), d.User[:10]}[i]).want(t, fmt.Sprint("guess ", i), 403, "No program waits")
	}
	b.post("/oauth/device", "user_code", d.User).want(t, "O-10 after five", 429, "Too many wrong codes")
	f.browser().post("/oauth/device", "user_code", d.User).want(t, "O-10 in another browser", 429, "Too many wrong codes")
	f.pass(10 * time.Minute)
	d = f.beginDevice()
	b.post("/oauth/device", "user_code", d.User).want(t, "later", 200, "another machine")
	for range 19 {
		d = f.beginDevice()
	}
	if d.Code == "" {
		t.Error("20 of a network cannot wait")
	}
	if more := f.beginDevice(); more.Code != "" {
		t.Error("O-10 21 of a network wait")
	}
	if a := f.poll("sallyport_dev_x"); a.status != 401 {
		t.Errorf("no code: %+v", a)
	}
}
