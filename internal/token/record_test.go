package token_test

import (
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestRecord: L-03, each token request leaves exactly one event, which says who
// was proven and how, or who was not.
func TestRecord(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := ledger.NewRecorder(f.db.Ledger(), ledger.RecorderOptions{Now: f.clock})
		t.Cleanup(func() { r.Close() })
		f.s = f.service(token.Options{Ledger: r})
		events := func() []ledger.Sealed {
			f.ok(r.Flush(f.ctx()))
			page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{After: ledger.Seq{Given: true}, Limit: 1000})
			f.ok(err)
			return page.Events
		}
		ci := account.Name{Kind: "robot", Name: "ci"}
		elsewhere, fromElsewhere := f.key(ci, account.NewKey{Life: time.Hour, Narrowing: access.Narrowing{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
		revoked, thatWasRevoked := f.key(ci, account.NewKey{Life: time.Hour})
		f.ok(f.accounts.RevokeKey(f.ctx(), revoked.ID))
		expired, thatExpired := f.key(ci, account.NewKey{Life: time.Minute})
		lost := f.do(get("offline_token=true", "bob:"+password("bob"))).RefreshToken
		bob, err := f.accounts.Find(f.ctx(), user("bob"))
		f.ok(err)
		_, err = f.s.RevokeSessions(f.ctx(), bob.UID)
		f.ok(err)
		f.pass(2 * time.Minute)
		k, secret := f.key(ci, account.NewKey{Life: time.Hour})
		identity := f.do(get("offline_token=true", "alice:"+password("alice"))).RefreshToken
		// What the record knows the client is not told.
		said := f.do(get("", "any:sallyport_key_none")).raw
		refused := func(key string) func() int {
			return func() int {
				a := f.do(get("", "any:"+key))
				if a.raw != said {
					t.Errorf("the client is told %s", a.raw)
				}
				return a.status
			}
		}
		seen := len(events())
		for _, c := range []struct {
			name             string
			ask              func() int
			kind             ledger.Kind
			decision         ledger.Decision
			principal        string
			method, reason   string
			credential, more string
		}{
			{"login", func() int { return f.do(get("offline_token=true", "alice:"+password("alice"))).status }, ledger.Login, ledger.Allowed, "user:alice", "password", "", "", ""},
			{"password", func() int { return f.do(get("", "bob:"+password("bob"))).status }, ledger.Token, ledger.Allowed, "user:bob", "password", "", "", ""},
			{"key", func() int {
				return f.do(get("scope=repository:team-a/app:pull", "any:"+secret)).status
			}, ledger.Token, ledger.Allowed, "robot:ci", "key", "", k.ID, ""},
			{"identity token", func() int { return f.do(post(refreshForm(identity))).status }, ledger.Token, ledger.Allowed, "user:alice", "session", "", "", ""},
			{"anonymous", func() int { return f.do(get("", "")).status }, ledger.Token, ledger.Allowed, "anonymous", "", "", "", ""},
			{"wrong password", func() int { return f.do(get("", "alice:wrong canary")).status }, ledger.Login, ledger.Denied, "user:alice", "password", ledger.BadProof, "", ""},
			{"L-02 unknown name", func() int {
				return f.do(get("", "x\r\n{\"seq\":1}\x1b"+strings.Repeat("y", 1<<12)+":wrong canary")).status
			}, ledger.Login, ledger.Denied, "", "password", ledger.BadProof, "", ""},
			{"a key that is not one", func() int { return f.do(get("", "a:sallyport_key_canary")).status }, ledger.Login, ledger.Denied, "anonymous", "key", ledger.BadProof, "", ""},
			{"S-36 a key from elsewhere", refused(fromElsewhere), ledger.Login, ledger.Denied, "robot:ci", "key", ledger.WrongNetwork, elsewhere.ID, ""},
			{"a revoked key", refused(thatWasRevoked), ledger.Login, ledger.Denied, "robot:ci", "key", ledger.Revoked, revoked.ID, ""},
			{"an expired key", refused(thatExpired), ledger.Login, ledger.Denied, "robot:ci", "key", ledger.Expired, expired.ID, ""},
			{"a revoked session", func() int { return f.do(post(refreshForm(lost))).status }, ledger.Login, ledger.Denied, "user:bob", "session", ledger.Revoked, "", ""},
		} {
			t.Run("L-03 "+c.name, func(t *testing.T) {
				status := c.ask()
				all := events()
				if len(all) != seen+1 {
					t.Fatalf("%d events after %d (status %d)", len(all), seen, status)
				}
				seen++
				e := all[len(all)-1]
				for _, s := range all { // pulls aside, the order is that of writing
					if s.Seq > e.Seq {
						e = s
					}
				}
				line := string(e.Line())
				if e.Kind != c.kind || e.Decision != c.decision || e.Method != c.method || e.Reason != c.reason || e.RequestID != "req-1" ||
					c.principal != "" && e.Principal != c.principal || c.credential != "" && e.Credential != c.credential {
					t.Errorf("%s", line)
				}
				if (e.Token != "") != (c.decision == ledger.Allowed) {
					t.Errorf("token id %q", e.Token)
				}
				if strings.Contains(line, "canary") || strings.Contains(line, secret) || strings.Contains(line, identity) || strings.ContainsAny(line, "\r\n\x1b") || len(line) > 4096 {
					t.Errorf("L-01 L-02: %q", line)
				}
			})
		}
	})
}

// TestUnrecordedLogin: L-04, a login that cannot be recorded begins no session.
func TestUnrecordedLogin(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		f := newFixture(t, metadatatest.Open(t, url, metadata.Options{}))
		alice, err := f.accounts.Find(f.ctx(), user("alice"))
		f.ok(err)
		login := func() answer { return f.do(get("offline_token=true", "alice:"+password("alice"))) }
		sessions := func() int {
			all, err := f.db.Tokens().ListSessions(f.ctx(), alice.UID, token.Place{}, 1000)
			f.ok(err)
			return len(all)
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_event RENAME TO audit_gone`)
		if a := login(); a.status < 500 || a.RefreshToken != "" || a.Token != "" || sessions() != 0 {
			t.Errorf("L-04: status %d, %d sessions", a.status, sessions())
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_gone RENAME TO audit_event`)
		if a := login(); a.status != 200 || sessions() != 1 {
			t.Errorf("status %d, %d sessions", a.status, sessions())
		}
	})
}

// TestRecordThrottled: a password that is not looked at any more is on record like
// one that is wrong.
func TestRecordThrottled(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		r := ledger.NewRecorder(f.db.Ledger(), ledger.RecorderOptions{Now: f.clock})
		t.Cleanup(func() { r.Close() })
		f.s = f.service(token.Options{Ledger: r})
		want := map[string]int{}
		for range 8 {
			guess := get("", "alice:wrong canary")
			guess.RemoteAddr = "198.51.100.1:1234"
			switch a := f.do(guess); a.status {
			case http.StatusUnauthorized:
				want[ledger.BadProof]++
			case http.StatusTooManyRequests:
				want[ledger.TooManyTries]++
			}
		}
		f.ok(r.Flush(f.ctx()))
		page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{Principal: "user:alice", Denied: true, Limit: 1000})
		f.ok(err)
		got := map[string]int{}
		for _, e := range page.Events {
			got[e.Reason]++
		}
		if want[ledger.TooManyTries] == 0 || !maps.Equal(got, want) {
			t.Errorf("on record are %v, answered were %v", got, want)
		}
	})
}
