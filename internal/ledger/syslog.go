package ledger

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// syslogPatience bounds a connection and a write.
const syslogPatience = 5 * time.Second

// Severities and the facility of our messages (RFC 5424, 6.2.1).
const (
	facilityAudit   = 13
	severityWarning = 4 // what was not allowed
	severityInfo    = 6
)

// A Syslog is a Writer to a syslog server, one message for each event, whose
// text is the event's line (RFC 5424).
type Syslog struct {
	network, address string
	host             string

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// ParseSyslog reads "unix:/dev/log", "udp:HOST:PORT" or "tcp:HOST:PORT".
func ParseSyslog(s string) (network, address string, err error) {
	network, address, _ = strings.Cut(s, ":")
	switch network {
	case "unix":
		if !strings.HasPrefix(address, "/") {
			return "", "", errors.New("after unix: an absolute path is wanted")
		}
		return "unixgram", address, nil
	case "udp", "tcp":
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return "", "", fmt.Errorf("after %s: HOST:PORT is wanted", network)
		}
		return network, address, nil
	}
	return "", "", errors.New("unix:PATH, udp:HOST:PORT or tcp:HOST:PORT is wanted")
}

// NewSyslog returns a writer to what ParseSyslog reads. It connects when there
// is something to write.
func NewSyslog(target string) (*Syslog, error) {
	network, address, err := ParseSyslog(target)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	return &Syslog{network: network, address: address, host: host}, nil
}

// WriteEvents implements Writer.
func (s *Syslog) WriteEvents(events []Sealed) (int, error) {
	for i, e := range events {
		if err := s.write(s.message(e)); err != nil {
			return i, fmt.Errorf("write to syslog: %w", err)
		}
	}
	return len(events), nil
}

// message writes an event as RFC 5424 says, and for TCP with its length before
// it (RFC 6587, 3.4.1):
//
//	<PRI>1 TIME HOST sallyport PID KIND - LINE
func (s *Syslog) message(e Sealed) []byte {
	severity := severityInfo
	if e.Decision != Allowed {
		severity = severityWarning
	}
	b := fmt.Appendf(nil, "<%d>1 %s %s sallyport %d %s - %s", facilityAudit*8+severity,
		e.Time.Format("2006-01-02T15:04:05.000000Z07:00"), s.host, os.Getpid(), e.Kind, e.Line())
	if s.network == "tcp" {
		b = append(strconv.AppendInt(nil, int64(len(b)), 10), append([]byte{' '}, b...)...)
	}
	return b
}

// write sends one message, and gives up a connection that fails.
func (s *Syslog) write(message []byte) error {
	conn, err := s.connect()
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(syslogPatience))
	}
	if err == nil {
		_, err = conn.Write(message)
	}
	if err != nil && conn != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		conn.Close()
		s.conn = nil
	}
	return err
}

func (s *Syslog) connect() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if s.conn == nil {
		conn, err := net.DialTimeout(s.network, s.address, syslogPatience)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	return s.conn, nil
}

// Close implements Writer; it ends a write that hangs.
func (s *Syslog) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
