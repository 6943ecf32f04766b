// Package account owns local people and robots, their groups, password hashes
// and access keys, and the versions of the policy that names them.
package account

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/lastuse"
)

// Errors that callers tell apart.
var (
	ErrUnknown  = errors.New("no such account, group or key")
	ErrExists   = errors.New("the name is taken")
	ErrRetired  = errors.New("the name belonged to a removed account that the policy still names")
	ErrConflict = errors.New("the policy was changed since the version this one is based on")
	ErrGroups   = errors.New("the account is in as many groups as it may be")
	ErrKeyName  = errors.New("another live key of the owner has the name")
	ErrLinked   = errors.New("the identity is another account's")
	ErrLastLink = errors.New("the identity is the only way in to the account")
)

// A RotatedError refuses a third live key in one line: Other, which the key
// follows or which follows it, lives.
type RotatedError struct{ Other string }

func (e *RotatedError) Error() string {
	return "key " + e.Other + " of the same line is alive: wait for its end, or revoke it first"
}

// An Account is a local person or machine. PasswordHash is a PHC string
// ($argon2id$… or bcrypt's $2…), or "" for an account that has none.
type Account struct {
	UID          string // random, for ever
	Name         string
	Kind         access.Kind // User or Robot
	PasswordHash string
	// PasswordSet is when the password was last replaced or what it had proved was
	// voided, in microseconds, or the zero time if neither ever was. No two
	// passwords of an account share it.
	PasswordSet time.Time
	Disabled    bool
	Created     time.Time
	Groups      []string // sorted
	Links       []Link   // filled in by Find and List alone
}

// A Key is an access key as it is stored. The zero Revoked means alive until
// Expires.
type Key struct {
	ID        string // public, safe to log
	AccountID string // the owner's UID
	Owner     string // "robot:ci"; filled in by look-ups
	// Name tells an owner's live keys apart; a successor has that of the key it
	// follows. "" is no name.
	Name      string
	Sum       [32]byte // SHA-256 of the secret
	Narrowing access.Narrowing
	// Creator made the key, and CreatorKey is the access key it came with, or "".
	// A key that rotated itself is the CreatorKey of its successor.
	Creator    string // "user:admin"
	CreatorKey string
	Created    time.Time
	Life       time.Duration // what it was given; its successor gets as much
	Expires    time.Time     // sooner than its life when it was rotated
	Family     string        // id of the key that its line of successors began with
	Successor  string        // id of the key that it was rotated to, or ""
	Revoked    time.Time
	LastUsed   Use
}

// Alive reports whether the key has not ended at now.
func (k Key) Alive(now time.Time) bool { return k.Revoked.IsZero() && now.Before(k.Expires) }

// A Use is when and from where a key was last used.
type Use = lastuse.Use

// A PolicyVersion is one applied policy document.
type PolicyVersion struct {
	Version  int64
	Document string // YAML exactly as applied
	Author   string // principal, "user:admin"
	Reason   string // why, in the author's words, or ""
	Applied  time.Time
}

// A Directory is the rows of accounts, groups, keys and policies. Every method
// is one durable transaction. A method that takes rights away, or gives them,
// also advances the generation (access.Changes) in the same transaction.
type Directory interface {
	Accounts
	People
	Groups
	Passwords
	Networks
	Decoys
	Keys
	KeyLife
	Policies
}

// Accounts are people and robots.
type Accounts interface {
	// AddAccounts adds all of them or none. Errors: ErrExists.
	AddAccounts(ctx context.Context, as ...Account) error
	// AccountByName and AccountByUID errors: ErrUnknown.
	AccountByName(ctx context.Context, name string) (Account, error)
	AccountByUID(ctx context.Context, uid string) (Account, error)
	// ListAccounts returns accounts of one kind ordered by name, at most limit,
	// after the given name.
	ListAccounts(ctx context.Context, kind access.Kind, after string, limit int) ([]Account, error)
	// SetDisabled errors: ErrUnknown. Disabling also ends every session of the
	// account and advances PasswordSet, so that enabling revives nothing but keys.
	SetDisabled(ctx context.Context, uid string, disabled bool) error
	// SetPassword replaces the hash, ends every session of the account, and
	// advances PasswordSet to at, or just past the old one if that is not
	// earlier. Errors: ErrUnknown.
	SetPassword(ctx context.Context, uid, hash string, at time.Time) error
	// Rehash replaces the hash from by another one of the same password, and
	// ends nothing. A hash that changed meanwhile is not an error.
	Rehash(ctx context.Context, uid, from, to string) error
	// RemoveAccount removes the account with its keys, sessions and
	// memberships, and retires its name. Errors: ErrUnknown.
	RemoveAccount(ctx context.Context, uid string) error
}

// A Reset is a one-time code with which a person sets a password, as it is stored.
type Reset struct {
	Sum       [32]byte // SHA-256 of the code
	AccountID string   // the person's UID
	Name      string   // filled in by look-ups
	Expires   time.Time
}

// Passwords change by what somebody has shown for it.
type Passwords interface {
	// ChangePassword is Accounts.SetPassword for who has shown the password that was
	// set at proven. Errors: ErrUnknown when that is no longer the account's, or the
	// account disabled.
	ChangePassword(ctx context.Context, uid string, proven time.Time, hash string, at time.Time) error
	// SaveReset stores a code in place of the account's last one. Disabling the
	// account, and each change of its password, forgets it. Errors: ErrUnknown, also
	// when the account is disabled.
	SaveReset(ctx context.Context, r Reset) error
	// ResetBySum errors: ErrUnknown. Expired codes are returned: the caller judges.
	ResetBySum(ctx context.Context, sum [32]byte) (Reset, error)
	// Redeem is Accounts.SetPassword for the code, which is then gone. Of those who
	// redeem it at the same moment one succeeds. Errors: ErrUnknown when the code
	// is not the account's any more, or has expired at at, or the account is
	// disabled.
	Redeem(ctx context.Context, r Reset, hash string, at time.Time) error
}

// A Link says that who a provider calls Subject is an account of ours.
type Link struct {
	AccountID       string // its UID
	Provider        string // as it was configured when it vouched last
	Issuer, Subject string // no two links share both
	// Groups are of the form "PROVIDER/NAME", sorted. They are members by the
	// provider's word alone, and not of local groups.
	Groups  []string
	Checked time.Time // when the provider vouched last, or zero
	// Renewal is what the provider is asked with again, sealed under the
	// key-encryption key KEK, or nil.
	Renewal []byte
	KEK     string
}

// People are accounts that providers vouch for.
type People interface {
	// AddPerson adds the account that l, which names it, is of. Errors: ErrExists
	// when the name is taken; ErrLinked; ErrGroups.
	AddPerson(ctx context.Context, a Account, l Link) error
	// Person returns the account that is linked to an identity, and the link.
	// Errors: ErrUnknown.
	Person(ctx context.Context, issuer, subject string) (Account, Link, error)
	// Links returns the links of the accounts with names from first to last, by UID.
	Links(ctx context.Context, first, last string) (map[string][]Link, error)
	// AddLink links an account. Twice is not an error. Errors: ErrUnknown; ErrLinked.
	AddLink(ctx context.Context, l Link) error
	// RemoveLink also takes away what came of the link: its groups, and as
	// SetDisabled does the sessions. Errors: ErrUnknown; ErrLastLink when the account
	// has neither another link nor a password.
	RemoveLink(ctx context.Context, uid, issuer, subject string, at time.Time) error
	Vouching
}

// Vouching is what providers say of people from time to time.
type Vouching interface {
	// Vouch replaces all that the provider says: the link's name of it, groups,
	// time, renewal. The generation advances when groups change. Unless old is zero
	// the link must still be as it was Checked then. Errors: ErrUnknown; ErrGroups.
	Vouch(ctx context.Context, l Link, old time.Time) error
	// BeginCheck lets one of those who would ask the provider at the same moment do
	// so: nobody else until patience is over.
	BeginCheck(ctx context.Context, l Link, at time.Time, patience time.Duration) (bool, error)
	// KeepRenewal replaces what the provider is asked with, of a link that is still as
	// it was Checked.
	KeepRenewal(ctx context.Context, l Link) error
	// Withdraw takes away what the provider, which vouches no more, gave: groups,
	// renewal, sessions, and that it ever vouched. A link that it vouched for since is left alone.
	Withdraw(ctx context.Context, l Link, at time.Time) error
	// KeepGroups takes away the groups that other providers than these gave. The
	// generation advances when there are any.
	KeepGroups(ctx context.Context, issuers []string) error
	// Trespassers returns the name of an account, and of a local group, at or below
	// the name of a provider which are not of that issuer; or "".
	Trespassers(ctx context.Context, provider, issuer string) (account, group string, err error)
}

// Groups are local groups; one exists while it has members.
type Groups interface {
	// AddMember errors: ErrUnknown; ErrGroups beyond MaxGroups. Twice is not an
	// error.
	AddMember(ctx context.Context, group, uid string) error
	// RemoveMember errors: ErrUnknown when it was not a member.
	RemoveMember(ctx context.Context, group, uid string) error
	// ListGroups returns group → members ("user:alice"), sorted; those of providers
	// too.
	ListGroups(ctx context.Context) (map[string][]string, error)
	// IsRetired reports whether an account of this name was removed.
	IsRetired(ctx context.Context, name string) (bool, error)
}

// Networks are where people proved their passwords from, written "192.0.2.7/32".
type Networks interface {
	// NamesAt returns the accounts that came from network since the given time,
	// by name, and when that was noted; the newest limit of them.
	NamesAt(ctx context.Context, network string, since time.Time, limit int) (map[string]time.Time, error)
	// NoteNetwork records that an account came from network, and forgets all but
	// the newest keep of its networks. An account that was removed is no error.
	NoteNetwork(ctx context.Context, uid, network string, at time.Time, keep int) error
}

// Decoys is what the work done for names without accounts is made of.
type Decoys interface {
	// DecoyKey returns random bytes that were made with the database.
	DecoyKey(ctx context.Context) ([]byte, error)
	// EachPasswordHash calls fn with the hash of every account that has one.
	EachPasswordHash(ctx context.Context, fn func(hash string)) error
}

// Keys are access keys.
type Keys interface {
	// AddKey errors: ErrUnknown; ErrKeyName when the owner has another live key of
	// that name.
	AddKey(ctx context.Context, k Key) error
	// KeyBySum and KeyByID errors: ErrUnknown. Revoked and expired keys are
	// returned: the caller judges.
	KeyBySum(ctx context.Context, sum [32]byte) (Key, error)
	KeyByID(ctx context.Context, id string) (Key, error)
	// ListKeys returns the keys of one account, or of all for uid "", newest first.
	ListKeys(ctx context.Context, uid string) ([]Key, error)
	// EndingKeys returns at most limit of the keys that are alive at now and have no
	// successor, those that end first.
	EndingKeys(ctx context.Context, now time.Time, limit int) ([]Key, error)
}

// KeyLife is what happens to access keys until their end.
type KeyLife interface {
	// RotateKey adds next as the successor of the key id, which then ends at end or
	// sooner. It is narrowed as that key is then, not as next says, and that is
	// returned. Errors: ErrUnknown when the key is not alive at next.Created;
	// *RotatedError when another key of next.Family is.
	RotateKey(ctx context.Context, id string, next Key, end time.Time) (access.Narrowing, error)
	// NarrowKey replaces the narrowing. Errors: ErrUnknown when it is not from.
	NarrowKey(ctx context.Context, id string, from, to access.Narrowing) error
	// RevokeKey ends a key, the successors that were made with it and theirs, and
	// the sessions begun with any of these. A live key that it was the successor of
	// has none then. Errors: ErrUnknown.
	RevokeKey(ctx context.Context, id string, at time.Time) error
	// TouchKeys records last uses in one transaction; older ones are ignored.
	TouchKeys(ctx context.Context, used map[string]Use) error
	// DropKeys deletes at most limit keys that ended before then, and returns how
	// many.
	DropKeys(ctx context.Context, before time.Time, limit int) (int, error)
}

// Policies are the versions of the policy document.
type Policies interface {
	// LatestPolicy errors: ErrUnknown when none was ever applied.
	LatestPolicy(ctx context.Context) (PolicyVersion, error)
	// PolicyByVersion errors: ErrUnknown.
	PolicyByVersion(ctx context.Context, version int64) (PolicyVersion, error)
	// ListPolicies returns versions below before, newest first and at most limit,
	// without their documents.
	ListPolicies(ctx context.Context, before int64, limit int) ([]PolicyVersion, error)
	// SavePolicy stores v as version base+1. Errors: ErrConflict unless base is
	// the latest version (0 when there is none).
	SavePolicy(ctx context.Context, v PolicyVersion, base int64) (PolicyVersion, error)
}
