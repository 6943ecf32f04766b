package admin

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// who may use a route, beside holding a token for the API at all.
type who int

const (
	// administrator: the administrative right, by policy and credential.
	administrator who = iota
	// anyAccount: any account, for what is its own, with a credential that is not
	// narrowed; the handler lets administrators do more.
	anyAccount
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
	{"PUT", "/users/{name}/password", anyAccount, "", (*call).setPassword},
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
	{"PUT", "/policy", administrator, "", (*call).applyPolicy},

	{"GET", "/gc", administrator, "", (*call).sweepStatus},
	{"POST", "/gc", administrator, "", (*call).sweep},
}

// enter finds out who asks and whether rt lets them in.
func (c *call) enter(rt route) error {
	bearer, err := bearerToken(c.r.Header)
	if err != nil {
		return err
	}
	if c.authority, err = c.door.Gate.Authorize(c.r.Context(), bearer); err != nil {
		return err
	}
	if err := c.authority.CheckAPI(); err != nil {
		return err
	}
	switch {
	case c.principal().IsAnonymous():
		return &access.InsufficientScope{} // no token of ours for anonymous holds the API
	case rt.who == administrator:
		return c.authority.CheckAdmin()
	case rt.who == anyAccount && !c.authority.Identity.Narrowing.IsZero():
		return errNarrowed
	}
	return nil
}
