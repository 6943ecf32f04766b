package distribution_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

const (
	pushApp = "repository:team-a/app:pull,push"
	emptied = `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[]}`
)

// start opens an upload as alice and returns its Location.
func (h *house) start() string {
	h.Helper()
	got := h.do("POST", "/v2/team-a/app/blobs/uploads/", token("alice", pushApp), nil, "")
	if got.StatusCode != http.StatusAccepted {
		h.Fatalf("start upload: %d %s", got.StatusCode, got.body)
	}
	return got.Header.Get("Location")
}

// rawHead begins a request as alice, up to and without the empty line.
func rawHead(method, target string, lines ...string) string {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: registry.test\r\nAuthorization: Bearer %s\r\n", method, target, token("alice", pushApp))
	for _, line := range lines {
		head += line + "\r\n"
	}
	return head
}

func (h *house) expect(step string, got answer, status int, code oci.Code) {
	h.Helper()
	if got.StatusCode != status || code != "" && !strings.Contains(got.body, fmt.Sprintf("%q", code)) {
		h.Fatalf("%s: got %d %v %s, want %d %s", step, got.StatusCode, got.Header, got.body, status, code)
	}
}

func TestChunkedBodies(t *testing.T) {
	h := newHouse(t)
	chunked := "Transfer-Encoding: chunked"
	for _, c := range []struct {
		name, contentRange, body string
		status                   int
		code                     oci.Code
		stands                   string // Range afterwards
	}{
		{"stream", "", "5\r\nhello\r\n0\r\n\r\n", 202, "", "0-4"},
		{"range of the right length", "Content-Range: 0-4", "5\r\nhello\r\n0\r\n\r\n", 202, "", "0-4"},
		{"R-05 range longer than the body", "Content-Range: 0-9", "5\r\nhello\r\n0\r\n\r\n", 400, oci.SizeInvalid, "0-4"},
		{"R-05 range shorter than the body", "Content-Range: 0-1", "5\r\nhello\r\n0\r\n\r\n", 400, oci.SizeInvalid, "0-1"},
		{"broken chunk", "", "5\r\nhello\r\nzz\r\n", 400, oci.SizeInvalid, "0-4"},
	} {
		location := h.start()
		lines := []string{chunked}
		if c.contentRange != "" {
			lines = append(lines, c.contentRange)
		}
		got := h.send(rawHead("PATCH", location, lines...) + "\r\n" + c.body)
		h.expect(c.name, got, c.status, c.code)
		got = h.do("GET", location, token("alice", pushApp), nil, "")
		if got.Header.Get("Range") != c.stands {
			t.Errorf("%s: session stands at %q, want %q", c.name, got.Header.Get("Range"), c.stands)
		}
	}
}

// a body that breaks off leaves what came, no more, and an open session.
func TestBodyBreaksOff(t *testing.T) {
	h := newHouse(t)
	location := h.start()
	abort := func(head, body string) {
		conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, head+"Content-Length: 1000\r\n\r\n"+body)
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn) // until the server has given up
		conn.Close()
	}
	abort(rawHead("PATCH", location), "hello")
	got := h.do("PUT", location+"?digest="+string(oci.FromBytes([]byte("hello, world"))), token("alice", pushApp), []string{"Content-Range: 5-11"}, ", world")
	h.expect("finish", got, 201, "")

	abort(rawHead("PUT", "/v2/team-a/app/manifests/v1", "Content-Type: "+oci.MediaTypeImageIndex), emptied)
	abort(rawHead("POST", "/v2/team-a/app/blobs/uploads/?digest="+string(oci.FromBytes([]byte("half")))), "half")
	got = h.do("GET", "/v2/team-a/app/manifests/v1", token("alice", pushApp), nil, "")
	h.expect("manifest", got, 404, oci.ManifestUnknown)
	got = h.do("GET", "/v2/team-a/app/blobs/"+string(oci.FromBytes([]byte("half"))), token("alice", pushApp), nil, "")
	h.expect("blob", got, 404, oci.BlobUnknown)
	if log := h.log.String(); log != "" {
		t.Errorf("a client's failure was logged as ours:\n%s", log)
	}
}

// The body of a request that may not be made is never asked for, and the
// connection does not wait for it.
func TestNoRightNoBody(t *testing.T) {
	h := newHouse(t)
	location := h.start()
	manifest := "/v2/team-a/app/manifests/v1"
	for _, c := range []struct {
		name, bearer, method, target string
		lines                        []string
		status                       int
	}{
		{"manifest, no token", "", "PUT", manifest, nil, 401},
		{"manifest, no right", token("carol", pushApp), "PUT", manifest, nil, 403},
		{"manifest, no scope", token("alice"), "PUT", manifest, nil, 401},
		{"manifest, expired", token("alice!", "repository:team-a/x:push"), "PUT", manifest, nil, 401},
		{"manifest too large", token("alice", pushApp), "PUT", manifest, []string{"Content-Type: " + oci.MediaTypeImageIndex}, 413},
		{"chunk, no token", "", "PATCH", location, nil, 401},
		{"chunk, no right", token("carol", pushApp), "PATCH", location, nil, 403},
		{"chunk of another", token("root", pushApp), "PATCH", location, nil, 404},
		{"chunk out of order", token("alice", pushApp), "PATCH", location, []string{"Content-Range: 5-1073741828"}, 416},
		{"last chunk, no right", token("carol", pushApp), "PUT", location + "?digest=" + string(oci.FromBytes(nil)), nil, 403},
		{"whole blob, no right", token("carol", pushApp), "POST", "/v2/team-a/app/blobs/uploads/?digest=" + string(oci.FromBytes(nil)), nil, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: r\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n", c.method, c.target)
			if c.bearer != "" {
				head += "Authorization: Bearer " + c.bearer + "\r\n"
			}
			io.WriteString(conn, head+strings.Join(append(c.lines, "", ""), "\r\n"))
			answer := bufio.NewReader(conn)
			resp, err := http.ReadResponse(answer, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || !resp.Close {
				t.Fatalf("got %d, close %v, want %d and a closed connection", resp.StatusCode, resp.Close, c.status)
			}
			io.Copy(io.Discard, resp.Body)
			if _, err := answer.ReadByte(); err != io.EOF {
				t.Fatalf("the connection stays: %v", err)
			}
		})
	}
}

func TestContinueWhenAllowed(t *testing.T) {
	h := newHouse(t)
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		rawHead("PUT", "/v2/team-a/app/manifests/v1", "Content-Type: "+oci.MediaTypeImageIndex), len(emptied))
	answer := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answer, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatal(resp, err)
	}
	io.WriteString(conn, emptied)
	if resp, err = http.ReadResponse(answer, nil); err != nil || resp.StatusCode != http.StatusCreated || resp.Close {
		t.Fatal(resp, err)
	}
}

func TestManifestTooLarge(t *testing.T) {
	h := newHouse(t)
	target, lines := "/v2/team-a/app/manifests/v1", []string{"Content-Type: " + oci.MediaTypeImageIndex}
	big := emptied + strings.Repeat(" ", oci.MaxManifestSize-len(emptied))
	h.expect("at the limit", h.do("PUT", target, token("alice", pushApp), lines, big), 201, "")
	h.expect("above", h.do("PUT", target, token("alice", pushApp), lines, big+" "), 413, oci.ManifestTooLarge)
	chunked := fmt.Sprintf("%x\r\n%s \r\n0\r\n\r\n", len(big)+1, big)
	h.expect("above, of unknown length", h.send(rawHead("PUT", target, append(lines, "Transfer-Encoding: chunked")...)+"\r\n"+chunked), 413, oci.ManifestTooLarge)
}

// A push outlives its token, at every door of a push and for no other purpose.
func TestPushOutlivesItsToken(t *testing.T) {
	h := newHouse(t)
	live, expired := token("alice", pushApp), token("alice!", pushApp)
	digest := string(oci.FromBytes([]byte("hello")))
	h.expect("before the push", h.do("HEAD", "/v2/team-a/app/blobs/"+digest, expired, nil, ""), 401, "")

	got := h.do("POST", "/v2/team-a/app/blobs/uploads/", live, nil, "")
	location := got.Header.Get("Location")
	h.expect("status", h.do("GET", location, expired, nil, ""), 204, "")
	h.expect("chunk", h.do("PATCH", location, expired, nil, "hello"), 202, "")
	h.expect("finish", h.do("PUT", location+"?digest="+digest, expired, nil, ""), 201, "")
	h.expect("look", h.do("HEAD", "/v2/team-a/app/blobs/"+digest, expired, nil, ""), 200, "")
	h.expect("next blob", h.do("POST", "/v2/team-a/app/blobs/uploads/", expired, nil, ""), 202, "")
	h.expect("manifest", h.do("PUT", "/v2/team-a/app/manifests/v1", expired, []string{"Content-Type: " + oci.MediaTypeImageIndex}, emptied), 201, "")

	h.expect("another token", h.do("GET", location, token("alice!", pushApp, "repository:team-a/x:pull"), nil, ""), 401, oci.Unauthorized)
	h.expect("a list", h.do("GET", "/v2/team-a/app/tags/list", expired, nil, ""), 401, oci.Unauthorized)
	h.expect("another repository", h.do("POST", "/v2/team-a/other/blobs/uploads/", expired, nil, ""), 401, oci.Unauthorized)
	h.expect("ping", h.do("GET", "/v2/", expired, nil, ""), 401, oci.Unauthorized)
}
