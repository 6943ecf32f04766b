package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/token"
)

// mayTouch reports whether things of an account are the caller's own, used with
// a credential that is not narrowed, or in the caller's charge by the route's
// right. Another's are, to everybody else, things that do not exist.
func (c *call) mayTouch(uid, owner string) bool {
	own := uid == c.principal().UID && c.authority.Identity.Narrowing.IsZero()
	return own || c.manage(nameOf(owner)) == nil
}

// nameOf returns "team-a/ci" for "robot:team-a/ci". Who has no account here has no
// name in the tree, however their issuer calls them: "", the whole registry.
func nameOf(principal string) string {
	kind, name, _ := strings.Cut(principal, ":")
	if access.Kind(kind) == access.External {
		return ""
	}
	return name
}

// owner returns the UID that the parameter "owner" selects, "" for everybody in
// the caller's charge.
func (c *call) owner() (uid string, err error) {
	right, given := c.route.who.right, c.query.Get("owner")
	switch given {
	case client.Everybody:
		return "", c.authority.CheckManageAny(right)
	case "", c.principal().String():
		if c.authority.Identity.Narrowing.IsZero() {
			return c.principal().UID, nil
		}
		given = c.principal().String()
	}
	if p, err := access.ParsePrincipal(given); err == nil && p.Kind == access.External {
		return p.UID, c.manage(nameOf(given))
	}
	n, err := parseName("query parameter owner", given)
	if err != nil {
		return "", err
	}
	if err := c.manage(n.Name); err != nil {
		return "", err
	}
	a, err := c.door.Accounts.Find(c.r.Context(), n)
	return a.UID, err
}

func (c *call) listKeys() error {
	if c.query.Has("sum") {
		return c.findKey()
	}
	return listOwned(c, c.door.Accounts.ListKeys, c.keyView, func(k client.Key) (string, string) { return k.ID, k.Owner })
}

// findKey answers with the key whose secret has a SHA-256, or with an empty list:
// for what nobody may see too.
func (c *call) findKey() error {
	raw, err := hex.DecodeString(c.query.Get("sum"))
	if err != nil || len(raw) != sha256.Size {
		return badRequest("query parameter sum: want the SHA-256 of a key in hexadecimal")
	}
	if c.query.Has("owner") || c.query.Has("n") || c.query.Has("after") {
		return badRequest("query parameter sum stands alone")
	}
	page := client.Page[client.Key]{Items: []client.Key{}}
	k, err := c.door.Accounts.KeyOfSecret(c.r.Context(), [sha256.Size]byte(raw))
	switch {
	case err == nil && c.mayTouch(k.AccountID, k.Owner):
		page.Items = append(page.Items, c.keyView(k))
	case err != nil && !errors.Is(err, account.ErrUnknown):
		return err
	}
	return c.json(http.StatusOK, page)
}

// comesWith reports whether the request came with that very key, not with a
// session begun with it.
func (c *call) comesWith(id string) bool {
	proof := c.authority.Identity.Proof
	return proof.Method == "key" && proof.KeyID == id
}

// managedKey returns the key that the path names. Errors: account.ErrUnknown.
func (c *call) managedKey() (account.Key, error) {
	k, err := c.door.Accounts.Key(c.r.Context(), c.r.PathValue("id"))
	if err == nil && !c.comesWith(k.ID) && !c.mayTouch(k.AccountID, k.Owner) {
		err = account.ErrUnknown
	}
	if err == nil {
		c.event.Set("owner", k.Owner)
	}
	return k, err
}

// creator returns who makes a key now.
func (c *call) creator() account.Creator {
	return account.Creator{Principal: c.principal().String(), KeyID: c.authority.Identity.Proof.KeyID}
}

// readAtOnce is how many sessions are read to find those in the caller's charge;
// readAtMost bounds that for one request, whose answer may then hold few, and says
// where to go on.
const (
	readAtOnce = maxPage + 1
	readAtMost = 20 * readAtOnce
)

func (c *call) listSessions() error {
	n, text, err := c.page()
	if err != nil {
		return err
	}
	after, ok := token.ParsePlace(text)
	if text == "" {
		after = token.Place{}
	} else if !ok {
		return badRequest("query parameter after: want what \"next\" said")
	}
	uid, err := c.owner()
	if err != nil {
		return err
	}
	size := n + 1
	if uid == "" {
		size = readAtOnce
	}
	page, last := client.Page[client.Session]{Items: []client.Session{}}, token.Place{}
	for read := 0; read < readAtMost; read += size {
		sessions, err := c.door.Tokens.Sessions(c.r.Context(), uid, after, size)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			after = s.Place()
			if uid == "" && !c.authority.MayManage(c.route.who.right, nameOf(s.Owner)) {
				continue
			}
			if len(page.Items) == n {
				page.Next = last.String()
				return c.json(http.StatusOK, page)
			}
			page.Items, last = append(page.Items, sessionView(s)), after
		}
		if len(sessions) < size {
			return c.json(http.StatusOK, page)
		}
	}
	page.Next = after.String()
	return c.json(http.StatusOK, page)
}

// listOwned answers with a part of what an owner has, or of what everybody in the
// caller's charge has.
func listOwned[R, V any](c *call, read func(context.Context, string) ([]R, error), view func(R) V, of func(V) (id, owner string)) error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	uid, err := c.owner()
	if err != nil {
		return err
	}
	rows, err := read(c.r.Context(), uid)
	if err != nil {
		return err
	}
	all := make([]V, 0, len(rows))
	for _, row := range rows {
		v := view(row)
		if _, owner := of(v); uid != "" || c.authority.MayManage(c.route.who.right, nameOf(owner)) {
			all = append(all, v)
		}
	}
	page, err := cut(all, n, after, func(v V) string { id, _ := of(v); return id })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

func (c *call) createKey() error {
	var in client.NewKey
	if err := c.readJSON(&in); err != nil {
		return err
	}
	owner := c.own()
	if in.Owner != "" {
		var err error
		if owner, err = parseName("field \"owner\"", in.Owner); err != nil {
			return err
		}
	}
	own := owner == c.own()
	if !own {
		if err := c.manage(owner.Name); err != nil {
			return err
		}
		if err := c.mayCommand(owner); err != nil {
			return err
		}
	}
	if own && c.authority.Identity.Proof.KeyID != "" {
		return errKeyOfKey
	}
	narrowing, err := access.NewNarrowing(in.Repositories, in.Actions, in.Networks)
	if err != nil {
		return badRequest("%s", err) // its text is fit for the client
	}
	if in.ExpiresIn < 0 || in.ExpiresIn > math.MaxInt64/int64(time.Second) {
		return badRequest("field \"expiresIn\": want seconds, at least 60")
	}
	k, secret, err := c.door.Accounts.CreateKey(c.r.Context(), owner, account.NewKey{
		Name: in.Name, Life: time.Duration(in.ExpiresIn) * time.Second, Narrowing: narrowing, Creator: c.creator(),
	})
	if err != nil {
		return err
	}
	if own && k.AccountID != c.principal().UID {
		// The name was given to somebody else a moment ago. Nobody has seen the
		// secret, and the key ends here.
		if err := c.door.Accounts.RevokeKey(context.WithoutCancel(c.r.Context()), k.ID); err != nil {
			return err
		}
		return access.ErrInvalidToken
	}
	return c.json(http.StatusCreated, client.CreatedKey{Key: c.keyView(k), Secret: client.Secret{Secret: secret}})
}

// errKeyOfKey: a key that a key made would go on after that was revoked (I-19).
var errKeyOfKey = refuse(http.StatusForbidden, "denied", "this login comes from an access key; log in with a password to create keys for yourself")

func (c *call) revokeKey() error {
	k, err := c.managedKey()
	if err != nil {
		return err
	}
	if err := c.door.Accounts.RevokeKey(c.r.Context(), k.ID); err != nil {
		return err
	}
	return c.done()
}

// narrowKey takes rights from a key.
func (c *call) narrowKey() error {
	var in client.KeyChange
	if err := c.readJSON(&in); err != nil {
		return err
	}
	to, err := access.NewNarrowing(in.Repositories, in.Actions, in.Networks)
	if err != nil {
		return badRequest("%s", err) // its text is fit for the client
	}
	if to.IsZero() {
		return badRequest("nothing to narrow to: give repositories, actions or networks")
	}
	k, err := c.managedKey()
	if err != nil {
		return err
	}
	c.event.Set("to", to.String())
	if k, err = c.door.Accounts.NarrowKey(c.r.Context(), k.ID, to); err != nil {
		return err
	}
	return c.json(http.StatusOK, c.keyView(k))
}

// defaultOverlap is how long a rotated key lives on unless asked otherwise.
const defaultOverlap = 24 * time.Hour

// rotateKey makes a successor. A key may do that for itself, however narrowed: the
// successor may do no more, and revoking the key ends it too (I-19). It must be
// the key that comes, not a session begun with it, whose end would leave the
// successor alive.
func (c *call) rotateKey() error {
	var in client.KeyRotation
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if in.Overlap < 0 || in.Overlap > math.MaxInt64/int64(time.Second) {
		return badRequest("field \"overlap\": want seconds, at least 60")
	}
	itself := c.comesWith(c.r.PathValue("id"))
	if !itself {
		if err := c.beyondItself(); err != nil {
			return err
		}
	}
	k, err := c.managedKey()
	if err != nil {
		return err
	}
	if !itself && k.AccountID == c.principal().UID && c.authority.Identity.Proof.KeyID != "" {
		return errKeyOfKey
	}
	if k.AccountID != c.principal().UID {
		owner, err := parseName("owner", k.Owner)
		if err != nil {
			return err
		}
		if err := c.mayCommand(owner); err != nil {
			return err
		}
	}
	overlap := cmp.Or(time.Duration(in.Overlap)*time.Second, defaultOverlap)
	next, secret, err := c.door.Accounts.RotateKey(c.r.Context(), k.ID, overlap, c.creator())
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, client.CreatedKey{Key: c.keyView(next), Secret: client.Secret{Secret: secret}})
}

// revokeSessions logs an account out everywhere.
func (c *call) revokeSessions() error {
	if c.query.Get("owner") == client.Everybody {
		return badRequest("query parameter owner: want one account")
	}
	uid, err := c.owner()
	if err != nil {
		return err
	}
	c.event.Object = cmp.Or(c.query.Get("owner"), c.principal().String())
	n, err := c.door.Tokens.RevokeSessions(c.r.Context(), uid)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, client.EndedSessions{Ended: n})
}

// revokeSession ends a session. A narrowed credential may end the one it came
// from, which is how it logs out.
func (c *call) revokeSession() error {
	id := c.r.PathValue("id")
	if id != c.authority.Identity.Proof.SessionID {
		if err := c.beyondItself(); err != nil {
			return err
		}
		s, err := c.door.Tokens.Session(c.r.Context(), id)
		if err != nil {
			return err
		}
		if !c.mayTouch(s.AccountID, s.Owner) {
			return token.ErrUnknown
		}
		c.event.Set("owner", s.Owner)
	}
	if err := c.door.Tokens.RevokeSession(c.r.Context(), id); err != nil {
		return err
	}
	return c.done()
}

// beyondItself refuses a narrowed credential that has no right over anything
// but itself.
func (c *call) beyondItself() error {
	if !c.authority.Identity.Narrowing.IsZero() && c.authority.CheckManageAny(c.route.who.right) != nil {
		return errNarrowed
	}
	return nil
}

func (c *call) keyView(k account.Key) client.Key {
	v := client.Key{
		ID: k.ID, Owner: k.Owner, Name: k.Name,
		Repositories: list(k.Narrowing.Repositories), Actions: []string{}, Networks: []string{},
		Creator: k.Creator, CreatorKey: k.CreatorKey, Successor: k.Successor,
		Created: k.Created.UTC(), Expires: k.Expires.UTC(), Revoked: when(k.Revoked),
		LastUsed: when(k.LastUsed.Time), LastAddress: k.LastUsed.Address, LastAgent: k.LastUsed.Agent,
		Warnings: list(c.door.Accounts.Warnings(k)),
	}
	for _, a := range k.Narrowing.Actions {
		v.Actions = append(v.Actions, string(a))
	}
	for _, p := range k.Narrowing.Networks {
		v.Networks = append(v.Networks, p.String())
	}
	return v
}

func sessionView(s token.Session) client.Session {
	return client.Session{
		ID: s.ID, Owner: s.Owner, Client: s.Client, KeyID: s.KeyID,
		Created: s.Created.UTC(), Expires: s.Expires.UTC(), Revoked: when(s.Revoked),
		LastUsed: when(s.LastUsed.Time), LastAddress: s.LastUsed.Address, LastAgent: s.LastUsed.Agent,
	}
}
