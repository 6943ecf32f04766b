package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/ui"
)

const requestIDHeader = inbound.RequestIDHeader

// Limits of what a request may put into a line of the log, in bytes.
const (
	maxLogPath   = 512
	maxLogAgent  = 256
	maxLogMethod = 16
)

// doors are the handlers behind the front, by path.
type doors struct {
	distribution http.Handler // /v2 and below
	token        http.Handler // /token
	jwks         http.Handler // /.well-known/jwks.json
	admin        http.Handler // /api/ and below
	ui           http.Handler // /oauth/ and below, and what describes it
}

// of returns the door that a path leads to, and its name; a nil handler where
// nothing is served.
func (d doors) of(path string) (name string, door http.Handler) {
	switch {
	case path == "/v2" || strings.HasPrefix(path, "/v2/"):
		return "distribution", d.distribution
	case path == "/token":
		return "token", d.token
	case strings.HasPrefix(path, "/api/"):
		return "admin", d.admin
	case path == "/.well-known/jwks.json":
		return "jwks", d.jwks
	}
	if ui.Serves(path) {
		return "ui", d.ui
	}
	return "none", nil
}

// A front is the outermost handler. It gives every request an id, an answer
// even when a handler panics, and one line in the log; and it lets through only
// plain paths for hosts that are ours, so that no two parsers behind it can
// disagree.
type front struct {
	doors   doors
	names   names
	proxies proxies
	// sniMustMatch is set where client certificates count: a connection that was
	// made for one name serves no other (I-25).
	sniMustMatch bool
	// onlyProxies is set where plain HTTP is served behind proxies: whoever
	// comes past them would send credentials in the clear.
	onlyProxies bool
	metrics     *metrics
	log         *slog.Logger
	rand        io.Reader

	running atomic.Int64 // requests at this moment
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.running.Add(1)
	defer f.running.Add(-1)
	start := time.Now()
	plain := r.TLS == nil && r.ProtoMajor == 1
	stranger := f.onlyProxies && !f.mayComePlain(r.RemoteAddr)
	id := f.identify(r)
	w.Header()[requestIDHeader] = []string{id}
	rw := &response{ResponseWriter: w, control: http.NewResponseController(w), plain: plain}
	watchBody(w, r)
	defer func() {
		f.finish(rw, r, recover(), id, start)
	}()
	if stranger {
		writeError(rw, http.StatusMisdirectedRequest, oci.Unsupported, "plain HTTP is for the proxies in front of this registry: come through them")
		return
	}
	f.route(rw, r)
}

// mayComePlain reports whether a peer is this machine or a trusted proxy.
func (f *front) mayComePlain(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	return err == nil && (peer.Addr().IsLoopback() || f.proxies.trust(peer.Addr().Unmap()))
}

// identify notes the client's address and whether it spoke TLS in r, for
// inbound.Origin, and returns the request's id. What a trusted proxy says counts;
// the headers are removed either way.
func (f *front) identify(r *http.Request) string {
	id := ""
	r.URL.Scheme = "" // an absolute-form target's own word does not count
	if r.TLS != nil {
		r.URL.Scheme = inbound.SchemeTLS
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		address := peer.Addr().Unmap()
		client := address
		if f.proxies.trust(address) {
			id = r.Header.Get(requestIDHeader)
			r.URL.Scheme = f.forwardedScheme(r)
			r.TLS = nil // its certificate and its name for us are not the client's
			client = f.proxies.client(address, r.Header)
		}
		if client != address || address.IsLoopback() && isForwarded(r.Header) {
			r.RemoteAddr = netip.AddrPortFrom(client, inbound.PortPassedOn).String()
		}
	}
	dropForwarded(r.Header)
	delete(r.Header, requestIDHeader)
	if isRequestID(id) {
		return id
	}
	var random [16]byte
	if _, err := io.ReadFull(f.rand, random[:]); err != nil {
		panic(fmt.Sprintf("server: no randomness: %v", err))
	}
	return hex.EncodeToString(random[:])
}

// forwardedScheme returns what the client spoke to a trusted proxy, by its word
// or, where it says nothing, by the URL that clients use.
func (f *front) forwardedScheme(r *http.Request) string {
	said := r.Header.Values("X-Forwarded-Proto")
	if len(said) == 0 && strings.HasPrefix(f.names.external, "https://") ||
		len(said) == 1 && strings.EqualFold(said[0], inbound.SchemeTLS) {
		return inbound.SchemeTLS
	}
	return ""
}

// isRequestID reports whether s can be taken over: 8 to 64 letters, digits,
// '-', '_' or '.'.
func isRequestID(s string) bool {
	if len(s) < 8 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

func (f *front) route(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE")
		writeError(w, http.StatusMethodNotAllowed, oci.Unsupported, "the method is not supported")
		return
	}
	if fault := pathFault(rawPath(r.URL)); fault != "" {
		writeError(w, http.StatusBadRequest, oci.NameInvalid, fault)
		return
	}
	if !f.names.serves(r.Host) {
		writeError(w, http.StatusMisdirectedRequest, oci.Unsupported, "this registry does not serve the host that the request names")
		return
	}
	if f.sniMustMatch && !sniMatches(r) {
		writeError(w, http.StatusMisdirectedRequest, oci.Unsupported, "the request is for another host than the connection")
		return
	}
	_, door := f.doors.of(r.URL.Path)
	if door == nil {
		writeError(w, http.StatusNotFound, oci.Unsupported, "nothing is served at this path")
		return
	}
	door.ServeHTTP(w, r)
}

// finish answers for a handler that panicked and writes the access line.
func (f *front) finish(w *response, r *http.Request, fault any, id string, start time.Time) {
	abort := fault == http.ErrAbortHandler
	if fault != nil && !abort {
		f.log.LogAttrs(r.Context(), slog.LevelError, "request handler panicked",
			slog.String("request", id),
			slog.String("err", cut(fmt.Sprint(fault), maxLogPath)),
			slog.String("stack", string(debug.Stack())))
		if w.status == 0 {
			writeError(w, http.StatusInternalServerError, unknown, "internal error")
		} else {
			abort = true // half an answer must not look like a whole one
		}
	}
	if !abort {
		w.wrote()
		w.arm() // what is still buffered is written after us
	}
	f.access(r, w, id, start)
	name, _ := f.doors.of(r.URL.Path)
	f.metrics.count(name, w.status)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

func (f *front) access(r *http.Request, w *response, id string, start time.Time) {
	// The line is written even when the client has gone and its context with it.
	ctx := context.WithoutCancel(r.Context())
	f.log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("request", id),
		slog.String("remote", r.RemoteAddr),
		slog.String("method", cut(r.Method, maxLogMethod)),
		slog.String("path", cut(rawPath(r.URL), maxLogPath)),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", time.Since(start)),
		slog.String("agent", cut(r.UserAgent(), maxLogAgent)))
}

// cut returns s with everything but printable ASCII replaced, at most n bytes
// of it (L-02). It allocates only when there is something to change.
func cut(s string, n int) string {
	s = s[:min(len(s), n)]
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}

// newRandom returns the source of request ids when none is given.
func newRandom(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}
	return r
}
