package token_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
)

// I-01, O-18: wrong passwords are slowed down alike in both forms of a token
// request, and each other credential goes on meanwhile.
func TestThrottled(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		login := f.login("alice")
		_, key := f.key(user("alice"), account.NewKey{})
		const flooding = "198.51.100.1:1234"
		from := func(r *http.Request) answer {
			r.RemoteAddr = flooding
			return f.do(r)
		}
		passwordForm := func(password string) *http.Request {
			return post(form("grant_type", "password", "username", "alice", "password", password))
		}
		f.pass(account.RememberFor)
		for i := range 5 {
			guess := fmt.Sprint("guess ", i)
			if a := from([]*http.Request{get("", "alice:"+guess), passwordForm(guess)}[i%2]); a.status != http.StatusUnauthorized {
				t.Fatalf("guess %d: %d %s", i, a.status, a.raw)
			}
		}
		for name, r := range map[string]*http.Request{
			"Basic, right": get("offline_token=true", "alice:"+password("alice")), "Basic, wrong": get("", "alice:wrong"),
			"form, right": passwordForm(password("alice")), "form, wrong": passwordForm("wrong"),
		} {
			a := from(r)
			seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
			if a.status != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 300 {
				t.Errorf("%s: %d, Retry-After %q", name, a.status, a.header.Get("Retry-After"))
			}
			if a.Error != "temporarily_unavailable" || len(a.Errors) != 1 || a.Errors[0].Code != "TOOMANYREQUESTS" || !strings.Contains(a.Errors[0].Message, "use an access key") {
				t.Errorf("%s: %s", name, a.raw)
			}
		}
		for name, r := range map[string]*http.Request{
			"access key": get("", "alice:"+key), "identity token": post(refreshForm(login.RefreshToken)),
			"identity token as a password": get("", "alice:"+login.RefreshToken), "anonymous": get("scope=repository:public/x:pull", ""),
			"another account": get("", "bob:"+password("bob")),
		} {
			if a := from(r); a.status != http.StatusOK {
				t.Errorf("%s under a flood: %d %s", name, a.status, a.raw)
			}
		}
		if a := f.do(get("", "alice:"+password("alice"))); a.status != http.StatusOK {
			t.Errorf("from elsewhere: %d %s", a.status, a.raw)
		}
	})
}
