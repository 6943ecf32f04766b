package server_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

// pipes is a listener of net.Pipe connections: they have deadlines, and no
// buffers in which slowness could hide.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly runs client against a front before door, with all its timeouts, in
// made-up time, and returns how long the client took.
func slowly(t *testing.T, door http.HandlerFunc, client func(net.Conn)) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := server.NewFront(server.FrontOptions{External: "http://a", Scheme: "http", Door: door, Log: slog.New(slog.DiscardHandler)})
		srv, listener := server.NewHTTP(h), make(pipes)
		go srv.Serve(listener)
		conn, ours := net.Pipe()
		listener <- ours
		start := time.Now()
		client(conn)
		took = time.Since(start)
		conn.Close()
		close(listener)
		srv.Close()
	})
	return took
}

// drip writes step again and again until it fails.
func drip(c net.Conn, step string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, step); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

func swallow(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }

// who is slow is cut off, and who is not is not.
func TestSlowClients(t *testing.T) {
	const post = "POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
	flood := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}
	floodFrom := func(w http.ResponseWriter, _ *http.Request) { w.(io.ReaderFrom).ReadFrom(zeros{}) }
	for name, tt := range map[string]struct {
		door        http.HandlerFunc
		client      func(net.Conn)
		least, most time.Duration // until the client is cut off
	}{
		"R-22 no header": {swallow, func(c net.Conn) { io.Copy(io.Discard, c) }, 10 * time.Second, 10 * time.Second},
		"R-22 slow header": {swallow, func(c net.Conn) {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n")
			drip(c, "X-A: b\r\n", time.Second)
		}, 10 * time.Second, 11 * time.Second},
		"R-22 idle after a request": {swallow, func(c net.Conn) {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			io.Copy(io.Discard, c)
		}, 60 * time.Second, 60 * time.Second},
		"R-22 no body": {swallow, func(c net.Conn) {
			io.WriteString(c, post)
			io.Copy(io.Discard, c)
		}, 60 * time.Second, 61 * time.Second},
		"R-22 no body, and the door does not care": {func(http.ResponseWriter, *http.Request) {}, func(c net.Conn) {
			io.WriteString(c, post)
			io.Copy(io.Discard, c)
		}, 60 * time.Second, 61 * time.Second},
		"R-22 a byte a second": {swallow, func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, post)
			drip(c, "a", time.Second)
		}, 60 * time.Second, 62 * time.Second},
		"R-22 chunks of a byte": {swallow, func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, "POST /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			drip(c, "1\r\na\r\n", time.Second)
		}, 60 * time.Second, 62 * time.Second},
		"R-22 reads nothing": {flood, func(c net.Conn) {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			time.Sleep(50 * time.Second)
			c.Read(make([]byte, 1)) // does not help
			time.Sleep(11 * time.Second)
			for {
				if _, err := c.Read(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, 61 * time.Second, 61 * time.Second},
		"R-22 reads nothing of a file": {floodFrom, func(c net.Conn) {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			time.Sleep(61 * time.Second)
			io.Copy(io.Discard, c)
		}, 61 * time.Second, 61 * time.Second},
		"R-22 reads a byte a second": {floodFrom, func(c net.Conn) {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			for {
				if _, err := c.Read(make([]byte, 1)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 60 * time.Second, 62 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if took := slowly(t, tt.door, tt.client); took < tt.least || took > tt.most {
				t.Errorf("cut off after %s, want %s to %s", took, tt.least, tt.most)
			}
		})
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A slow line that moves is served, and time that we take is not the client's.
func TestSlowButMoving(t *testing.T) {
	answer := func(c net.Conn) (string, error) {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	count := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != 1_000_000 || err != nil {
			t.Error(n, err)
		}
		io.WriteString(w, "all")
	}
	for name, tt := range map[string]struct {
		door   http.HandlerFunc
		client func(net.Conn) error
	}{
		"16 KiB every 50 s": {count, func(c net.Conn) error {
			io.WriteString(c, "POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
			for left := 1_000_000; left > 0; left -= 16 << 10 {
				time.Sleep(50 * time.Second)
				if _, err := io.WriteString(c, strings.Repeat("a", min(left, 16<<10))); err != nil {
					return err
				}
			}
			body, err := answer(c)
			if body != "all" {
				return errors.Join(err, errors.New(body))
			}
			return err
		}},
		"the door is slow between two reads": {func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				time.Sleep(5 * time.Minute)
				if _, err := io.ReadFull(r.Body, make([]byte, 100_000)); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(5 * time.Minute)
			io.WriteString(w, "all")
		}, func(c net.Conn) error {
			go io.WriteString(c, "POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("a", 1_000_000))
			body, err := answer(c)
			if body != "all" {
				return errors.Join(err, errors.New(body))
			}
			return err
		}},
		"the door is slow between two writes": {func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				time.Sleep(5 * time.Minute)
				io.WriteString(w, strings.Repeat("a", 10_000))
			}
			time.Sleep(5 * time.Minute) // the rest is flushed after the door
		}, func(c net.Conn) error {
			io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			body, err := answer(c)
			if len(body) != 30_000 {
				return errors.Join(err, errors.New("cut off"))
			}
			return err
		}},
		"64 KiB every 10 s": {func(w http.ResponseWriter, _ *http.Request) {
			w.(io.ReaderFrom).ReadFrom(io.LimitReader(zeros{}, 3<<20))
		}, func(c net.Conn) error {
			io.WriteString(c, "GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
			for n := 0; n < 3<<20; n += 64 << 10 {
				time.Sleep(10 * time.Second)
				if _, err := io.ReadFull(c, make([]byte, 64<<10)); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			slowly(t, tt.door, func(c net.Conn) {
				if err := tt.client(c); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A body that stops is told to the door as a timeout, not as its end.
func TestSlowBodyError(t *testing.T) {
	var got error
	slowly(t, func(_ http.ResponseWriter, r *http.Request) {
		_, got = io.Copy(io.Discard, r.Body)
	}, func(c net.Conn) {
		io.WriteString(c, "POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
		io.Copy(io.Discard, c)
	})
	if !errors.Is(got, os.ErrDeadlineExceeded) {
		t.Error(got)
	}
}
