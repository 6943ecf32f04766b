package admin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
)

// A route is one line of the API: what it does, who may, and what its
// description in OpenAPI says. The table in routes.go tells how to add one.
type route struct {
	method, pattern string // the pattern is below client.APIPath
	id              string // the operation's name in OpenAPI, such as "listUsers"
	summary         string // one line about it, without a full stop
	who             who
	query, header   string // names of the parameters, separated by a space; see parameters
	in              any    // zero value of the body's type, or a document; nil: no body
	out             any    // zero value of the answer's type, or a document; nil: nothing
	status          int    // of success; 0: 200, or 204 without an answer
	again           bool   // creating what is there already, just so, is answered 200
	// kind says what the event is that the ledger records, such as "key.rotate",
	// where the pattern does not say it (see about); quiet leaves none.
	kind  string
	serve func(*call) error
}

// A document is a body that is not JSON of ours: its media types.
type document []string

// who may use a route, beside holding a token for the API at all. The zero
// value lets nobody in: every route must decide.
type who struct {
	own   own
	right access.Action // the administrative right for what own does not cover
	over  string        // how far right must reach: a path parameter, or one of these
}

// How far a right must reach.
const (
	registry = ""         // over the whole registry
	anywhere = "anywhere" // over some part: the handler decides about what it finds
)

// own says what an account may do without an administrative right.
type own int

const (
	// nothing: the route is for administrators.
	nothing own = iota
	// things: any account may use the route for what is its own, with a
	// credential that is not narrowed; the handler decides about the rest.
	things
	// named: the account that the path names, as things.
	named
	// everything: narrowed credentials too, for what concerns themselves.
	everything
	// open: whoever comes, without a token. A credential in the body decides.
	open
)

// holders lets in who has right over what the path's parameter over names, over
// the whole registry, or anywhere.
func holders(right access.Action, over string) who { return who{right: right, over: over} }

// owners lets in any account for what is its own. Right is for others' things.
func owners(right access.Action) who { return who{own: things, right: right, over: anywhere} }

// theNamed lets in the account that the path names, and who has right over it.
func theNamed(right access.Action) who { return who{own: named, right: right, over: "name"} }

// itself lets in any credential, narrowed ones too, for itself, and otherwise as
// owners: the handler decides.
func itself(right access.Action) who { return who{own: everything, right: right, over: anywhere} }

// anyCredential lets in whoever is logged in.
func anyCredential() who { return who{own: everything} }

// anybody lets in whoever comes; the handler proves what the body holds.
func anybody() who { return who{own: open} }

func (w who) decided() bool { return w.own == everything || w.own == open || w.right != "" }

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// enter finds out who asks and whether the route lets them in.
func (c *call) enter() error {
	if c.route.who.own == open { // a token beside the credential is not looked at
		c.authority = access.Authority{Origin: inbound.Origin(c.r, c.w.Header())}
		return nil
	}
	var err error
	if c.authority, err = c.authorize(); err != nil {
		return err
	}
	return c.mayCall()
}

// enterAgain is enter for a body that is in: it can take minutes, and what was
// taken away meanwhile must not serve what it asks for (S-22). That the token
// itself came to its end meanwhile is no reason to refuse.
func (c *call) enterAgain() error {
	if c.route.who.own == open {
		return nil
	}
	now, err := c.authorize()
	if err != nil {
		return err
	}
	now.Token.Expired = c.authority.Token.Expired
	c.authority = now
	return c.mayCall()
}

// authorize asks the gate about the request's bearer.
func (c *call) authorize() (access.Authority, error) {
	bearer, err := inbound.Bearer(c.r.Header)
	if errors.Is(err, inbound.ErrNoBearer) {
		err = access.ErrInvalidToken
	}
	if err != nil {
		return access.Authority{}, err
	}
	au, err := c.door.Gate.Authorize(c.r.Context(), bearer)
	au.Origin = inbound.Origin(c.r, c.w.Header())
	return au, err
}

// mayCall checks the authority for the route.
func (c *call) mayCall() error {
	if err := c.authority.CheckAPI(); err != nil {
		return err
	}
	w, narrowed := c.route.who, !c.authority.Identity.Narrowing.IsZero()
	switch {
	case c.principal().IsAnonymous():
		return &access.InsufficientScope{} // no token of ours for anonymous holds the API
	case w.own == everything,
		!narrowed && w.own == things,
		!narrowed && w.own == named && c.target() == c.own():
		return nil
	}
	err := c.manages(w)
	if _, denied := errors.AsType[*access.Denied](err); denied && narrowed && w.own != nothing {
		return errNarrowed
	}
	return err
}

// manages asks for the right of w as far as it must reach.
func (c *call) manages(w who) error {
	switch w.over {
	case registry:
		return c.authority.CheckManage(w.right, "")
	case anywhere:
		return c.authority.CheckManageAny(w.right)
	}
	return c.authority.CheckManage(w.right, c.name(w.over))
}

// manage asks for the route's right over a name in the tree, and says in the
// event which rule gives it. Errors: as access.Authority.CheckManage.
func (c *call) manage(name string) error {
	right := c.route.who.right
	if err := c.authority.CheckManage(right, name); err != nil {
		return err
	}
	if c.event != nil {
		c.event.AllowOver(c.authority, right, name)
	}
	return nil
}

// name returns a name that the path holds: its slashes are written "~" there.
func (c *call) name(parameter string) string {
	return strings.ReplaceAll(c.r.PathValue(parameter), "~", "/")
}
