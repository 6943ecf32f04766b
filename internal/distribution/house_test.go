package distribution_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/registry"
)

// policy has the people of THREATS.md, "Fixtures".
const policy = `
version: 2
rules:
  - {name: root, subjects: ["user:root"], repositories: ["**"], actions: [pull, push, delete]}
  - {name: alice, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [pull, push, delete]}
  - {name: bob, subjects: ["user:bob"], repositories: ["team-b/**"], actions: [pull, push, delete]}
  - {name: carol, subjects: ["user:carol"], repositories: ["team-a/app"], actions: [pull]}
  - {name: dave, subjects: ["user:dave"], repositories: ["kept/**"], actions: [pull, create-tag]}
  - {name: public, subjects: [anyone], repositories: ["public/**"], actions: [pull]}
protections:
  - {name: versions, repositories: ["kept/**"], tags: ["v*"], actions: [move-tag, delete]}
`

// A gate reads tokens that say in clear who bears them and what they hold: see
// token. What they hold is cut down to what the policy gives, as a token
// service does.
type gate struct{ policy *access.Policy }

// token makes a token of a user ("" for anonymous) with scopes. A name that ends with
// "!" makes it an expired one. The same name and scopes make the same token.
func token(user string, scopes ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(user + " " + strings.Join(scopes, " ")))
}

var errGate = errors.New("the secret of the gate")

func (g gate) Authorize(_ context.Context, bearer string) (access.Authority, error) {
	au := access.Authority{Policy: g.policy}
	if bearer == "" {
		return au, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(bearer)
	name, scopes, found := strings.Cut(string(text), " ")
	switch {
	case err != nil || !found:
		return access.Authority{}, access.ErrInvalidToken
	case name == "busy":
		return access.Authority{}, fmt.Errorf("authorize: %w", access.ErrBusy)
	case name == "broken":
		return access.Authority{}, errGate
	}
	name, au.Token.Expired = strings.CutSuffix(name, "!")
	if name != "" {
		au.Identity.Principal = access.Principal{ID: access.ID{Name: name}, Kind: access.User, UID: "uid-" + name}
	}
	want, err := access.ParseScopes([]string{scopes})
	if err != nil {
		return access.Authority{}, err
	}
	au.Held = g.policy.Grant(au.Identity, au.Origin, au.Now, want)
	// An expired token and a live one of the same bearer have the same id.
	au.Token.ID = "jti-" + name + "-" + scopes
	au.Token.Expires = time.Now().Add(time.Hour)
	if au.Token.Expired {
		au.Token.Expires = time.Now()
	}
	return au, nil
}

// A house is a door with real rooms behind it, on a real listener.
type house struct {
	*testing.T
	server   *httptest.Server
	registry registry.Registry
	log      *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const requestID = "req-1"

// newRooms returns the gate and the registry behind a door.
func newRooms(t testing.TB) (gate, registry.Registry) {
	t.Helper()
	pol, err := access.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := file.New(t.TempDir(), file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
	return gate{pol}, registry.New(db.Catalog(), blobs, registry.Options{})
}

func newHouse(t *testing.T) *house {
	t.Helper()
	g, r := newRooms(t)
	return openHouse(t, r, g)
}

// openHouse builds the house around a registry of the caller's.
func openHouse(t *testing.T, r registry.Registry, g distribution.Gate) *house {
	t.Helper()
	h := &house{T: t, registry: r, log: &syncBuffer{}}
	door := distribution.New(r, g, distribution.Options{
		Realm:   func(*http.Request) string { return "https://registry.test/token" },
		Service: "registry.test",
		Logger:  slog.New(slog.NewTextHandler(h.log, nil)),
	})
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", requestID)
		door.ServeHTTP(w, r)
	}))
	t.Cleanup(h.server.Close)
	return h
}

// An answer is a response, read to its end.
type answer struct {
	*http.Response
	body string
}

// send writes a request as it stands, so that no client library mends it.
func (h *house) send(raw string) answer {
	h.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	// The answer may come before all is written.
	go io.WriteString(conn, raw)
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		h.Fatalf("no answer to %.200q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatalf("broken answer to %.200q: %v", raw, err)
	}
	return answer{resp, string(body)}
}

// do sends a request with a token ("" for none), more header lines and perhaps
// a body.
func (h *house) do(method, target, bearer string, lines []string, body string) answer {
	h.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: registry.test\r\n", method, target)
	if bearer != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", bearer)
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	if body != "" || method == "POST" || method == "PUT" || method == "PATCH" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return h.send(b.String())
}
