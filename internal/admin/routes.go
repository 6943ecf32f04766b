package admin

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// routes is all of the API. Its OpenAPI document, the events of the ledger and
// the tests of who may do what are made of it.
//
// To add a route: give it a row, with a decision who may (holders, owners,
// theNamed, anyCredential, anybody) and the types of internal/client that travel; a row
// in the table of samples of the tests; a method of client.Client; and a command
// that docs/cli.md shows. A parameter
// is described once, in parameters. Names of accounts and groups in a path are
// read with call.name.
var routes = []route{
	{
		method: "GET", pattern: "/whoami", id: "whoami", summary: "Who the server takes the caller for", who: anyCredential(),
		out: client.Whoami{}, serve: (*call).whoami,
	},
	{
		method: "GET", pattern: "/openapi.json", id: "openapi", summary: "This description", who: anyCredential(),
		out: document{"application/json"}, serve: (*call).describeAPI,
	},

	{
		method: "GET", pattern: "/users", id: "listUsers", summary: "List people by name", who: holders(access.ManageAccounts, anywhere),
		query: "n after", out: client.Page[client.Account]{}, serve: (*call).listAccounts,
	},
	{
		method: "POST", pattern: "/users", id: "addUser", summary: "Add a person", who: holders(access.ManageAccounts, anywhere),
		in: client.NewUser{}, out: client.Account{}, status: 201, again: true, serve: (*call).addUser,
	},
	{
		method: "GET", pattern: "/users/{name}", id: "getUser", summary: "Show a person", who: holders(access.ManageAccounts, "name"),
		out: client.Account{}, serve: (*call).getAccount,
	},
	{
		method: "PATCH", pattern: "/users/{name}", id: "changeUser", summary: "Disable or enable a person", who: holders(access.ManageAccounts, "name"),
		in: client.AccountChange{}, out: client.Account{}, serve: (*call).changeAccount,
	},
	{
		method: "DELETE", pattern: "/users/{name}", id: "removeUser", summary: "Remove a person for ever", who: holders(access.ManageAccounts, "name"),
		serve: (*call).removeAccount,
	},
	{
		method: "PUT", pattern: "/users/{name}/password", id: "setPassword", summary: "Set a password and end the person's sessions", who: theNamed(access.ManageAccounts),
		in: client.NewPassword{}, serve: (*call).setPassword,
	},
	{
		method: "POST", pattern: "/users/{name}/reset", id: "resetPassword", summary: "Make a one-time code with which a person sets a new password", who: holders(access.ManageAccounts, "name"),
		out: client.ResetCode{}, status: 201, kind: "password.reset", serve: (*call).resetPassword,
	},
	{
		method: "POST", pattern: "/users/{name}/links", id: "linkUser", summary: "Let who an OpenID provider vouches for sign in as a person", who: holders(access.ManageAccounts, "name"),
		in: client.NewLink{}, kind: "account.link", serve: (*call).link,
	},
	{
		method: "DELETE", pattern: "/users/{name}/links", id: "unlinkUser", summary: "Undo a link and end the person's sessions", who: holders(access.ManageAccounts, "name"),
		query: "issuer subject", kind: "account.unlink", serve: (*call).unlink,
	},
	{
		method: "POST", pattern: "/password-resets", id: "redeemReset", summary: "Set a password with a one-time code and end the person's sessions", who: anybody(),
		in: client.Redemption{}, out: client.Redeemed{}, kind: "password.redeem", serve: (*call).redeemReset,
	},
	{
		method: "POST", pattern: "/htpasswd", id: "importHtpasswd", summary: "Add the people of an htpasswd file", who: holders(access.ManageAccounts, registry),
		in: document{"text/plain"}, out: client.Imported{}, status: 201, serve: (*call).importHtpasswd,
	},

	{
		method: "GET", pattern: "/robots", id: "listRobots", summary: "List robots by name", who: holders(access.ManageAccounts, anywhere),
		query: "n after", out: client.Page[client.Account]{}, serve: (*call).listAccounts,
	},
	{
		method: "POST", pattern: "/robots", id: "addRobot", summary: "Add a robot", who: holders(access.ManageAccounts, anywhere),
		in: client.NewRobot{}, out: client.Account{}, status: 201, again: true, serve: (*call).addRobot,
	},
	{
		method: "GET", pattern: "/robots/{name}", id: "getRobot", summary: "Show a robot", who: holders(access.ManageAccounts, "name"),
		out: client.Account{}, serve: (*call).getAccount,
	},
	{
		method: "PATCH", pattern: "/robots/{name}", id: "changeRobot", summary: "Disable or enable a robot", who: holders(access.ManageAccounts, "name"),
		in: client.AccountChange{}, out: client.Account{}, serve: (*call).changeAccount,
	},
	{
		method: "DELETE", pattern: "/robots/{name}", id: "removeRobot", summary: "Remove a robot for ever", who: holders(access.ManageAccounts, "name"),
		serve: (*call).removeAccount,
	},

	{
		method: "GET", pattern: "/groups", id: "listGroups", summary: "List groups and their members", who: holders(access.ManageAccounts, anywhere),
		query: "n after", out: client.Page[client.Group]{}, serve: (*call).listGroups,
	},
	{
		method: "PUT", pattern: "/groups/{group}/members/{member}", id: "addMember", summary: "Put an account into a group", who: holders(access.ManageAccounts, "group"),
		serve: (*call).addMember,
	},
	{
		method: "DELETE", pattern: "/groups/{group}/members/{member}", id: "removeMember", summary: "Take an account out of a group", who: holders(access.ManageAccounts, "group"),
		serve: (*call).removeMember,
	},

	{
		method: "GET", pattern: "/keys", id: "listKeys", summary: "List access keys, newest first", who: owners(access.ManageKeys),
		query: "owner sum n after", out: client.Page[client.Key]{}, serve: (*call).listKeys,
	},
	{
		method: "POST", pattern: "/keys", id: "createKey", summary: "Create an access key", who: owners(access.ManageKeys),
		in: client.NewKey{}, out: client.CreatedKey{}, status: 201, serve: (*call).createKey,
	},
	{
		method: "PATCH", pattern: "/keys/{id}", id: "narrowKey", summary: "Take rights from an access key", who: owners(access.ManageKeys),
		in: client.KeyChange{}, out: client.Key{}, serve: (*call).narrowKey,
	},
	{
		method: "POST", pattern: "/keys/{id}/rotate", id: "rotateKey", summary: "Make the successor of an access key, which lives on for a while", who: itself(access.ManageKeys),
		in: client.KeyRotation{}, out: client.CreatedKey{}, status: 201, serve: (*call).rotateKey,
	},
	{
		method: "DELETE", pattern: "/keys/{id}", id: "revokeKey", summary: "Revoke an access key and end what came of it", who: owners(access.ManageKeys),
		serve: (*call).revokeKey,
	},

	{
		method: "GET", pattern: "/sessions", id: "listSessions", summary: "List sessions, newest first", who: owners(access.ManageAccounts),
		query: "owner n after", out: client.Page[client.Session]{}, serve: (*call).listSessions,
	},
	{
		method: "DELETE", pattern: "/sessions", id: "revokeSessions", summary: "Log an account out everywhere", who: owners(access.ManageAccounts),
		query: "owner", out: client.EndedSessions{}, serve: (*call).revokeSessions,
	},
	{
		method: "DELETE", pattern: "/sessions/{id}", id: "revokeSession", summary: "End a session and the tokens that came of it", who: itself(access.ManageAccounts),
		serve: (*call).revokeSession,
	},

	{
		method: "GET", pattern: "/policy", id: "showPolicy", summary: "Show the policy, or the part of it that the caller manages", who: holders(access.ManagePolicy, anywhere),
		out: client.Policy{}, serve: (*call).showPolicy,
	},
	{
		method: "PUT", pattern: "/policy", id: "applyPolicy", summary: "Replace the version of the policy that If-Match names, or the part of it that the caller manages", who: holders(access.ManagePolicy, anywhere),
		query: "reason", header: "If-Match", in: document{"application/yaml", "text/plain"}, out: client.Policy{}, serve: (*call).applyPolicy,
	},
	{
		method: "POST", pattern: "/explain", id: "explain", summary: "Explain what the policy decides about a request", who: holders(access.ManagePolicy, anywhere),
		in: client.Question{}, out: client.Explanation{}, kind: quiet, serve: (*call).explain,
	},
	{
		method: "POST", pattern: "/policy/replay", id: "replayPolicy", summary: "List the recorded decisions that a document would change", who: holders(access.ManagePolicy, registry),
		query: "since", in: document{"application/yaml", "text/plain"}, out: client.Replay{}, kind: quiet, serve: (*call).replayPolicy,
	},
	{
		method: "GET", pattern: "/who-can", id: "whoCan", summary: "List the rules that give an action on a repository", who: holders(access.ManagePolicy, anywhere),
		query: "action repository tag", out: client.WhoCan{}, serve: (*call).whoCan,
	},
	{
		method: "GET", pattern: "/policy/versions", id: "listPolicyVersions", summary: "List the versions of the policy, newest first", who: holders(access.ManagePolicy, registry),
		query: "n after", out: client.Page[client.PolicyVersion]{}, serve: (*call).listPolicyVersions,
	},
	{
		method: "GET", pattern: "/policy/versions/{version}", id: "showPolicyVersion", summary: "Show a version of the policy", who: holders(access.ManagePolicy, registry),
		out: client.Policy{}, serve: (*call).showPolicyVersion,
	},

	{
		method: "GET", pattern: "/audit", id: "listAudit", summary: "Show the record of what happened", who: holders(access.ReadAudit, anywhere),
		query: "n after before who what where request since until denied", out: client.AuditPage{}, serve: (*call).listAudit,
	},
	{
		method: "GET", pattern: "/signing-keys", id: "listSigningKeys", summary: "List the keys that sign access tokens, in the order in which they do", who: holders(access.Operate, registry),
		query: "n after", out: client.Page[client.SigningKey]{}, serve: (*call).listSigningKeys,
	},
	{
		method: "POST", pattern: "/signing-keys", id: "rotateSigningKey", summary: "Make the next signing key unless it is there", who: holders(access.Operate, registry),
		in: client.Rotation{}, out: client.SigningKey{}, serve: (*call).rotateSigningKey,
	},
	{
		method: "DELETE", pattern: "/signing-keys/{id}", id: "revokeSigningKey", summary: "Take a signing key away and end the tokens that it signed", who: holders(access.Operate, registry),
		serve: (*call).revokeSigningKey,
	},
	{
		method: "GET", pattern: "/signing-keys/jwks", id: "showKeySet", summary: "Show the public halves of the signing keys", who: holders(access.Operate, registry),
		out: client.KeySet{}, serve: (*call).showKeySet,
	},

	{
		method: "GET", pattern: "/issuers", id: "listIssuers", summary: "List the issuers whose tokens are trusted, by name", who: holders(access.Operate, registry),
		query: "n after", out: client.Page[client.Issuer]{}, serve: (*call).listIssuers,
	},
	{
		method: "POST", pattern: "/issuers", id: "addIssuer", summary: "Trust the tokens of an issuer; what the policy gives its principals the caller must have or manage", who: holders(access.Operate, registry),
		in: document{"application/yaml", "text/plain"}, out: client.IssuerDocument{}, status: 201, again: true, serve: (*call).addIssuer,
	},
	{
		method: "GET", pattern: "/issuers/{issuer}", id: "getIssuer", summary: "Show the definition of a trusted issuer", who: holders(access.Operate, registry),
		out: client.IssuerDocument{}, serve: (*call).getIssuer,
	},
	{
		method: "PUT", pattern: "/issuers/{issuer}", id: "replaceIssuer", summary: "Replace the revision of a definition that If-Match names, and end what came of it", who: holders(access.Operate, registry),
		header: "If-Match", in: document{"application/yaml", "text/plain"}, out: client.IssuerDocument{}, serve: (*call).replaceIssuer,
	},
	{
		method: "DELETE", pattern: "/issuers/{issuer}", id: "removeIssuer", summary: "End the trust in an issuer, and what came of its tokens", who: holders(access.Operate, registry),
		serve: (*call).removeIssuer,
	},
	{
		method: "POST", pattern: "/issuers/{issuer}/check", id: "checkIssuer", summary: "Ask an issuer for its keys and list what was found", who: holders(access.Operate, registry),
		out: client.IssuerReport{}, kind: quiet, serve: (*call).checkIssuer,
	},
	{
		method: "POST", pattern: "/issuers/test", id: "testToken", summary: "Say what a token of a trusted issuer would prove", who: holders(access.Operate, registry),
		in: client.TokenToTest{}, out: client.TokenVerdict{}, kind: quiet, serve: (*call).testToken,
	},
	{
		method: "GET", pattern: "/issuer-presets", id: "listPresets", summary: "List the definitions for platforms, by name", who: holders(access.Operate, registry),
		query: "n after", out: client.Page[client.IssuerPreset]{}, serve: (*call).listPresets,
	},
	{
		method: "GET", pattern: "/issuer-presets/{preset}", id: "getPreset", summary: "Show the definition for a platform", who: holders(access.Operate, registry),
		out: client.IssuerPreset{}, serve: (*call).getPreset,
	},

	{
		method: "GET", pattern: "/gc", id: "sweepStatus", summary: "Show whether a sweep is running and what the last one did", who: holders(access.Operate, registry),
		out: client.SweepStatus{}, serve: (*call).sweepStatus,
	},
	{
		method: "POST", pattern: "/gc", id: "sweep", summary: "Sweep now and wait for the end", who: holders(access.Operate, registry),
		in: client.SweepRequest{}, out: client.Sweep{}, kind: "sweep.run", serve: (*call).sweep,
	},
}
