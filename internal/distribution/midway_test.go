package distribution_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// A movingGate says something else from one moment to the next.
type movingGate struct {
	gate
	mu   sync.Mutex
	move func(access.Authority) (access.Authority, error) // nil: as it was
}

func (g *movingGate) Authorize(ctx context.Context, bearer string) (access.Authority, error) {
	au, err := g.gate.Authorize(ctx, bearer)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.move == nil || err != nil {
		return au, err
	}
	return g.move(au)
}

func (g *movingGate) set(move func(access.Authority) (access.Authority, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.move = move
}

// midway are the things that can happen to an authority while a body is on its
// way, and what an effect then answers: 0 is what it would answer anyway.
var midway = []struct {
	name   string
	move   func(access.Authority) (access.Authority, error)
	status int
	code   oci.Code
}{
	{"nothing", nil, 0, ""},
	{"its token ends", func(au access.Authority) (access.Authority, error) {
		au.Token.Expired = true
		return au, nil
	}, 0, ""},
	{"I-19 its account is disabled", func(access.Authority) (access.Authority, error) {
		return access.Authority{}, access.ErrInvalidToken
	}, 401, oci.Unauthorized},
	{"S-22 the policy changes", func(au access.Authority) (access.Authority, error) {
		var err error
		au.Policy, err = access.ParsePolicy([]byte("version: 1\nrules:\n  - {who: [\"user:alice\"], what: [\"team-a/**\"], may: [pull]}\n"))
		return au, err
	}, 403, oci.Denied},
	{"S-22 its key is narrowed", func(au access.Authority) (access.Authority, error) {
		var err error
		au.Identity.Narrowing, err = access.NewNarrowing(nil, []string{"pull"}, nil)
		return au, err
	}, 403, oci.Denied},
	{"nobody can say", func(access.Authority) (access.Authority, error) {
		return access.Authority{}, errGate
	}, 500, ""},
}

// halfway sends half of a request's body, as alice, calls between when the door
// waits for the rest, and sends that. The door has let the request in by then:
// it asks for a body only after that.
func (h *house) halfway(method, target, body string, between func(), lines ...string) answer {
	h.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	length := "Content-Length: " + fmt.Sprint(len(body))
	io.WriteString(conn, rawHead(method, target, append(lines, length, "Expect: 100-continue", "")...))
	from := bufio.NewReader(conn)
	resp, err := http.ReadResponse(from, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		h.Fatalf("%s %s was not let in: %v %v", method, target, resp, err)
	}
	io.WriteString(conn, body[:len(body)/2])
	between()
	io.WriteString(conn, body[len(body)/2:])
	if resp, err = http.ReadResponse(from, nil); err != nil {
		h.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer{resp, string(text)}
}

// What is taken away while a body is sent is gone when the body is in.
func TestRightLostMidway(t *testing.T) {
	const layer = "hello, world"
	ofLayer, ofIndex := string(oci.FromBytes([]byte(layer))), string(oci.FromBytes([]byte(emptied)))
	index := "Content-Type: " + oci.MediaTypeImageIndex
	requests := []struct {
		name, method string
		target       func(h *house) string
		body         string
		lines        []string
		effect       string // a target that answers root 200 after it
	}{
		{"manifest by tag", "PUT", to("/v2/team-a/app/manifests/v1"), emptied, []string{index}, "/v2/team-a/app/manifests/v1"},
		{"manifest by digest", "PUT", to("/v2/team-a/app/manifests/" + ofIndex + "?tag=v1"), emptied, []string{index}, "/v2/team-a/app/manifests/v1"},
		{"whole blob", "POST", to("/v2/team-a/app/blobs/uploads/?digest=" + ofLayer), layer, nil, "/v2/team-a/app/blobs/" + ofLayer},
		{"blob in one PUT", "PUT", func(h *house) string { return h.start() + "?digest=" + ofLayer }, layer, nil, "/v2/team-a/app/blobs/" + ofLayer},
		{"last chunk", "PUT", func(h *house) string { return h.start() + "?digest=" + ofLayer }, layer,
			[]string{"Content-Range: 0-11"}, "/v2/team-a/app/blobs/" + ofLayer},
	}
	for _, m := range midway {
		for _, q := range requests {
			t.Run(m.name+"/"+q.name, func(t *testing.T) {
				g, r := newRooms(t)
				moving := &movingGate{gate: g}
				h := openHouse(t, r, moving)
				status, there := http.StatusCreated, http.StatusOK
				if m.status != 0 {
					status, there = m.status, http.StatusNotFound
				}
				got := h.halfway(q.method, q.target(h), q.body, func() { moving.set(m.move) }, q.lines...)
				h.expect("answer", got, status, m.code)
				moving.set(nil)
				h.expect("effect", h.do("GET", q.effect, token("root", on("team-a/app")), nil, ""), there, "")
			})
		}
	}
}

func to(target string) func(*house) string { return func(*house) string { return target } }

// A chunk that was on its way stays, as if it had come in time: it has no effect
// before the upload is finished, and that is refused. The place where a chunk
// that does not fit should go is not told.
func TestChunkMidway(t *testing.T) {
	g, r := newRooms(t)
	moving := &movingGate{gate: g}
	h := openHouse(t, r, moving)
	for _, m := range midway {
		if m.status == 0 {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			moving.set(nil)
			location := h.start()
			h.expect("chunk", h.halfway("PATCH", location, "hello", func() { moving.set(m.move) }), 202, "")
			digest := string(oci.FromBytes([]byte("hello")))
			h.expect("finish", h.do("PUT", location+"?digest="+digest, token("alice", pushApp), nil, ""), m.status, m.code)
			h.expect("status", h.do("GET", location, token("alice", pushApp), nil, ""), m.status, m.code)
			moving.set(nil)
			got := h.do("GET", location, token("alice", pushApp), nil, "")
			if m.status == 403 { // the loss of the right has ended it
				h.expect("given again", got, 404, oci.BlobUploadUnknown)
			} else if got.Header.Get("Range") != "0-4" {
				t.Errorf("session stands at %q", got.Header.Get("Range"))
			}
		})
		t.Run(m.name+"/does not fit", func(t *testing.T) {
			moving.set(nil)
			location := h.start()
			chunked := strings.Join([]string{"Transfer-Encoding: chunked", "Content-Range: 0-3", "Expect: 100-continue"}, "\r\n")
			conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(conn, rawHead("PATCH", location, chunked, ""))
			from := bufio.NewReader(conn)
			if resp, err := http.ReadResponse(from, nil); err != nil || resp.StatusCode != http.StatusContinue {
				t.Fatal(resp, err)
			}
			moving.set(m.move)
			io.WriteString(conn, "5\r\nhello\r\n0\r\n\r\n")
			resp, err := http.ReadResponse(from, nil)
			if err != nil || resp.StatusCode != m.status || resp.Header.Get("Range") != "" {
				t.Fatal(resp, err)
			}
		})
	}
}

// A request without a body, or one that is refused before, asks the gate once.
func TestGateIsAskedOnce(t *testing.T) {
	g, r := newRooms(t)
	asked := 0
	moving := &movingGate{gate: g}
	moving.set(func(au access.Authority) (access.Authority, error) {
		asked++
		return au, nil
	})
	h := openHouse(t, r, moving)
	for _, c := range []struct {
		method, target, body string
		want                 int
	}{
		{"GET", "/v2/team-a/app/tags/list", "", 1},
		{"POST", "/v2/team-a/app/blobs/uploads/", "", 1},
		{"PUT", "/v2/team-a/app/manifests/v1", "{}", 1}, // without a Content-Type
		{"POST", "/v2/team-a/app/blobs/uploads/?digest=" + string(oci.FromBytes([]byte("hello"))), "hello", 2},
	} {
		asked = 0
		if h.do(c.method, c.target, token("alice", pushApp), nil, c.body); asked != c.want {
			t.Errorf("%s %s: the gate was asked %d times, want %d", c.method, c.target, asked, c.want)
		}
	}
}
