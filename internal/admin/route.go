package admin

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
)

// who may use a route, beside holding a token for the API at all.
type who int

const (
	// administrator: the administrative right, by policy and credential.
	administrator who = iota
	// anyAccount: any account, for what is its own, with a credential that is not
	// narrowed; the handler lets administrators do more.
	anyAccount
	// namedAccount: the account that the path names, as anyAccount, and
	// administrators.
	namedAccount
	// anyCredential: narrowed credentials too, for what concerns themselves.
	anyCredential
)

// A route is one line of the API. The pattern is below client.APIPath.
type route struct {
	method, pattern string
	who             who
	query           string // names of the parameters, separated by a space
	serve           func(*call) error
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// routes is all of the API. The test of who may do what walks it.
var routes = []route{
	{"GET", "/whoami", anyCredential, "", (*call).whoami},

	{"GET", "/users", administrator, "n after", (*call).listAccounts},
	{"POST", "/users", administrator, "", (*call).addUser},
	{"GET", "/users/{name}", administrator, "", (*call).getAccount},
	{"PATCH", "/users/{name}", administrator, "", (*call).changeAccount},
	{"DELETE", "/users/{name}", administrator, "", (*call).removeAccount},
	{"PUT", "/users/{name}/password", namedAccount, "", (*call).setPassword},
	{"POST", "/htpasswd", administrator, "", (*call).importHtpasswd},

	{"GET", "/robots", administrator, "n after", (*call).listAccounts},
	{"POST", "/robots", administrator, "", (*call).addRobot},
	{"GET", "/robots/{name}", administrator, "", (*call).getAccount},
	{"PATCH", "/robots/{name}", administrator, "", (*call).changeAccount},
	{"DELETE", "/robots/{name}", administrator, "", (*call).removeAccount},

	{"GET", "/groups", administrator, "n after", (*call).listGroups},
	{"PUT", "/groups/{group}/members/{member}", administrator, "", (*call).addMember},
	{"DELETE", "/groups/{group}/members/{member}", administrator, "", (*call).removeMember},

	{"GET", "/keys", anyAccount, "owner n after", (*call).listKeys},
	{"POST", "/keys", anyAccount, "", (*call).createKey},
	{"DELETE", "/keys/{id}", anyAccount, "", (*call).revokeKey},

	{"GET", "/sessions", anyAccount, "owner n after", (*call).listSessions},
	{"DELETE", "/sessions/{id}", anyCredential, "", (*call).revokeSession},

	{"GET", "/policy", administrator, "", (*call).showPolicy},
	{"PUT", "/policy", administrator, "reason", (*call).applyPolicy},
	{"GET", "/policy/versions", administrator, "n after", (*call).listPolicyVersions},
	{"GET", "/policy/versions/{version}", administrator, "", (*call).showPolicyVersion},

	{"GET", "/gc", administrator, "", (*call).sweepStatus},
	{"POST", "/gc", administrator, "", (*call).sweep},
}

// enter finds out who asks and whether the route lets them in.
func (c *call) enter() error {
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
	switch {
	case c.principal().IsAnonymous():
		return &access.InsufficientScope{} // no token of ours for anonymous holds the API
	case c.route.who == administrator:
		return c.authority.CheckAdmin()
	case c.route.who != anyCredential && !c.authority.Identity.Narrowing.IsZero():
		return errNarrowed
	case c.route.who == namedAccount && c.target() != c.own():
		return c.authority.CheckAdmin()
	}
	return nil
}
