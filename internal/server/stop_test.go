package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

// begin sends the first part of a request and returns when the server has it.
func begin(t *testing.T, r *running, first string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, strings.ReplaceAll(first, "SELF", r.Address())); err != nil {
		t.Fatal(err)
	}
	// This says that a door reads the body.
	const carryOn = "HTTP/1.1 100 Continue\r\n\r\n"
	answer := make([]byte, len(carryOn))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != carryOn {
		t.Fatalf("%q %v", answer, err)
	}
	return conn
}

const halfARequest = "POST /token HTTP/1.1\r\nHost: SELF\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\nContent-Length: 24\r\n\r\n"

// A stop takes no new connection, lets a running request finish, and gives
// everything back.
func TestGracefulStop(t *testing.T) {
	c := settings(t)
	c.InsecureHTTP = true
	r := start(t, c, server.Options{})
	conn := begin(t, r, halfARequest)
	r.stop()
	for {
		late, err := net.Dial("tcp", r.Address())
		if err != nil {
			break
		}
		late.Close()
		time.Sleep(time.Millisecond)
	}
	if status, body := plainGet(t, r.HealthAddress(), "/readyz"); status != 503 || body != "not ready: stopping\n" {
		t.Errorf("%d %s", status, body)
	}
	if _, err := io.WriteString(conn, "grant_type=refresh_token"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("%v %v", resp, err)
	}
	if err := r.err(); err != nil {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "cut off") {
		t.Error(&r.log)
	}
	start(t, c, server.Options{}) // the lock, the database and the ports are free
}

// A request that does not finish holds the stop up for shutdown_timeout only.
func TestBoundedStop(t *testing.T) {
	c := settings(t)
	c.InsecureHTTP = true
	c.ShutdownTimeout = time.Second
	r := start(t, c, server.Options{})
	conn := begin(t, r, halfARequest)
	r.stop()
	if err := r.err(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), "requests cut off") {
		t.Error(&r.log)
	}
	if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	start(t, c, server.Options{})
}

// What is used shortly before a stop is remembered as used.
func TestStopWritesLastUses(t *testing.T) {
	c := settings(t)
	r := start(t, c, server.Options{})
	password := shownPassword.FindStringSubmatch(r.out.String())[1]
	_, body := r.get(t, "/token?offline_token=true&client_id=docker&service="+r.Address(), asAdmin(password))
	identity := field(t, body, "refresh_token")
	if resp, body := r.get(t, "/token?service="+r.Address(), asAdmin(identity)); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	// Another port is another service: keep this one.
	c.Service = r.Address()
	r.stop()
	if err := r.err(); err != nil {
		t.Fatal(err)
	}
	again := start(t, c, server.Options{})
	_, body = again.get(t, "/token?service="+c.Service+"&scope=registry:api:*", asAdmin(identity))
	bearer := field(t, body, "token")
	_, body = again.get(t, "/api/v1/sessions", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+bearer) })
	if !strings.Contains(body, "lastUsed") {
		t.Errorf("%s", body)
	}
}

// Readiness asks each part, at most once a second, however many ask it.
func TestHealth(t *testing.T) {
	var now clock
	var mu sync.Mutex
	asked, broken := 0, error(nil)
	h := server.NewHealth(func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("asks without a limit")
		}
		asked++
		return broken
	}, now.Now)
	get := func(path string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Result().Status[:4] + w.Body.String()
	}
	expect := func(step, path, want string, questions int) {
		t.Helper()
		if got := get(path); got != want || asked != questions {
			t.Errorf("%s: %q after %d questions, want %q after %d", step, got, asked, want, questions)
		}
	}
	expect("alive", "/healthz", "200 ok\n", 0)
	expect("ready", "/readyz", "200 ok\n", 1)
	broken = errors.New("geheim")
	expect("not asked again", "/readyz", "200 ok\n", 1)
	now.advance(2 * time.Second)
	expect("broken", "/readyz", "503 not ready: database\n", 2)
	expect("still alive", "/healthz", "200 ok\n", 2)
	broken = nil
	now.advance(2 * time.Second)
	var crowd sync.WaitGroup
	for range 50 {
		crowd.Go(func() { get("/readyz") })
	}
	crowd.Wait()
	expect("a crowd", "/readyz", "200 ok\n", 3)
	if got := get("/metrics"); !strings.HasPrefix(got, "404") {
		t.Error(got)
	}
}
