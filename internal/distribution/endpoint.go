package distribution

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/registry"
)

// A Gate says what a bearer token lets its bearer do.
type Gate interface {
	// Authorize returns the authority of a token, or that of an anonymous
	// request for "". A token that proves nothing is access.ErrInvalidToken.
	// Safe for concurrent use.
	Authorize(ctx context.Context, bearer string) (access.Authority, error)
}

// Options configure a door. The zero value works for a door that nobody has to
// log in to.
type Options struct {
	// Realm returns the absolute URL of the token endpoint for the challenge in
	// the answer to r. Nil means the path "/token", which few clients take.
	Realm func(r *http.Request) string
	// Service is the name under which tokens are asked for; "" is sent as it is.
	Service string
	// Logger gets the errors that clients are not told; nil discards them.
	Logger *slog.Logger
	// Ledger takes the events of pulls and refusals; nil records none of them.
	Ledger *ledger.Recorder
	// OmitPulls leaves no events of pulls.
	OmitPulls bool
}

// New returns the handler of /v2 and everything below it. Each request works on
// its own view of r, guarded by what gate says of the request's token. The
// request id of error bodies is the answer's X-Request-Id, set before.
func New(r registry.Registry, gate Gate, o Options) http.Handler {
	if o.Realm == nil {
		o.Realm = func(*http.Request) string { return "/token" }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &door{
		registry: r, gate: gate, realm: o.Realm, service: o.Service, log: o.Logger,
		ledger: o.Ledger, omitPulls: o.OmitPulls,
	}
}

type door struct {
	registry registry.Registry
	gate     Gate
	realm    func(*http.Request) string
	service  string
	log      *slog.Logger

	ledger    *ledger.Recorder
	omitPulls bool
}

// A call is one request with all that a handler may use to answer it. A handler
// returns an error before it has written anything, or writes the answer.
type call struct {
	request
	door *door
	w    http.ResponseWriter
	r    *http.Request

	token     string
	authority access.Authority // as the gate said last; only its end is the first
	guarded   registry.Registry
	body      body
	pending   *ledger.Event // of a change; nil until one is tried
}

// A body is a request's, and knows whether any of it was waited for.
type body struct {
	io.ReadCloser
	read bool // since the gate was asked
}

func (b *body) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

// enter asks the gate whose request c is.
func (c *call) enter() error {
	var err error
	if c.token, err = inbound.Bearer(c.r.Header); err != nil {
		return err
	}
	if c.authority, err = c.door.gate.Authorize(c.r.Context(), c.token); err != nil {
		return err
	}
	c.authority.Origin = inbound.Origin(c.r, c.w.Header())
	c.guarded = registry.Guard(c.door.registry, c.authority)
	if c.r.Body != nil && c.r.Body != http.NoBody {
		c.body.ReadCloser = c.r.Body
		c.r.Body = &c.body
	}
	return nil
}

// view returns the registry as the bearer may use it now. A body can take
// minutes, so the gate is asked again once any of it was read: what was taken
// away meanwhile must not serve what comes after (S-22). A handler therefore
// asks for its view anew for each step. That the token itself came to its end
// meanwhile is no reason to refuse the request that it began, as long as the
// gate still knows the token (registry.PushGrace).
func (c *call) view() (registry.Registry, error) {
	if !c.body.read {
		return c.guarded, nil
	}
	now, err := c.door.gate.Authorize(c.r.Context(), c.token)
	if err != nil {
		return nil, err
	}
	now.Token.Expired = c.authority.Token.Expired
	now.Origin = c.authority.Origin
	c.authority, c.guarded = now, registry.Guard(c.door.registry, now)
	c.body.read = false
	return c.guarded, nil
}

// An endpoint is a line of the specification's table: methods on a resource.
type endpoint struct {
	spec    string // its name there
	methods string // separated by a space
	action  access.Action
	serve   func(*call) error
}

// endpoints is the table (distribution-spec, "Endpoints"). The action is what a
// challenge asks for when no check came far enough to say; what is checked is
// registry.Guard's business.
var endpoints = [resources][]endpoint{
	ping:    {{"end-1", "GET HEAD", "", (*call).ping}},
	catalog: {{"catalog", "GET HEAD", "", (*call).listRepositories}},
	blob: {
		{"end-2", "GET", access.Pull, (*call).getBlob},
		{"end-2", "HEAD", access.Pull, (*call).headBlob},
		{"end-10", "DELETE", access.Delete, (*call).deleteBlob},
	},
	manifest: {
		{"end-3", "GET HEAD", access.Pull, (*call).getManifest},
		{"end-7", "PUT", access.Push, (*call).putManifest},
		{"end-9", "DELETE", access.Delete, (*call).deleteManifest},
	},
	uploads: {{"end-4 end-11", "POST", access.Push, (*call).startUpload}},
	upload: {
		{"end-5", "PATCH", access.Push, (*call).appendUpload},
		{"end-6", "PUT", access.Push, (*call).finishUpload},
		{"end-13", "GET HEAD", access.Push, (*call).uploadStatus},
		{"end-14", "DELETE", access.Push, (*call).cancelUpload},
	},
	tags:      {{"end-8", "GET HEAD", access.Pull, (*call).listTags}},
	referrers: {{"end-12", "GET HEAD", access.Pull, (*call).listReferrers}},
}

// find returns the line of the table that answers q.
func find(q request) (endpoint, bool) {
	for _, e := range endpoints[q.resource] {
		for rest := e.methods; rest != ""; {
			var method string
			if method, rest, _ = strings.Cut(rest, " "); method == q.method {
				return e, true
			}
		}
	}
	return endpoint{}, false
}

// allowed returns the methods that q's resource answers, for the Allow header.
func allowed(q request) string {
	var methods []string
	for _, e := range endpoints[q.resource] {
		methods = append(methods, strings.Fields(e.methods)...)
	}
	return strings.Join(methods, ", ")
}

// knownMethods are those that some endpoint answers.
var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// Header values that many answers share; nobody changes a slice of a header.
var (
	apiVersion  = []string{"registry/2.0"}
	noSniff     = []string{"nosniff"}
	vary        = []string{"Authorization"}
	noBody      = []string{"0"}
	jsonContent = []string{"application/json"}
	noStore     = []string{"no-store"}
)

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Docker-Distribution-Api-Version"] = apiVersion
	h["X-Content-Type-Options"] = noSniff
	h["Vary"] = vary
	c := &call{door: d, w: w, r: r}
	if err := d.serve(c); err != nil {
		d.fail(c, c.refused(err))
	}
}

// serve answers c or returns why not. Nobody without a live token learns more
// than that one is needed; from there on a malformed request is told what is
// wrong with it, and a well-formed one passes Guard first.
func (d *door) serve(c *call) error {
	q, malformed := parse(c.r.Method, c.r.URL.EscapedPath(), c.r.URL.RawQuery)
	var e endpoint
	switch {
	case malformed == nil:
		c.request = q
		var found bool
		if e, found = find(q); !found {
			return methodNotAllowed(c.w, allowed(q))
		}
		malformed = checkCoding(c.r)
	case !slices.Contains(knownMethods, c.r.Method):
		return methodNotAllowed(c.w, strings.Join(knownMethods, ", "))
	}
	if err := c.enter(); err != nil {
		return err
	}
	if malformed != nil {
		if err := c.authority.Ping(); err != nil {
			return err
		}
		return malformed
	}
	return e.serve(c)
}

// ping answers any live token (end-1). Clients read the challenge from here, so
// there is one even where anybody may pull.
func (c *call) ping() error {
	if err := c.authority.Ping(); err != nil {
		return err
	}
	c.w.Header()["Cache-Control"] = noStore
	c.write(http.StatusOK, jsonContent, []byte("{}"))
	return nil
}

// scope returns what a token needs for q, as far as the request itself says.
func (q request) scope() access.Grants {
	var need access.Grants
	switch e, found := find(q); {
	case q.resource == catalog:
		need.Add(access.Catalog, "*")
	case !found || q.repo == "":
	case e.action == access.Push:
		need.Add(access.Repository(string(q.repo)), string(access.Pull), string(access.Push))
	default:
		need.Add(access.Repository(string(q.repo)), string(e.action))
	}
	if q.mount.Repo != "" {
		need.Add(access.Repository(string(q.mount.Repo)), string(access.Pull))
	}
	return need
}
