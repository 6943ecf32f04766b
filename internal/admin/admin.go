package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// A Gate says what a bearer token lets its bearer do.
type Gate interface {
	// Authorize returns the authority of a token, or that of an anonymous
	// request for "". A token that proves nothing is access.ErrInvalidToken.
	// Safe for concurrent use.
	Authorize(ctx context.Context, bearer string) (access.Authority, error)
}

// Deps are the rooms that do the work.
type Deps struct {
	Accounts *account.Service
	Tokens   *token.Service
	Sweeper  *gc.Sweeper
	Book     ledger.Book
	// Ledger takes the events of refusals, and of what changes nothing.
	Ledger *ledger.Recorder
	Gate   Gate
	// Issuers are those whose tokens are trusted.
	Issuers *issuer.Set
}

// Options adjust New. The zero value works for tests.
type Options struct {
	// Realm returns the absolute URL of the token endpoint for the challenge in
	// the answer to r. Nil means the path "/token".
	Realm func(r *http.Request) string
	// Service is the name under which tokens are asked for.
	Service string
	// AllowPrivate are the hosts that definitions of issuers may name in
	// allowPrivateAddresses.
	AllowPrivate []string
	// Logger gets one line for each change, and the errors that clients are not
	// told; nil discards them.
	Logger *slog.Logger
}

// New returns the handler of /api/ and everything below it. The request id of
// errors is the answer's X-Request-Id, set before.
func New(d Deps, o Options) http.Handler {
	if o.Realm == nil {
		o.Realm = func(*http.Request) string { return "/token" }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &door{Deps: d, Options: o, mux: http.NewServeMux(), description: sync.OnceValue(openAPI)}
	for _, rt := range routes {
		h.mux.HandleFunc(rt.method+" "+client.APIPath+rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			h.serve(&call{door: h, w: w, r: r, route: rt})
		})
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c := &call{door: h, w: w, r: r}
		c.fail(h.noRoute(w, r))
	})
	return h
}

type door struct {
	Deps
	Options
	mux *http.ServeMux
	// description is the OpenAPI document.
	description func() []byte
}

func (h *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Vary", "Authorization")
	head.Set("X-Content-Type-Options", "nosniff")
	h.mux.ServeHTTP(w, r)
}

// noRoute says why no route answers r.
func (h *door) noRoute(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range methods {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := h.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return refuse(http.StatusNotFound, "not-found", "the admin API has nothing at this path")
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return refuse(http.StatusMethodNotAllowed, "method-not-allowed", "use %s", strings.Join(allowed, ", "))
}

// serve answers c by its route: first who asks, then whether that one may, and only
// then what is asked.
func (h *door) serve(c *call) {
	err := c.enter()
	if err == nil {
		err = c.readQuery(c.route.query)
	}
	if err == nil {
		c.begin()
		err = c.route.serve(c)
	}
	if err = c.record(err); err != nil {
		c.fail(err)
		return
	}
	if c.route.changes() {
		h.Logger.InfoContext(c.r.Context(), "api changed something", "request", c.requestID(),
			"principal", c.principal().String(), "method", c.route.method, "path", c.r.URL.Path)
	}
}
