package access

import "time"

// An ID names a principal for ever; it is comparable and safe to log.
type ID struct {
	Issuer string // "" for a local account, else the trusted issuer's URL
	Name   string // account name, or the issuer's "sub"
}

// A Kind tells people from machines; policy subjects are written "kind:name".
type Kind string

// The kinds of principals. Anonymous is the zero value.
const (
	Anonymous Kind = ""
	User      Kind = "user"
	Robot     Kind = "robot"
)

// A Principal is who a request acts for, once proven. The zero value is
// anonymous.
type Principal struct {
	ID
	Kind Kind
	// UID identifies a local account for ever: a name that is used again gets
	// another UID. "" for anonymous.
	UID    string
	Groups []string // local groups, sorted
}

// IsAnonymous reports whether nobody was proven.
func (p Principal) IsAnonymous() bool { return p.Kind == Anonymous }

// String returns "user:alice", "robot:ci" or "anonymous".
func (p Principal) String() string {
	if p.IsAnonymous() {
		return "anonymous"
	}
	return string(p.Kind) + ":" + p.Name
}

// A Proof says how a principal was proven, so that revoking the credential
// ends what came of it. The zero value is "no credential" (anonymous) .
type Proof struct {
	Method string // "password", "key", "session"
	KeyID  string // access key it came from, or ""
	// SessionID is the identity token it came from, or "". A session that was
	// begun with an access key has both.
	SessionID string
	// PasswordSet is, for the method "password", the Account.PasswordSet of the
	// password that was proven: with another one, the proof is void.
	PasswordSet time.Time
}

// An Identity is the answer of gate one: who, proven how, narrowed to what.
type Identity struct {
	Principal Principal
	Proof     Proof
	Narrowing Narrowing
	// Expires is when the credential itself ends; zero means it does not.
	// Nothing that is issued for it may live longer.
	Expires time.Time
}
