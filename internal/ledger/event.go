// Package ledger owns the record of what happened: events, their one written
// form, their order, and the chain of hashes that shows when it was rewritten.
package ledger

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// A Kind says what an event is about.
type Kind string

// The kinds. docs/audit.md lists the actions of each.
const (
	Login      Kind = "login"       // a credential was shown to the token service, and began a session or was refused
	Token      Kind = "token"       // an access token was issued, or one that proves nothing was shown
	Pull       Kind = "pull"        // a manifest or a blob was read
	Push       Kind = "push"        // a manifest was pushed, or content for one was refused
	Delete     Kind = "delete"      // a tag, manifest or blob
	List       Kind = "list"        // a listing was refused
	API        Kind = "api"         // a question to the admin API was refused
	Account    Kind = "account"     // users and robots
	Group      Kind = "group"       // memberships
	Key        Kind = "key"         // access keys
	Session    Kind = "session"     // identity tokens
	Password   Kind = "password"    // passwords, and one-time codes that set them
	Policy     Kind = "policy"      // the policy
	SigningKey Kind = "signing-key" // our signing keys
	Federation Kind = "federation"  // trust in outsiders
	Sweep      Kind = "sweep"       // gc
	Audit      Kind = "audit"       // the record itself
)

// Kinds are all of them.
var Kinds = []Kind{
	Login, Token, Pull, Push, Delete, List, API, Account, Group, Key, Session, Password, Policy, SigningKey, Federation, Sweep, Audit,
}

// A Decision is how it ended.
type Decision string

// The decisions. Failed is what was allowed and could not be done.
const (
	Allowed Decision = "allowed"
	Denied  Decision = "denied"
	Failed  Decision = "failed"
)

// Reasons of refusals that a program reads; others are words for people.
const (
	ByPolicy     = "policy"              // no rule allows it, or a protection takes it away
	ByNarrowing  = "narrowing"           // the credential is narrowed to less than the policy gives
	ByToken      = "token"               // the token does not hold it
	BadToken     = "invalid token"       // the token proves nothing
	BadProof     = "bad credential"      // the credential proves nothing
	WrongNetwork = "wrong network"       // the credential is narrowed to other networks
	Revoked      = "revoked"             // the credential was ended
	Expired      = "expired"             // the credential has ended, or lain idle for too long
	Disabled     = "disabled"            // the owner of the credential is
	TooManyTries = "too many attempts"   // the credential was not looked at
	NotAsked     = "directory not asked" // the one that could check it does not answer
	LoginOnly    = "login only"          // nor was this password, which came without a login
)

// System is the principal of what the registry does by itself.
const System = "system"

// An Event is one thing that happened. It holds no secrets. What comes from
// outside is bounded and made printable when it is recorded.
type Event struct {
	// Seq counts the events of a database from 1; the record sets it.
	Seq int64 `json:"seq"`
	// Time is kept in microseconds, UTC; the record sets one that is zero.
	Time     time.Time `json:"time"`
	Kind     Kind      `json:"kind"`
	Action   string    `json:"action"` // "create-tag", "rotate"
	Decision Decision  `json:"decision"`
	Reason   string    `json:"reason,omitempty"` // of what was not allowed
	// Rule is the name of the rule or protection that decided.
	Rule string `json:"rule,omitempty"`
	// PolicyVersion is that of the policy which decided.
	PolicyVersion int64 `json:"policyVersion,omitempty"`

	Principal string            `json:"principal"` // "user:alice", "anonymous", System
	Issuer    string            `json:"issuer,omitempty"`
	UID       string            `json:"uid,omitempty"`
	Groups    []string          `json:"groups,omitempty"`
	Claims    map[string]string `json:"claims,omitempty"`
	// Method is how the principal was proven: "password", "key", "session",
	// "certificate", "id-token".
	Method string `json:"method,omitempty"`
	// Credential is the id of the access key or identity token.
	Credential string `json:"credential,omitempty"`
	// Token is the id (jti) of the access token.
	Token string `json:"token,omitempty"`

	Repository string `json:"repository,omitempty"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
	// Object is what else it was done to: "user:alice", "group:dev", a key's id.
	Object string `json:"object,omitempty"`

	Address   string `json:"address,omitempty"`
	TLS       bool   `json:"tls,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Detail is more to know: "previous" digest of a tag, "scope" of a token.
	Detail map[string]string `json:"detail,omitempty"`

	recorded bool
}

// Recorded reports whether the event was written with the change that it was
// pending for.
func (e *Event) Recorded() bool { return e.recorded }

// MarkRecorded is for the shelf that has committed the event, under seq.
func (e *Event) MarkRecorded(seq int64) { e.Seq, e.recorded = seq, true }

// Set adds to the event's detail; an empty value adds nothing.
func (e *Event) Set(name, value string) {
	if value == "" {
		return
	}
	if e.Detail == nil {
		e.Detail = make(map[string]string)
	}
	e.Detail[name] = value
}

// Of fills in who asked, and from where.
func (e *Event) Of(au access.Authority) {
	id := au.Identity
	e.By(id)
	e.Token, e.PolicyVersion = au.Token.ID, au.Policy.Version()
	e.From(au.Origin)
}

// By fills in who was proven, and how.
func (e *Event) By(id access.Identity) {
	p := id.Principal
	e.Principal, e.Issuer, e.UID, e.Groups, e.Claims = p.String(), p.Issuer, p.UID, p.Groups, p.Claims
	e.Method = id.Proof.Method
	e.Credential = cmp.Or(id.Proof.KeyID, id.Proof.SessionID, id.Proof.Certificate)
	if id.Proof.KeyID != "" {
		e.Set("session", id.Proof.SessionID)
	}
	if p.Kind == access.External && id.Proof.Certificate == "" {
		e.Set("trust", id.Proof.Trust)
	}
}

// From fills in where a request came from.
func (e *Event) From(o access.Origin) {
	if o.Address.IsValid() {
		e.Address = o.Address.String()
	}
	e.TLS, e.UserAgent, e.RequestID = o.TLS, o.UserAgent, o.RequestID
}

// Deny fills in why policy or credential denied it to au: the action that is
// missing, and the rule or the protection that decided.
func (e *Event) Deny(au access.Authority, why *access.Denied) {
	e.Decision, e.Reason = Denied, ByPolicy
	e.Set("needs", string(why.Action))
	q := access.Query{Action: why.Action, Tag: why.Tag, AnyTag: why.Tag == ""}
	if why.Resource != access.API {
		q.Name = why.Resource.Name
	}
	if q.Name != e.Repository {
		e.Set("over", q.Name) // of an administrative right
	}
	d := au.Decide(q)
	e.Rule = cmp.Or(why.Beyond.Rule, why.Protection, name(d.Protection), name(d.Rule))
	if d.Narrowed {
		e.Reason = ByNarrowing
	}
}

// Allow fills in the rule that gives au the right to do a in the event's
// repository.
func (e *Event) Allow(au access.Authority, a access.Action) {
	e.Rule = name(au.Decide(access.Query{Action: a, Name: e.Repository, Tag: oci.Tag(e.Tag), AnyTag: e.Tag == ""}).Rule)
}

// AllowOver fills in the rule that gives au the administrative right a over a
// name in the tree, or the whole registry for "".
func (e *Event) AllowOver(au access.Authority, a access.Action, over string) {
	e.Rule = name(au.Decide(access.Query{Action: a, Name: over}).Rule)
}

// name returns what to call a rule or protection: a nameless one by its line.
func name(s access.Statement) string {
	if s.Name == "" && s.Line > 0 {
		return "line " + strconv.Itoa(s.Line)
	}
	return s.Name
}

// Equal reports whether e and o say the same.
func (e *Event) Equal(o *Event) bool {
	return slices.Equal(e.canonical(), o.canonical())
}
