package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxAnswer bounds what a server may answer to one question, in bytes.
const maxAnswer = 4 << 20

var errTooMuch = errors.New("the server answers more than 4 MiB")

// A wire bounds what is read for one question.
type wire struct {
	net.Conn
	left atomic.Int64
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.left.Add(-int64(n)) < 0 {
		return 0, errTooMuch
	}
	return n, err
}

// A conn is a connection to one server, on which one question is asked at a time.
type conn struct {
	*goldap.Conn
	wire   *wire
	server *server
	born   time.Time
	used   time.Time
}

// do lets fn ask, for as long as that may take. The error tells by itself whether
// the connection is good for more: see broken.
func (c *conn) do(ctx context.Context, timeout time.Duration, fn func(*goldap.Conn) error) error {
	c.wire.left.Store(maxAnswer)
	if err := c.wire.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.wire.Close() })
	err := fn(c.Conn)
	if !stop() {
		return context.Cause(ctx)
	}
	if resetting := c.wire.SetDeadline(time.Time{}); resetting != nil && err == nil {
		err = resetting
	}
	return err
}

// broken reports whether err is of the connection, or of a server that cannot
// answer now, and not an answer.
func broken(err error) bool {
	if err == nil {
		return false
	}
	answer, ok := errors.AsType[*goldap.Error](err)
	if !ok {
		return true
	}
	switch answer.ResultCode {
	case goldap.LDAPResultBusy, goldap.LDAPResultUnavailable, goldap.LDAPResultProtocolError, goldap.LDAPResultOther, goldap.LDAPResultOperationsError:
		return true
	}
	return answer.ResultCode >= goldap.ErrorNetwork // of the library itself
}

// Backoff of a server that did not answer.
const (
	firstBackoff = 2 * time.Second
	mostBackoff  = time.Minute
)

// A server is where a directory can be asked, and whether it answered last.
type server struct {
	address
	mu       sync.Mutex
	failures int
	until    time.Time // not asked before
	trying   bool      // somebody asks it although it did not answer
}

// may reports whether the server is to be asked. Of those who come when its time is
// over, one tries it: the others take it for as dead as it was.
func (s *server) may(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == 0 {
		return true
	}
	if now.Before(s.until) {
		return false
	}
	s.until, s.trying = now.Add(s.backoff()), true
	return true
}

func (s *server) backoff() time.Duration {
	return min(firstBackoff<<min(s.failures-1, 10), mostBackoff)
}

// failed notes that the server did not answer; it reports whether it did before.
// Those who asked at the same moment are one failure.
func (s *server) failed(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 && !s.trying {
		return false
	}
	s.trying = false
	s.failures++
	s.until = now.Add(s.backoff())
	return s.failures == 1
}

// answered reports whether the server did not do so before.
func (s *server) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failures
	s.failures, s.trying = 0, false
	return before > 0
}

// dial returns a connection under TLS.
func (d *Directory) dial(ctx context.Context, s *server) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.dial())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	w := &wire{Conn: raw}
	w.left.Store(maxAnswer)
	config := &tls.Config{ServerName: s.host, RootCAs: d.roots, MinVersion: tls.VersionTLS12}
	now := d.o.Now()
	if s.startTLS {
		c := &conn{Conn: goldap.NewConn(w, false), wire: w, server: s, born: now, used: now}
		c.Start()
		if err := c.do(ctx, d.o.Timeout, func(l *goldap.Conn) error { return l.StartTLS(config) }); err != nil {
			c.Close()
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
		return c, nil
	}
	secured := tls.Client(w, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c := &conn{Conn: goldap.NewConn(secured, true), wire: w, server: s, born: now, used: now}
	c.Start()
	return c, nil
}

// dialSearch returns a connection on which searches may be made.
func (d *Directory) dialSearch(ctx context.Context, s *server) (*conn, error) {
	c, err := d.dial(ctx, s)
	if err != nil || d.d.BindDN == "" {
		return c, err
	}
	if err := c.do(ctx, d.o.Timeout, func(l *goldap.Conn) error { return l.Bind(d.d.BindDN, d.d.BindPassword.Reveal()) }); err != nil {
		c.Close()
		return nil, fmt.Errorf("bind as bind_dn: %w", err)
	}
	return c, nil
}
