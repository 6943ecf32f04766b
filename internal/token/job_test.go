package token_test

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// docker login by a job: with whatever a client sends for it, an identity token for
// as long as a job needs, which outlives the issuer's token.
func TestJobLogin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		for name, ask := range waysIn {
			more := []string{"access_type", "offline"}
			if strings.HasPrefix(name, "Basic") {
				more = []string{"offline_token", "true", "client_id", "docker"}
			}
			outside := ff.idp.token(job, 5*time.Minute, jobClaims)
			a := f.do(ask(outside, more...))
			if a.status != 200 || !access.RefreshSecret.Valid(a.RefreshToken) || strings.Contains(a.raw, outside) {
				t.Fatalf("%s: %d %s", name, a.status, a.raw)
			}
			f.pass(59 * time.Minute)
			for what, r := range map[string]*http.Request{
				"refresh": post(refreshForm(a.RefreshToken, "scope", pushScope)), "Basic": get("scope="+pushScope, "<token>:"+a.RefreshToken),
				"refresh, offline again": post(refreshForm(a.RefreshToken, "scope", pushScope, "access_type", "offline")),
			} {
				again := f.do(r)
				if again.status != 200 || again.Scope != pushScope || again.ExpiresIn != 60 {
					t.Errorf("%s, then %s: %d %s", name, what, again.status, again.raw)
					continue
				}
				if what == "refresh, offline again" && again.RefreshToken != a.RefreshToken {
					t.Errorf("%s: another identity token", name)
				}
				id := f.alive(what, again.Token).Identity
				if id.Proof.Method != "session" || id.Proof.SessionID == "" || !maps.Equal(id.Principal.Claims, jobClaims) || id.Principal.String() != "external:"+job+" ("+idp+")" {
					t.Errorf("%s, then %s: %+v", name, what, id)
				}
			}
			last := f.do(post(refreshForm(a.RefreshToken))).Token
			f.pass(time.Minute)
			f.dead("a token of a session that has ended", last)
			if a := f.do(post(refreshForm(a.RefreshToken))); a.status != 401 || !strings.Contains(a.Description, "docker login") {
				t.Errorf("%s, after an hour: %d %s", name, a.status, a.raw)
			}
		}
	})
}

// The life of a job's identity token is the least of three.
func TestJobLife(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		for name, tt := range map[string]struct {
			options token.Options
			issuers time.Duration
			want    time.Duration // 0: there is none
		}{
			"unless configured":           {issuers: 2 * time.Hour, want: time.Hour},
			"the issuer's is shorter":     {issuers: time.Minute, want: time.Minute},
			"the issuer gives none":       {issuers: 0},
			"nor less than none":          {issuers: -time.Hour},
			"the operator gives none":     {options: token.Options{JobSession: -1}, issuers: 2 * time.Hour},
			"the operator's":              {token.Options{JobSession: 90 * time.Minute}, 2 * time.Hour, 90 * time.Minute},
			"the operator's for everyone": {token.Options{JobSession: 90 * time.Minute, SessionAbsolute: time.Hour}, 2 * time.Hour, time.Hour},
		} {
			s := ff.replica(tt.options)
			a := f.doOn(s, exchangeForm(ff.idp.token(job, time.Minute*5, jobClaims, func(id *access.Identity) { id.SessionLife = tt.issuers }), "access_type", "offline"))
			if a.status != 200 || (a.RefreshToken != "") != (tt.want != 0) {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
			if tt.want == 0 {
				continue
			}
			session, err := f.db.Tokens().SessionBySum(f.ctx(), access.NewSecret(a.RefreshToken).Sum())
			if err != nil || session.Expires.Sub(session.Created) != tt.want {
				t.Errorf("%s: %s to %s, %v", name, session.Created, session.Expires, err)
			}
		}
	})
}

// What ends a job's identity token ends it and what came of it, on every process.
func TestJobSessionEnds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		replica := ff.replica(token.Options{})
		principal := access.ExternalPrincipal(idp, job, nil)
		for name, end := range map[string]func(id string){
			"revoked":     func(id string) { f.ok(f.s.RevokeSession(f.ctx(), id)) },
			"all revoked": func(string) { _, err := f.s.RevokeSessions(f.ctx(), principal.UID); f.ok(err) },
			"not trusted": func(string) { ff.idp.trust(false) },
		} {
			ff.idp.trust(true)
			a := f.do(exchangeForm(ff.idp.token(job, time.Hour, jobClaims), "access_type", "offline"))
			other := f.do(exchangeForm(ff.idp.token("other", time.Hour, jobClaims), "access_type", "offline"))
			of := f.doOn(replica, post(refreshForm(a.RefreshToken))).Token
			sessions, err := f.s.Sessions(f.ctx(), principal.UID, token.Place{}, 1000)
			f.ok(err)
			if len(sessions) == 0 || sessions[0].Owner != principal.String() || !maps.Equal(sessions[0].Outsider.Claims, jobClaims) || sessions[0].Outsider.Trust != trust {
				t.Fatalf("sessions %+v", sessions)
			}
			f.alive(name, of)
			f.alive(name, a.Token)
			end(f.alive(name, a.Token).Identity.Proof.SessionID)
			for what, s := range map[string]*token.Service{"here": f.s, "on another process": replica} {
				for _, bearer := range []string{a.Token, of} {
					if _, err := s.Authorize(f.ctx(), bearer); !errors.Is(err, access.ErrInvalidToken) {
						t.Errorf("%s, %s: Authorize: %v", name, what, err)
					}
				}
				if again := f.doOn(s, post(refreshForm(a.RefreshToken))); again.status != 401 {
					t.Errorf("%s, %s: %d %s", name, what, again.status, again.raw)
				}
			}
			if again := f.do(post(refreshForm(other.RefreshToken))); (again.status == 200) != (name != "not trusted") {
				t.Errorf("%s: another job's: %d %s", name, again.status, again.raw)
			}
		}
	})
}

// L-03, F-29: a token of an issuer leaves exactly one event, taken or refused, with
// what its issuer said and who that was; the event alone knows why it was refused,
// and nothing knows the token (L-01).
func TestOutsideRecord(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		r := ledger.NewRecorder(f.db.Ledger(), ledger.RecorderOptions{Now: f.clock})
		t.Cleanup(func() { r.Close() })
		ff := newFederated(f, token.Options{Ledger: r})
		seen := int64(0)
		var said []string
		for _, tt := range []struct {
			name     string
			ask      func(outside string) *http.Request
			outside  string
			kind     ledger.Kind
			action   string
			decision ledger.Decision
			reason   string
			why      string
		}{
			{"Basic", func(s string) *http.Request { return waysIn["Basic"](s) }, ff.idp.token(job, time.Hour, jobClaims), ledger.Token, "issue", ledger.Allowed, "", ""},
			{"exchange", func(s string) *http.Request { return waysIn["exchange"](s) }, ff.idp.token(job, time.Hour, jobClaims), ledger.Token, "exchange", ledger.Allowed, "", ""},
			{"login", func(s string) *http.Request { return waysIn["Basic"](s, "offline_token", "true") }, ff.idp.token(job, time.Hour, jobClaims), ledger.Login, "login", ledger.Allowed, "", ""},
			{"exchange for a login", func(s string) *http.Request { return waysIn["exchange"](s, "access_type", "offline") }, ff.idp.token(job, time.Hour, jobClaims), ledger.Login, "exchange", ledger.Allowed, "", ""},
			{"expired", func(s string) *http.Request { return waysIn["Basic"](s) }, ff.idp.token(job, 0, jobClaims), ledger.Login, "login", ledger.Denied, ledger.Expired, "at noon"},
			{"a rule", func(s string) *http.Request { return waysIn["Basic"](s) }, ff.idp.token(job, time.Hour, map[string]string{"event_name": "pull_request_target"}), ledger.Login, "login", ledger.Denied, ledger.BadProof, "no tokens of forks"},
			{"a rule, exchange", func(s string) *http.Request { return waysIn["exchange"](s) }, ff.idp.token(job, time.Hour, map[string]string{"event_name": "pull_request_target"}), ledger.Login, "exchange", ledger.Denied, ledger.BadProof, "no tokens of forks"},
			{"unknown", func(s string) *http.Request { return waysIn["password"](s) }, jwtOf(`{"canary":1}`), ledger.Login, "login", ledger.Denied, ledger.BadProof, "audience"},
			{"too long", func(s string) *http.Request { return waysIn["password"](s) }, jwtOf(`{"canary":"` + strings.Repeat("x", 16<<10) + `"}`), ledger.Login, "login", ledger.Denied, ledger.BadProof, "longer than"},
			{"our own", func(s string) *http.Request { return waysIn["exchange"](s) }, f.access("alice:"+password("alice"), ""), ledger.Login, "exchange", ledger.Denied, ledger.BadProof, "of this registry"},
			{"our identity token", func(s string) *http.Request { return waysIn["exchange"](s) }, f.login("alice").RefreshToken, ledger.Login, "exchange", ledger.Denied, ledger.BadProof, "not exchanged"},
		} {
			if seen == 0 {
				f.ok(r.Flush(f.ctx()))
				page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{Limit: 1})
				f.ok(err)
				seen = page.Events[0].Seq
			}
			a := f.do(tt.ask(tt.outside))
			f.ok(r.Flush(f.ctx()))
			page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{After: ledger.Seq{N: seen, Given: true}, Limit: 10})
			f.ok(err)
			if len(page.Events) != 1 {
				t.Fatalf("L-03 %s: %d events (%d %s)", tt.name, len(page.Events), a.status, a.raw)
			}
			e := page.Events[0]
			seen = e.Seq
			line := string(e.Line())
			if e.Kind != tt.kind || e.Action != tt.action || e.Decision != tt.decision || e.Reason != tt.reason || e.RequestID != "req-1" || !strings.Contains(e.Detail["why"], tt.why) {
				t.Errorf("L-03 %s: %s", tt.name, line)
			}
			if strings.Contains(line, tt.outside) || strings.Contains(line, "canary") || strings.Contains(f.log.String(), tt.outside) {
				t.Errorf("L-01 %s: %s\n%s", tt.name, line, f.log)
			}
			claims := ff.idp.proves[tt.outside].Principal.Claims
			if tt.decision == ledger.Allowed {
				if e.Principal != "external:"+job+" ("+idp+")" || e.Issuer != idp || e.Method != access.MethodIDToken || e.Detail["trust"] != trust || e.Token == "" || (e.Credential != "") != (tt.kind == ledger.Login) {
					t.Errorf("L-03 %s: %s", tt.name, line)
				}
			} else if a.status == 200 || strings.Contains(a.raw, tt.why) && tt.name != "our identity token" {
				t.Errorf("%s: the client is told why: %d %s", tt.name, a.status, a.raw)
			} else if tt.action == "login" {
				said = append(said, a.raw)
			}
			if !maps.Equal(e.Claims, claims) {
				t.Errorf("L-03 %s: claims %v", tt.name, e.Claims)
			}
		}
		for _, raw := range said {
			if raw != said[0] {
				t.Errorf("the answers tell refusals apart: %s, %s", raw, said[0])
			}
		}
		if !strings.Contains(f.log.String(), "no tokens of forks") {
			t.Error("the log does not say why")
		}
	})
}
