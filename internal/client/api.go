package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Everybody selects the keys or sessions of all accounts, which only an
// administrator may see; "" selects the caller's own.
const Everybody = "all"

// kinds of accounts, as the first segment of their path.
var collections = map[string]string{"user": "users", "robot": "robots"}

// Whoami returns who the server takes us for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return get[Whoami](ctx, c, "whoami")
}

// OpenAPI returns the server's description of the admin API, in OpenAPI 3.1.
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "openapi.json")
}

// Account returns one person ("user") or machine ("robot").
func (c *Client) Account(ctx context.Context, kind, name string) (Account, error) {
	return get[Account](ctx, c, collections[kind], name)
}

// Accounts returns all people ("user") or machines ("robot"), by name.
func (c *Client) Accounts(ctx context.Context, kind string) ([]Account, error) {
	return list[Account](ctx, c, "", collections[kind])
}

// AddUser adds a person.
func (c *Client) AddUser(ctx context.Context, u NewUser) (Account, error) {
	return send[Account](ctx, c, http.MethodPost, u, "users")
}

// AddRobot adds a machine.
func (c *Client) AddRobot(ctx context.Context, name string) (Account, error) {
	return send[Account](ctx, c, http.MethodPost, NewRobot{name}, "robots")
}

// Disable takes every right from an account until Enable.
func (c *Client) Disable(ctx context.Context, kind, name string) (Account, error) {
	return c.setDisabled(ctx, kind, name, true)
}

// Enable undoes Disable.
func (c *Client) Enable(ctx context.Context, kind, name string) (Account, error) {
	return c.setDisabled(ctx, kind, name, false)
}

func (c *Client) setDisabled(ctx context.Context, kind, name string, disabled bool) (Account, error) {
	return send[Account](ctx, c, http.MethodPatch, AccountChange{&disabled}, collections[kind], name)
}

// RemoveAccount removes an account for ever.
func (c *Client) RemoveAccount(ctx context.Context, kind, name string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{collections[kind], name}}, nil)
}

// SetPassword sets a person's password and ends the person's sessions.
func (c *Client) SetPassword(ctx context.Context, name string, p NewPassword) error {
	return c.do(ctx, ask{method: http.MethodPut, path: []string{"users", name, "password"}, body: p}, nil)
}

// ResetPassword makes a one-time code with which a person sets a new password. The
// answer is the only one with the code.
func (c *Client) ResetPassword(ctx context.Context, name string) (ResetCode, error) {
	return send[ResetCode](ctx, c, http.MethodPost, nil, "users", name, "reset")
}

// Link lets who an OpenID provider vouches for sign in as a person.
func (c *Client) Link(ctx context.Context, name string, l NewLink) error {
	return c.do(ctx, ask{method: http.MethodPost, path: []string{"users", name, "links"}, body: l}, nil)
}

// Unlink undoes Link and ends the person's sessions.
func (c *Client) Unlink(ctx context.Context, name string, l NewLink) error {
	return c.do(ctx, ask{
		method: http.MethodDelete, path: []string{"users", name, "links"},
		query: url.Values{"issuer": {l.Issuer}, "subject": {l.Subject}},
	}, nil)
}

// ImportHtpasswd adds a person for each line of an htpasswd file.
func (c *Client) ImportHtpasswd(ctx context.Context, file []byte) (Imported, error) {
	var out Imported
	err := c.do(ctx, ask{
		method: http.MethodPost, path: []string{"htpasswd"}, body: file,
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
	}, &out)
	return out, err
}

// Groups returns all groups, by name.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	return list[Group](ctx, c, "", "groups")
}

// AddMember puts an account ("user:alice") into a group.
func (c *Client) AddMember(ctx context.Context, group, member string) error {
	return c.do(ctx, ask{method: http.MethodPut, path: []string{"groups", group, "members", member}}, nil)
}

// RemoveMember takes an account out of a group.
func (c *Client) RemoveMember(ctx context.Context, group, member string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{"groups", group, "members", member}}, nil)
}

// Keys returns the access keys of an owner, newest first.
func (c *Client) Keys(ctx context.Context, owner string) ([]Key, error) {
	return list[Key](ctx, c, owner, "keys")
}

// CreateKey makes an access key. The answer is the only one with its secret.
func (c *Client) CreateKey(ctx context.Context, k NewKey) (CreatedKey, error) {
	return send[CreatedKey](ctx, c, http.MethodPost, k, "keys")
}

// FindKey returns the key whose secret has a SHA-256, or none when there is no such
// key that the caller may see. The secret itself is not sent.
func (c *Client) FindKey(ctx context.Context, sum [sha256.Size]byte) ([]Key, error) {
	var page Page[Key]
	err := c.do(ctx, ask{method: http.MethodGet, path: []string{"keys"}, query: url.Values{"sum": {hex.EncodeToString(sum[:])}}}, &page)
	return page.Items, err
}

// NarrowKey takes rights from a live key.
func (c *Client) NarrowKey(ctx context.Context, id string, to KeyChange) (Key, error) {
	return send[Key](ctx, c, http.MethodPatch, to, "keys", id)
}

// RotateKey makes the successor of a live key, which lives on for a while. The
// answer is the only one with the successor's secret.
func (c *Client) RotateKey(ctx context.Context, id string, r KeyRotation) (CreatedKey, error) {
	return send[CreatedKey](ctx, c, http.MethodPost, r, "keys", id, "rotate")
}

// RevokeKey ends an access key and what came of it.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{"keys", id}}, nil)
}

// Sessions returns the sessions of an owner, newest first.
func (c *Client) Sessions(ctx context.Context, owner string) ([]Session, error) {
	return list[Session](ctx, c, owner, "sessions")
}

// RevokeSession ends a session and the tokens that came of it.
func (c *Client) RevokeSession(ctx context.Context, id string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{"sessions", id}}, nil)
}

// RevokeSessions ends all sessions of an owner, and the tokens that came of them
// or of the owner's password. "" is the caller.
func (c *Client) RevokeSessions(ctx context.Context, owner string) (EndedSessions, error) {
	var out EndedSessions
	query := url.Values{}
	if owner != "" {
		query.Set("owner", owner)
	}
	err := c.do(ctx, ask{method: http.MethodDelete, path: []string{"sessions"}, query: query}, &out)
	return out, err
}

// Policy returns the policy as it is now.
func (c *Client) Policy(ctx context.Context) (Policy, error) {
	return get[Policy](ctx, c, "policy")
}

// PolicyVersion returns one version of the policy.
func (c *Client) PolicyVersion(ctx context.Context, version int64) (Policy, error) {
	return get[Policy](ctx, c, "policy", "versions", strconv.FormatInt(version, 10))
}

// PolicyHistory returns every version of the policy, newest first.
func (c *Client) PolicyHistory(ctx context.Context) ([]PolicyVersion, error) {
	return list[PolicyVersion](ctx, c, "", "policy", "versions")
}

// ApplyPolicy replaces version base of the policy for the reason given.
func (c *Client) ApplyPolicy(ctx context.Context, document []byte, base int64, reason string) (Policy, error) {
	var out Policy
	err := c.do(ctx, ask{
		method: http.MethodPut, path: []string{"policy"}, query: url.Values{"reason": {reason}}, body: document,
		header: http.Header{
			"Content-Type": {"application/yaml"},
			"If-Match":     {strconv.Quote(strconv.FormatInt(base, 10))},
		},
	}, &out)
	return out, err
}

// Explain asks what the policy says to a request, and why.
func (c *Client) Explain(ctx context.Context, q Question) (Explanation, error) {
	return send[Explanation](ctx, c, http.MethodPost, q, "explain")
}

// ReplayPolicy asks what of the decisions since a time a document would change.
func (c *Client) ReplayPolicy(ctx context.Context, document []byte, since time.Time) (Replay, error) {
	var out Replay
	err := c.do(ctx, ask{
		method: http.MethodPost, path: []string{"policy", "replay"}, query: url.Values{"since": {since.UTC().Format(time.RFC3339)}}, body: document,
		header: http.Header{"Content-Type": {"application/yaml"}},
	}, &out)
	return out, err
}

// WhoCan asks who may do action to a repository, or to one of its tags.
func (c *Client) WhoCan(ctx context.Context, action, repository, tag string) (WhoCan, error) {
	var out WhoCan
	query := url.Values{"action": {action}, "repository": {repository}}
	if tag != "" {
		query.Set("tag", tag)
	}
	err := c.do(ctx, ask{method: http.MethodGet, path: []string{"who-can"}, query: query}, &out)
	return out, err
}

// Sweep runs a sweep and waits for its end.
func (c *Client) Sweep(ctx context.Context, r SweepRequest) (Sweep, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	return send[Sweep](ctx, c, http.MethodPost, r, "gc")
}

// SweepStatus returns what the sweeper does and last did.
func (c *Client) SweepStatus(ctx context.Context) (SweepStatus, error) {
	return get[SweepStatus](ctx, c, "gc")
}

func get[T any](ctx context.Context, c *Client, path ...string) (out T, err error) {
	err = c.do(ctx, ask{method: http.MethodGet, path: path}, &out)
	return out, err
}

func send[T any](ctx context.Context, c *Client, method string, body any, path ...string) (out T, err error) {
	err = c.do(ctx, ask{method: method, path: path, body: body}, &out)
	return out, err
}

// maxPages bounds a listing, should a server never end it.
const maxPages = 10_000

// list reads all parts of a list.
func list[T any](ctx context.Context, c *Client, owner string, path ...string) ([]T, error) {
	all := []T{}
	query := url.Values{}
	if owner != "" {
		query.Set("owner", owner)
	}
	for range maxPages {
		var page Page[T]
		if err := c.do(ctx, ask{method: http.MethodGet, path: path, query: query}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
	return nil, fmt.Errorf("the list has more than %d parts", maxPages)
}
