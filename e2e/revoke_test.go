package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// changesBound is the promise: what is taken away in one process is gone in all
// after this time.
const changesBound = time.Second

var anID = regexp.MustCompile(`"id": "([a-z0-9]+)"`)

// direct returns a client that speaks to s itself, whatever address clients of
// all processes share.
func direct(s *server) *http.Client {
	c := s.HTTP()
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("%s:%d", registryIP, s.Port))
	}
	return c
}

// tokenFor returns an access token to pull and push team/app that password
// proves, or a login with an identity token that it begins.
func tokenFor(t *testing.T, s *server, name, password string, login bool) string {
	t.Helper()
	ask := func(req *http.Request, err error) (answer struct {
		Token        string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}) {
		must(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := direct(s).Do(req)
		must(t, err)
		defer resp.Body.Close()
		must(t, json.NewDecoder(resp.Body).Decode(&answer))
		if answer.Token == "" {
			t.Fatalf("no token for %s: %s", name, resp.Status)
		}
		return answer
	}
	form := url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}, "client_id": {"test"},
		"service": {s.Host}, "scope": {"repository:team/app:pull,push"}}
	if !login {
		return ask(http.NewRequest("POST", s.URL("/token"), strings.NewReader(form.Encode()))).Token
	}
	form.Set("access_type", "offline")
	identity := ask(http.NewRequest("POST", s.URL("/token"), strings.NewReader(form.Encode()))).RefreshToken
	form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {identity}, "client_id": {"test"},
		"service": {s.Host}, "scope": form["scope"]}
	return ask(http.NewRequest("POST", s.URL("/token"), strings.NewReader(form.Encode()))).Token
}

// status asks for the tag with an access token.
func status(t *testing.T, s *server, token string) int {
	t.Helper()
	req, err := http.NewRequest("GET", s.URL("/v2/team/app/manifests/v1"), nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := direct(s).Do(req)
	must(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// A loss is an access token that is used until something is taken away.
type loss struct {
	name  string
	token string
	take  func(one *server)
	want  int
	// after is how much later it is gone by itself; it is taken before all others.
	after time.Duration
}

// losses makes accounts on one and gets tokens for them from another process.
func losses(t *testing.T, one, issuer *server) []loss {
	const rule = "  - who: [\"%s\"]\n    what: [\"team/**\"]\n    may: [pull, push]\n"
	policy := func(names ...string) {
		var all strings.Builder
		for _, name := range names {
			fmt.Fprintf(&all, rule, name)
		}
		one.Policy(all.String())
	}
	keyOf := func(robot string) (secret, id string) {
		one.CLI("", "robot", "add", robot)
		secret = strings.TrimSpace(one.CLI("", "key", "create", "--for", "robot:"+robot))
		return secret, anID.FindStringSubmatch(one.CLI("", "key", "list", "--owner", "robot:"+robot, "-o", "json"))[1]
	}
	word := map[string]string{}
	for _, name := range []string{"leaver", "gone", "mover", "outcast", "roamer", "traveller", "changer", "stayer"} {
		word[name] = one.AddUser(name)
	}
	key, keyID := keyOf("ci")
	narrowed, narrowedID := keyOf("narrow")
	networked, networkedID := keyOf("networks")
	rotated, rotatedID := keyOf("rotate")
	one.CLI("", "group", "add", "dev", "mover", "robot:ci", "robot:narrow", "robot:networks", "robot:rotate")
	others := []string{"group:dev", "user:leaver", "user:gone", "user:roamer", "user:traveller", "user:changer", "user:stayer"}
	policy(append(others, "user:outcast")...)
	admin := &pusher{Base: one.Base(), Client: one.HTTP(), User: "admin", Password: adminPassword}
	must(t, admin.push("team/app", "v1", []byte(`{}`)))
	by := func(name string, login bool) string { return tokenFor(t, issuer, name, word[name], login) }
	roamer := by("roamer", true)
	session := anID.FindStringSubmatch(one.CLI("", "session", "list", "--owner", "user:roamer", "-o", "json"))[1]
	return []loss{
		{"key revoked", tokenFor(t, issuer, "robot", key, false), func(one *server) { one.CLI("", "key", "revoke", keyID) }, 401, 0},
		{"key narrowed to another action", tokenFor(t, issuer, "robot", narrowed, false), func(one *server) { one.CLI("", "key", "narrow", narrowedID, "--action", "push") }, 403, 0},
		{"key narrowed to another network", tokenFor(t, issuer, "robot", networked, true), func(one *server) { one.CLI("", "key", "narrow", networkedID, "--network", "198.51.100.0/24") }, 403, 0},
		{"session revoked", roamer, func(one *server) { one.CLI("", "session", "revoke", session) }, 401, 0},
		{"logged out everywhere, a session", by("traveller", true), func(one *server) { one.CLI("", "session", "revoke", "--all", "--owner", "user:traveller") }, 401, 0},
		{"logged out everywhere, a password", by("roamer", false), func(one *server) { one.CLI("", "session", "revoke", "--all", "--owner", "user:roamer") }, 401, 0},
		{"account disabled", by("leaver", false), func(one *server) { one.CLI("", "user", "disable", "leaver") }, 401, 0},
		{"account removed", by("gone", false), func(one *server) { one.CLI("", "user", "remove", "gone") }, 401, 0},
		{"password changed", by("changer", true), func(one *server) {
			one.CLI("another-password-0123456789\n", "user", "password", "changer", "--password-stdin")
		}, 401, 0},
		{"no member of the group", by("mover", false), func(one *server) { one.CLI("", "group", "remove", "dev", "mover") }, 403, 0},
		{"rule removed", by("outcast", false), func(one *server) { policy(others...) }, 403, 0},
		{"nothing", by("stayer", false), func(*server) {}, 200, 0},
		{"end of the overlap of a rotation", tokenFor(t, issuer, "robot", rotated, true), func(one *server) { one.CLI("", "key", "rotate", rotatedID, "--overlap", "1m") }, 401, time.Minute},
	}
}

// I-19, S-33: what is taken away in one process is refused in the others after
// the bound, to tokens that were issued before, with the notification channel
// cut, and while the database cuts every connection that watches for changes.
func TestRevocationOnThreeProcesses(t *testing.T) {
	for _, way := range []struct {
		name string
		cut  func(t *testing.T, conn *pgx.Conn)
	}{
		{"announced", func(*testing.T, *pgx.Conn) {}},
		{"channel cut", muteNotifications},
		{"connections cut", cutWatches},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			database := metadatatest.Postgres(t)
			conn, err := pgx.Connect(t.Context(), database)
			must(t, err)
			t.Cleanup(func() { conn.Close(context.Background()) })
			way.cut(t, conn)
			one := newServer(t, serverOptions{Database: database})
			two := newServer(t, serverOptions{Database: database, Front: one.Port, Extra: "signing:\n  kek_file: " + one.KEK() + "\n"})
			three := newServer(t, serverOptions{Database: database, Front: one.Port, Extra: "signing:\n  kek_file: " + one.KEK() + "\n"})
			one.Login()
			all := losses(t, one, two)
			if way.name != "announced" {
				// What ends by itself needs nobody to tell of it: once is enough.
				all = slices.DeleteFunc(all, func(l loss) bool { return l.after > 0 })
			}
			time.Sleep(changesBound) // until everybody has felt the policy
			begun := time.Now()
			for _, l := range all {
				if l.after > 0 {
					l.take(one)
				}
			}
			for _, l := range all {
				for _, s := range []*server{one, two, three} {
					if got := status(t, s, l.token); got != 200 {
						t.Fatalf("%s: status %d before", l.name, got)
					}
				}
				if l.after == 0 {
					l.take(one)
				}
				time.Sleep(max(0, time.Until(begun.Add(l.after))) + changesBound)
				for i, s := range []*server{one, two, three} {
					if got := status(t, s, l.token); got != l.want {
						t.Errorf("S-33 %s: process %d answers %d, want %d", l.name, i+1, got, l.want)
					}
				}
			}
		})
	}
}

// muteNotifications makes every NOTIFY of processes that come later do nothing.
func muteNotifications(t *testing.T, conn *pgx.Conn) {
	for _, text := range []string{
		`CREATE SCHEMA mute`,
		`CREATE FUNCTION mute.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT'`,
		`DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = public, mute, pg_catalog'; END $$`,
	} {
		_, err := conn.Exec(t.Context(), text)
		must(t, err)
	}
}

// cutWatches ends the connections that watch for changes, again and again.
func cutWatches(t *testing.T, conn *pgx.Conn) {
	ctx, stop := context.WithCancel(context.Background())
	var cutter sync.WaitGroup
	cutter.Go(func() {
		for ctx.Err() == nil {
			conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'sallyport watch'`)
			time.Sleep(400 * time.Millisecond)
		}
	})
	t.Cleanup(func() { stop(); cutter.Wait() })
}

// A process that stood still, and one whose database does, answers nothing by
// what it knew before.
func TestFrozenProcessKnowsNothing(t *testing.T) {
	database := metadatatest.Postgres(t)
	one := newServer(t, serverOptions{Database: database})
	two := newServer(t, serverOptions{Database: database, Front: one.Port, Extra: "signing:\n  kek_file: " + one.KEK() + "\n"})
	one.Login()
	l := losses(t, one, two)[0]
	if got := status(t, two, l.token); got != 200 {
		t.Fatalf("status %d before", got)
	}
	two.signal(syscall.SIGSTOP)
	l.take(one)
	time.Sleep(changesBound)
	answer := make(chan int, 1)
	go func() { answer <- status(t, two, l.token) }()
	time.Sleep(changesBound / 4) // for the request to be there when it wakes
	two.signal(syscall.SIGCONT)
	if got := <-answer; got != l.want {
		t.Errorf("S-33 %s: status %d after the process was frozen, want %d", l.name, got, l.want)
	}
}
