package client

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// APIPath is where the admin API begins.
const APIPath = "/api/v1"

// MaxBody bounds the body of a request to the admin API, in bytes: the largest
// is a policy.
const MaxBody = access.MaxPolicySize

// ProblemType is the media type of an error (RFC 9457).
const ProblemType = "application/problem+json"

// A Secret is a secret that travels in a body: in JSON, and only there, it is
// written out. Everywhere else it redacts itself as access.Secret does.
type Secret struct{ access.Secret }

// MarshalJSON writes the secret itself.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }

// UnmarshalJSON reads a string.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	s.Secret = access.NewSecret(text)
	return nil
}

// A Page is a part of a list. Next is "" at its end, else the value of the
// query parameter "after" that gives the following part.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// An Account is a person or a machine.
type Account struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"` // "user" or "robot"
	Disabled bool      `json:"disabled"`
	Groups   []string  `json:"groups"`
	Created  time.Time `json:"created"`
	Links    []Link    `json:"links,omitempty"` // identities elsewhere that a person signs in with
}

// A Link is who a provider of sign-ins vouches for.
type Link struct {
	Provider string     `json:"provider,omitempty"` // its name in the configuration
	Issuer   string     `json:"issuer"`
	Subject  string     `json:"subject"`
	Checked  *time.Time `json:"checked,omitempty"` // when it vouched last
}

// A NewLink is the body of POST /users/NAME/links.
type NewLink struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// A NewUser is the body of POST /users: with a password, or with Invite and
// without one, which a one-time code will set.
type NewUser struct {
	Name     string `json:"name"`
	Password Secret `json:"password,omitzero"`
	Invite   bool   `json:"invite,omitempty"`
}

// A NewRobot is the body of POST /robots.
type NewRobot struct {
	Name string `json:"name"`
}

// An AccountChange is the body of PATCH on an account.
type AccountChange struct {
	Disabled *bool `json:"disabled"`
}

// A NewPassword is the body of PUT /users/NAME/password. Current is needed for
// the caller's own password, and only there.
type NewPassword struct {
	Current  Secret `json:"current,omitzero"`
	Password Secret `json:"password"`
}

// A ResetCode is the answer to POST /users/NAME/reset, which alone shows the code,
// once.
type ResetCode struct {
	User    string    `json:"user"` // "user:alice"
	Code    Secret    `json:"code"`
	Expires time.Time `json:"expires"`
}

// A Redemption is the body of POST /password-resets.
type Redemption struct {
	Code     Secret `json:"code"`
	Password Secret `json:"password"`
}

// Redeemed is the answer: whose password was set.
type Redeemed struct {
	User string `json:"user"`
}

// Imported is the answer to POST /htpasswd.
type Imported struct {
	Users []string `json:"users"`
}

// A Group is a local group.
type Group struct {
	Name    string   `json:"name"`
	Members []string `json:"members"` // "user:alice", sorted
}

// A Key is an access key without its secret. A time that is absent has not come.
type Key struct {
	ID           string     `json:"id"`
	Owner        string     `json:"owner"` // "robot:ci"
	Name         string     `json:"name"`
	Repositories []string   `json:"repositories"`         // patterns; none: not narrowed
	Actions      []string   `json:"actions"`              // none: not narrowed
	Networks     []string   `json:"networks"`             // of clients; none: not narrowed
	Creator      string     `json:"creator,omitempty"`    // "user:admin"
	CreatorKey   string     `json:"creatorKey,omitempty"` // the key that the creator came with
	Successor    string     `json:"successor,omitempty"`  // the key it was rotated to
	Created      time.Time  `json:"created"`
	Expires      time.Time  `json:"expires"`
	Revoked      *time.Time `json:"revoked,omitempty"`
	LastUsed     *time.Time `json:"lastUsed,omitempty"`
	LastAddress  string     `json:"lastAddress,omitempty"`
	LastAgent    string     `json:"lastAgent,omitempty"`
	Warnings     []string   `json:"warnings"` // what somebody should see to, in words
}

// A NewKey is the body of POST /keys. An empty Owner is the caller; ExpiresIn is
// in seconds, 0 for the server's default.
type NewKey struct {
	Owner        string   `json:"owner,omitempty"`
	Name         string   `json:"name,omitempty"`
	ExpiresIn    int64    `json:"expiresIn,omitempty"`
	Repositories []string `json:"repositories,omitempty"`
	Actions      []string `json:"actions,omitempty"`
	Networks     []string `json:"networks,omitempty"`
}

// A KeyChange is the body of PATCH /keys/ID: what the key is narrowed to. What is
// empty stays as it is.
type KeyChange struct {
	Repositories []string `json:"repositories,omitempty"`
	Actions      []string `json:"actions,omitempty"`
	Networks     []string `json:"networks,omitempty"`
}

// A KeyRotation is the body of POST /keys/ID/rotate. Overlap is how long the old
// key lives on, in seconds, 0 for a day.
type KeyRotation struct {
	Overlap int64 `json:"overlap,omitempty"`
}

// A CreatedKey is the answer to POST /keys and POST /keys/ID/rotate, which alone
// show a secret, once.
type CreatedKey struct {
	Key
	Secret Secret `json:"secret"`
}

// A Session is what an identity token stands for, without the token.
type Session struct {
	ID       string     `json:"id"`
	Owner    string     `json:"owner"`
	Client   string     `json:"client"`
	KeyID    string     `json:"keyId,omitempty"` // the access key it was begun with
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`
	Revoked  *time.Time `json:"revoked,omitempty"`
	LastUsed *time.Time `json:"lastUsed,omitempty"`

	LastAddress string `json:"lastAddress,omitempty"`
	LastAgent   string `json:"lastAgent,omitempty"`
}

// EndedSessions is the answer to DELETE /sessions: how many ended.
type EndedSessions struct {
	Ended int `json:"ended"`
}

// A PolicyVersion says who applied a version of the policy, when and why.
type PolicyVersion struct {
	Version int64     `json:"version"`
	Author  string    `json:"author"`
	Reason  string    `json:"reason"`
	Applied time.Time `json:"applied"`
}

// A Policy is one version of the policy with its document.
type Policy struct {
	PolicyVersion
	Document string `json:"document"`
}

// A Question is the body of POST /explain: what the policy says to one request.
type Question struct {
	// Principal is "user:NAME", "robot:NAME", "external:NAME (ISSUER)" or
	// "anonymous"; "" is the caller. Local ones are in the groups that they are in
	// now.
	Principal  string            `json:"principal,omitempty"`
	Claims     map[string]string `json:"claims,omitempty"` // of an external principal
	Action     string            `json:"action"`
	Repository string            `json:"repository,omitempty"` // or a name in the tree, for an administrative right
	Tag        string            `json:"tag,omitempty"`
	Address    string            `json:"address,omitempty"` // of the client
	TLS        bool              `json:"tls,omitempty"`
	Time       *time.Time        `json:"time,omitempty"` // absent: now
	Key        string            `json:"key,omitempty"`  // id of the access key that it comes with
	// PolicyVersion asks a version of the past instead of the policy in force.
	// Groups and Method (how it was proven) are then as given, and not looked up.
	PolicyVersion int64    `json:"policyVersion,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	Method        string   `json:"method,omitempty"`
}

// An Explanation is the answer: the decision, and why.
type Explanation struct {
	Principal     string   `json:"principal"`
	Groups        []string `json:"groups"`
	PolicyVersion int64    `json:"policyVersion,omitempty"` // of the policy that was asked
	// Standing says why nothing is allowed now, whatever the policy gives: the
	// account is disabled, or the key has ended. It is "" otherwise.
	Standing string `json:"standing,omitempty"`
	access.Explanation
}

// A ReplayKey is what recorded decisions are counted by.
type ReplayKey struct {
	Principal  string `json:"principal"`
	Action     string `json:"action"`
	Repository string `json:"repository"`
	Allowed    bool   `json:"allowed"` // by the candidate, and not by the record; or the other way
}

// A Replayed is a number of recorded decisions that a candidate policy would
// change in one way.
type Replayed struct {
	ReplayKey
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
	Rule  string    `json:"rule"` // of the candidate that decides the last one, or ""
}

// A Replay is the answer to POST /policy/replay.
type Replay struct {
	Decisions int64      `json:"decisions"` // that were put to the candidate
	Changes   []Replayed `json:"changes"`   // most often first
	More      int64      `json:"more"`      // changed decisions that are in no line, for lack of room
}

// WhoCan is who may do something, by the policy.
type WhoCan access.Access

// A SweepRequest is the body of POST /gc.
type SweepRequest struct {
	DryRun bool `json:"dryRun,omitempty"`
	Large  bool `json:"large,omitempty"` // remove whatever share of the known blobs is unused
}

// A Sweep says what a sweep did, or what a dry run found it would do.
type Sweep struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	DryRun   bool      `json:"dryRun"`
	Uploads  int64     `json:"uploads"`
	Links    int64     `json:"links"`
	Blobs    int64     `json:"blobs"`
	Bytes    int64     `json:"bytes"`
	Err      string    `json:"error,omitempty"`
}

// A SweepStatus is the answer to GET /gc.
type SweepStatus struct {
	Running bool   `json:"running"`
	Last    *Sweep `json:"last,omitempty"`
}

// Whoami is who the server takes the caller for.
type Whoami struct {
	Principal string     `json:"principal"`
	Groups    []string   `json:"groups"`
	Admin     bool       `json:"admin"`
	Method    string     `json:"method"` // how it was proven: "password", "key", "session"
	KeyID     string     `json:"keyId,omitempty"`
	SessionID string     `json:"sessionId,omitempty"`
	Narrowed  bool       `json:"narrowed"` // the credential may do less than its owner
	Expires   *time.Time `json:"expires,omitempty"`
}

// A Problem is an error as the server describes it (RFC 9457).
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Errors says what is wrong where, in a document that was sent.
	Errors []FieldError `json:"errors,omitempty"`
}

// A FieldError is what is wrong at one place of a document. Line 1 is the
// first; 0 is unknown.
type FieldError struct {
	Line   int    `json:"line,omitempty"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// Error gives the detail on one line, without Errors, for a terminal: text of
// the server is escaped.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = fmt.Sprintf("the server answered %d", p.Status)
	}
	text = Printable(text)
	if p.RequestID != "" && !strings.Contains(text, p.RequestID) { // the token service says it itself
		text += " (request " + Printable(p.RequestID) + ")"
	}
	return text
}

// String gives the whole on one line, for a terminal: text of the server is
// escaped.
func (e FieldError) String() string {
	switch {
	case e.Line > 0 && e.Field != "":
		return fmt.Sprintf("line %d: %s: %s", e.Line, Printable(e.Field), Printable(e.Detail))
	case e.Line > 0:
		return fmt.Sprintf("line %d: %s", e.Line, Printable(e.Detail))
	}
	return Printable(e.Detail)
}
