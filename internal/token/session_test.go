package token_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/token"
)

const day = 24 * time.Hour

// A session lives 30 days, and 7 without use, wherever it is used.
func TestSessionEnds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		identity := f.login("alice").RefreshToken
		use := func(s *token.Service, want int) {
			t.Helper()
			if a := f.doOn(s, post(refreshForm(identity))); a.status != want {
				t.Errorf("at %s: %d %s", f.clock(), a.status, a.raw)
			}
		}
		replica := f.service(token.Options{})
		use(f.s, 200)
		use(replica, 200) // which remembers the session as it is now
		f.ok(replica.Flush())
		for range 4 { // used here every six days; the replica learns of it by the database
			f.pass(6 * day)
			use(f.s, 200)
		}
		f.ok(f.s.Flush())
		f.pass(5 * day)
		use(replica, 200)
		f.ok(replica.Flush())
		f.pass(day)
		use(f.s, 401) // 30 days

		identity = f.login("alice").RefreshToken
		f.pass(7*day - time.Second)
		use(f.s, 200)
		f.pass(7*day - time.Second)
		use(f.s, 200) // though nothing was written yet
		f.pass(7 * day)
		use(f.s, 401)
	})
}

// The grace of a push excuses an expired token, not a session that has ended.
func TestSessionEndsItsTokens(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		identity := f.login("alice").RefreshToken
		for range 5 {
			f.pass(6*day - time.Minute)
			f.do(post(refreshForm(identity)))
		}
		f.pass(4 * time.Minute)
		text := f.do(post(refreshForm(identity))).Token
		if exp := claims(t, text)["exp"]; exp != float64(f.clock().Add(time.Minute).Unix()) {
			t.Errorf("exp %v is not the session's end", exp)
		}
		f.pass(time.Minute - time.Second)
		f.alive("before the session's end", text)
		f.pass(time.Second)
		f.dead("at the session's end", text)
		f.pass(10 * time.Minute)
		f.dead("in the grace of a push", text)
	})
}

// A use costs no write; one a minute writes them all.
func TestLastUseIsBatched(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		first, second := f.login("alice"), f.login("bob")
		before := f.db.Queries()
		for range 50 {
			f.pass(time.Second)
			f.do(post(refreshForm(first.RefreshToken)))
			f.do(get("", ":"+second.RefreshToken))
		}
		queries := f.db.Queries() - before
		f.ok(f.s.Flush())
		f.ok(f.s.Flush())
		if written := f.db.Queries() - before - queries; queries > 10 || written == 0 || written > 2 {
			t.Errorf("%d queries for 100 uses, %d to write them down", queries, written)
		}
		sessions, err := f.db.Tokens().ListSessions(f.ctx(), "", token.Place{}, 1000)
		f.ok(err)
		for _, s := range sessions {
			if !s.LastUsed.Time.Equal(f.clock()) {
				t.Errorf("last use of %s: %s", s.Owner, s.LastUsed.Time)
			}
		}
		f.pass(time.Second)
		f.do(post(refreshForm(first.RefreshToken)))
		f.ok(f.s.Close())
		stored, err := f.db.Tokens().SessionBySum(f.ctx(), access.NewSecret(first.RefreshToken).Sum())
		if err != nil || !stored.LastUsed.Time.Equal(f.clock()) {
			t.Errorf("last use after Close: %s, %v", stored.LastUsed.Time, err)
		}
	})
}

// I-18: an identity token that was mistyped costs no query.
func TestMistypedIdentityToken(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		text := f.login("alice").RefreshToken
		before := f.db.Queries()
		for i := len("sallyport_idt_"); i < len(text); i++ {
			for _, c := range []byte{'x', 'Q'} {
				if text[i] == c {
					continue
				}
				if a := f.do(post(refreshForm(text[:i] + string(c) + text[i+1:]))); a.status != 401 {
					t.Errorf("byte %d as %c: %d", i, c, a.status)
				}
			}
		}
		if n := f.db.Queries() - before; n != 0 {
			t.Errorf("%d queries", n)
		}
	})
}

// I-17: what is stored is a sum; what is listed says who, where and when.
func TestSessionsAreListed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := get("offline_token=true&client_id=docker", "alice:"+password("alice"))
		r.Header.Set("User-Agent", "Docker-Client/28.2.2\x1b[31m (linux)\xff"+strings.Repeat("x", 1000))
		r.RemoteAddr = "192.0.2.7:1234"
		a := f.do(r)
		k, key := f.key(user("alice"), account.NewKey{Life: time.Hour})
		f.pass(time.Second)
		f.do(get("offline_token=true", "alice:"+key))
		alice, err := f.accounts.Find(f.ctx(), user("alice"))
		f.ok(err)
		f.login("bob")
		sessions, err := f.s.Sessions(f.ctx(), alice.UID, token.Place{}, 1000)
		f.ok(err)
		if len(sessions) != 2 {
			t.Fatalf("%d sessions", len(sessions))
		}
		s := sessions[1]
		if s.Owner != "user:alice" || s.Service != service || s.KeyID != "" || !s.Expires.Equal(s.Created.Add(30*day)) || s.Sum != access.NewSecret(a.RefreshToken).Sum() {
			t.Errorf("session %+v", s)
		}
		if !strings.HasPrefix(s.Client, "docker Docker-Client/28.2.2[31m (linux)xxx") || !strings.HasSuffix(s.Client, "x 192.0.2.7") || len(s.Client) > 250 {
			t.Errorf("L-02: client %q", s.Client)
		}
		if s := sessions[0]; s.KeyID != k.ID || !s.Expires.Equal(k.Expires) {
			t.Errorf("session begun with a key: %+v, key ends %s", s, k.Expires)
		}
		f.pass(time.Minute)
		f.do(post(refreshForm(a.RefreshToken)))
		sessions, err = f.s.Sessions(f.ctx(), "", token.Place{}, 1000)
		f.ok(err)
		if len(sessions) != 3 {
			t.Errorf("%d sessions of everybody", len(sessions))
		}
		for _, s := range sessions {
			if s.Sum == access.NewSecret(a.RefreshToken).Sum() && !s.LastUsed.Time.Equal(f.clock()) {
				t.Errorf("last use %s, before it is written", s.LastUsed.Time)
			}
		}
		if one, err := f.s.Session(f.ctx(), s.ID); err != nil || one.Owner != "user:alice" {
			t.Errorf("Session = %+v, %v", one, err)
		}
		for _, id := range []string{"nosuchsession", "", "not\x00an id", strings.Repeat("x", 1000)} {
			if err := f.s.RevokeSession(f.ctx(), id); !errors.Is(err, token.ErrUnknown) {
				t.Errorf("RevokeSession(%.20q) = %v", id, err)
			}
			if _, err := f.s.Session(f.ctx(), id); !errors.Is(err, token.ErrUnknown) {
				t.Errorf("Session(%.20q) = %v", id, err)
			}
		}
	})
}

// An identity token is bound to the service it was made for.
func TestSessionOfAnotherService(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		identity := f.login("alice").RefreshToken
		stored, err := f.db.Tokens().SessionBySum(f.ctx(), access.NewSecret(identity).Sum())
		f.ok(err)
		foreign, err := access.RefreshSecret.New(strings.NewReader(strings.Repeat("abcdefgh", 9)))
		f.ok(err)
		stored.ID, stored.Sum, stored.Service = "another", foreign.Sum(), "other.test"
		f.ok(f.db.Tokens().SaveSession(f.ctx(), stored, access.Proof{}, token.Room{}))
		if a := f.do(post(refreshForm(foreign.Reveal()))); a.status != http.StatusUnauthorized {
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
}
