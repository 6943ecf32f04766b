package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// maxHeader bounds the header of a request, in bytes.
const maxHeader = 32 << 10

// Options of a Server; the zero value works.
type Options struct {
	Logger *slog.Logger     // nil: discard
	Out    io.Writer        // for the address and, once, the password; nil: discard
	Now    func() time.Time // nil: time.Now
	Rand   io.Reader        // for request ids; nil: crypto/rand.Reader
}

// How long clients may take.
const (
	headerPatience   = 10 * time.Second // for the header of a request
	idlePatience     = 60 * time.Second // between two requests
	progressPatience = 60 * time.Second // for some bytes of a body, either way
	cutOffPatience   = 5 * time.Second  // to end when shutdown_timeout is over
)

// A Server is a registry that listens. New opens everything, Run serves.
type Server struct {
	config  config.Config
	service string // audience of the tokens
	out     io.Writer
	log     *slog.Logger
	now     func() time.Time

	main        socket
	names       names
	caFile      string // the local CA, or ""
	rooms       *rooms
	issuersFile *issuersFile
	front       *front
	http        *http.Server
	tls         *tls.Config // nil: plain HTTP
	health      struct {
		socket socket // nil: none
		http   *http.Server
		state  *health
	}
	acme struct {
		source *acmeSource  // nil: certificates come from elsewhere
		socket socket       // of HTTP-01; nil: none
		http   *http.Server // nil: none
	}
}

// New opens the listeners, the database and the storage of c, and makes the
// administrator at the very first start. Errors carry a Hint where there is a
// cure. After New, call Run.
func New(ctx context.Context, c config.Config, o Options) (_ *Server, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c, out: o.Out, log: o.Logger, now: o.Now}
	if s.out == nil {
		s.out = io.Discard
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.openSockets(ctx); err != nil {
		return nil, err
	}
	if err := s.openRooms(ctx); err != nil {
		return nil, err
	}
	s.assemble(o)
	if err := s.bootstrap(ctx); err != nil {
		return s, err
	}
	return s, s.rooms.recordStart(ctx, s.config.Audit)
}

// openSockets comes first: a start beside a running server ends here and has
// touched nothing.
func (s *Server) openSockets(ctx context.Context) error {
	var err error
	if s.main, err = listen(ctx, "listen", s.config.Listen); err != nil {
		return err
	}
	if s.config.ExternalURL == "" && !s.main.loopback() {
		return cannot("set external_url (--external-url) to the URL clients use", "external_url is missing, and %s is not a loopback address", s.config.Listen)
	}
	if s.config.Health.Listen != "" {
		if s.health.socket, err = listen(ctx, "health.listen", s.config.Health.Listen); err != nil {
			return err
		}
	}
	if s.config.ACME.HTTPListen != "" {
		if s.acme.socket, err = listen(ctx, "acme.http_listen", s.config.ACME.HTTPListen); err != nil {
			return err
		}
	}
	scheme := "https"
	if s.config.InsecureHTTP {
		scheme = "http"
	}
	if s.names, err = newNames(scheme, s.config.ExternalURL, s.main.addresses()); err != nil {
		return fmt.Errorf("read external_url: %w", err)
	}
	s.service = s.config.Service
	if s.service == "" && s.names.external != "" {
		_, s.service, _ = strings.Cut(s.names.external, "://")
	} else if s.service == "" {
		s.service = s.main.name(s.config.Listen)
	}
	return nil
}

// assemble puts the front before the doors, and both on HTTP.
func (s *Server) assemble(o Options) {
	s.front = &front{
		doors:   s.rooms.doors(s),
		names:   s.names,
		proxies: s.config.TrustedProxies,

		sniMustMatch: s.rooms.certificates != nil,
		// On loopback whoever reaches the port is on this machine anyway.
		onlyProxies: s.config.InsecureHTTP,
		metrics:     newMetrics(),
		log:         s.log,
		rand:        newRandom(o.Rand),
	}
	s.front.metrics.watch(s.rooms, s.front.running.Load, s.now, s.log)
	s.http = s.newHTTP(s.front)
	s.http.Protocols.SetHTTP2(s.config.TLS.HTTP2)
	s.http.TLSConfig = s.tls
	if s.health.socket != nil {
		s.health.state = &health{probes: s.rooms.probes(), metrics: s.front.metrics.handler(), log: s.log, now: s.now}
		s.health.http = s.newHTTP(s.health.state.handler())
		s.health.http.ReadTimeout = headerPatience
		s.health.http.WriteTimeout = headerPatience
	}
	if s.acme.socket != nil {
		s.acme.http = s.newHTTP(s.acme.source.handler())
		s.acme.http.ReadTimeout = headerPatience
		s.acme.http.WriteTimeout = headerPatience
	}
}

func (s *Server) newHTTP(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      h,
		Protocols:                    protocols,
		ReadHeaderTimeout:            headerPatience,
		IdleTimeout:                  idlePatience,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(connectionLog{s.log}, "", 0),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
}

// connectionLog takes what net/http says of connections: broken handshakes and
// the like are the other side's and of little interest.
type connectionLog struct{ log *slog.Logger }

func (l connectionLog) Write(p []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSuffix(string(p), "\n")
	if strings.Contains(text, "Accept error") || strings.Contains(text, "panic") {
		level = slog.LevelError
	}
	l.log.LogAttrs(context.Background(), level, "connection problem", slog.String("err", cut(text, 2048)))
	return len(p), nil
}

// Run serves until ctx ends, then stops taking connections, lets running
// requests finish within shutdown_timeout, and closes everything. It returns
// nil after a stop that ctx asked for.
func (s *Server) Run(ctx context.Context) error {
	background, endBackground := context.WithCancel(context.Background())
	var working sync.WaitGroup
	if interval := s.config.GC.Interval; interval > 0 {
		working.Go(func() { sweepEvery(background, s.rooms.sweeper, interval, s.now, s.log) })
	}
	working.Go(func() { keepSigningKeys(background, s.rooms.tokens, s.log) })
	working.Go(func() { s.issuersFile.follow(background, s.rooms.issuers) })
	if keep := s.config.Audit.Retention; keep > 0 {
		working.Go(func() { forgetEvents(background, s.rooms.db.Ledger(), keep, s.now, s.log) })
	}
	working.Go(func() { tidyEvery(background, tidyInterval, s.log, s.rooms.accounts, s.rooms.tokens) })
	failed := make(chan error, len(s.main)+len(s.health.socket)+len(s.acme.socket))
	for _, l := range s.main {
		working.Go(func() {
			if s.tls != nil {
				failed <- s.http.ServeTLS(l, "", "")
			} else {
				failed <- s.http.Serve(l)
			}
		})
	}
	for _, l := range s.health.socket {
		working.Go(func() { failed <- s.health.http.Serve(l) })
	}
	for _, l := range s.acme.socket {
		working.Go(func() { failed <- s.acme.http.Serve(l) })
	}
	if s.acme.source != nil {
		for _, host := range s.acme.source.hosts {
			working.Go(func() { s.acme.source.watch(background, host) })
		}
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("address", s.Address()))

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	s.stop()
	endBackground()
	working.Wait()
	return errors.Join(err, s.release())
}

// stop ends the listeners, health last.
func (s *Server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()
	s.log.LogAttrs(ctx, slog.LevelInfo, "stopping")
	if s.health.state != nil {
		s.health.state.stopping.Store(true)
	}
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "requests cut off", slog.Int64("running", s.front.running.Load()))
		s.http.Close()
		// Their handlers notice at their next read or write; the database is
		// closed under none that does so soon.
		for end := time.Now().Add(cutOffPatience); s.front.running.Load() > 0 && time.Now().Before(end); {
			time.Sleep(cutOffPatience / 500)
		}
	}
	if s.health.http != nil {
		s.health.http.Close()
	}
	if s.acme.http != nil {
		s.acme.http.Close()
	}
}

// release closes what was opened, in the order in which it depends on one
// another.
func (s *Server) release() error {
	var errs []error
	if s.rooms != nil {
		errs = append(errs, s.rooms.close())
	}
	s.main.close()
	s.health.socket.close()
	s.acme.socket.close()
	return errors.Join(errs...)
}

// Address returns where the registry listens, with the port that was really
// opened.
func (s *Server) Address() string { return s.main.name(s.config.Listen) }

// HealthAddress returns where health listens, or "".
func (s *Server) HealthAddress() string {
	if s.health.socket == nil {
		return ""
	}
	return s.health.socket.name(s.config.Health.Listen)
}
