package ldap_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock stands until it is told to go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// corp is a directory as slapdtest has them.
func corp(s *slapdtest.Server, change ...func(*ldap.Definition)) ldap.Definition {
	d := ldap.Definition{
		Name: "corp", Schema: "rfc2307bis", URLs: []string{s.URL}, CA: s.CA,
		BindDN: slapdtest.BindDN, BindPassword: access.NewSecret(slapdtest.BindPassword),
		UserBase: slapdtest.People, GroupBase: slapdtest.Groups,
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

// open returns a directory whose log is collected.
func open(t *testing.T, d ldap.Definition, o ldap.Options) (*ldap.Directory, *lines) {
	t.Helper()
	log := &lines{}
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := ldap.New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if strings.Contains(log.String(), "canary") {
			t.Error("the log shows a password")
		}
	})
	return s, log
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func prove(t *testing.T, d *ldap.Directory, name, password string) (access.Outside, error) {
	t.Helper()
	return d.Prove(t.Context(), name, access.NewSecret(password))
}

// in proves that somebody is who they say, and returns what is said of them.
func in(t *testing.T, d *ldap.Directory, name string) access.Outside {
	t.Helper()
	o, err := prove(t, d, name, "canary-of-"+name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return o
}

func wantBad(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, access.ErrBadCredential) {
		t.Errorf("error %v, want a bad credential", err)
	}
}

// wantUndecided fails unless err says that the directory could not be asked.
func wantUndecided(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, access.ErrBadCredential) {
		t.Errorf("error %v, want one that decides nothing", err)
	}
}

func wantGroups(t *testing.T, o access.Outside, want ...string) {
	t.Helper()
	if !slices.Equal(o.Groups, want) {
		t.Errorf("groups %q, want %q", o.Groups, want)
	}
}

// A relay stands between us and a server, counts connections, and listens in.
type relay struct {
	net.Listener
	to string

	dials, open, most atomic.Int64
	deaf              atomic.Bool // takes connections, and passes nothing on
	heard             lines
	wait              sync.WaitGroup
	mu                sync.Mutex
	conns             []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(to, "://")
	r := &relay{Listener: l, to: host}
	r.wait.Go(r.serve)
	t.Cleanup(func() {
		l.Close()
		r.cut()
		r.wait.Wait()
	})
	return r
}

func (r *relay) url(scheme string) string { return scheme + "://" + r.Addr().String() }

func (r *relay) serve() {
	for {
		c, err := r.Accept()
		if err != nil {
			return
		}
		r.dials.Add(1)
		for n, most := r.open.Add(1), int64(0); n > most; {
			if most = r.most.Load(); n <= most || r.most.CompareAndSwap(most, n) {
				break
			}
		}
		r.wait.Go(func() {
			defer r.open.Add(-1)
			r.pass(c)
		})
	}
}

func (r *relay) pass(c net.Conn) {
	defer c.Close()
	r.keep(c)
	if r.deaf.Load() {
		io.Copy(&r.heard, c)
		return
	}
	s, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer s.Close()
	r.keep(s)
	r.wait.Go(func() {
		defer c.Close()
		io.Copy(c, s)
	})
	io.Copy(io.MultiWriter(s, &r.heard), c)
}

func (r *relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}
