package access

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"
)

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
	External  Kind = "external" // proven by a trusted issuer; no account of ours
)

// A Principal is who a request acts for, once proven. The zero value is
// anonymous.
type Principal struct {
	ID
	Kind Kind
	// UID identifies a local account for ever: a name that is used again gets
	// another UID. "" for anonymous.
	UID    string
	Groups []string // local groups, sorted; an external principal is in none
	// Claims are what the issuer says about an external principal.
	Claims map[string]string
}

// ExternalPrincipal returns who a trusted issuer calls name. Its UID comes of
// both, so that it is the same on every process and no local account's.
func ExternalPrincipal(issuer, name string, claims map[string]string) Principal {
	// The length keeps "ab"+"c" and "a"+"bc" apart.
	sum := sha256.Sum256([]byte(strconv.Itoa(len(issuer)) + ":" + issuer + name))
	uid := "x" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	return Principal{ID: ID{Issuer: issuer, Name: name}, Kind: External, UID: uid, Claims: claims}
}

// IsExternalUID reports whether uid is one that ExternalPrincipal makes.
func IsExternalUID(uid string) bool { return len(uid) == 1+52 && uid[0] == 'x' }

// IsAnonymous reports whether nobody was proven.
func (p Principal) IsAnonymous() bool { return p.Kind == Anonymous }

// String returns "user:alice", "robot:ci", "external:NAME (ISSUER)" or
// "anonymous".
func (p Principal) String() string {
	switch p.Kind {
	case Anonymous:
		return "anonymous"
	case External:
		return string(p.Kind) + ":" + p.Name + " (" + p.Issuer + ")"
	}
	return string(p.Kind) + ":" + p.Name
}

// A Proof says how a principal was proven, so that revoking the credential
// ends what came of it. The zero value is "no credential" (anonymous) .
type Proof struct {
	Method string // "password", "key", "session", "certificate", MethodIDToken, "sso"
	KeyID  string // access key it came from, or ""
	// SessionID is the identity token it came from, or "". A session that was
	// begun with an access key has both.
	SessionID string
	// PasswordSet is, for the methods "password" and "sso", the account's
	// Account.PasswordSet of then: with another one, the proof is void. It changes
	// with the password, and when the account is logged out everywhere.
	PasswordSet time.Time
	// Certificate is, for the method "certificate", the SHA-256 of the client
	// certificate in hexadecimal.
	Certificate string
	// Trust is what an external principal was verified with, as federation writes
	// and reads it: of an ID token "NAME@REVISION" of the trusted issuer's
	// definition. A session that was begun with one has it too.
	Trust string
	// Issuer and Subject are, for the method "sso", who vouched for whom.
	Issuer, Subject string
}

// MethodIDToken is the Proof.Method of a trusted issuer's token.
const MethodIDToken = "id-token"

// An Identity is the answer of gate one: who, proven how, narrowed to what.
type Identity struct {
	Principal Principal
	Proof     Proof
	Narrowing Narrowing
	// Expires is when the credential itself ends; zero means it does not.
	// Nothing that is issued for it may live longer, but for SessionLife.
	Expires time.Time
	// SessionLife is how long an identity token for an external principal may
	// live: a job runs on after its own token ended. 0: it gets none.
	SessionLife time.Duration
}
