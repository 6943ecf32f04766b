package admin

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/token"
)

// owner returns the UID that the parameter "owner" selects, "" for everybody.
// Others than oneself are for administrators.
func (c *call) owner() (uid string, err error) {
	given := c.query.Get("owner")
	if given == "" || given == c.principal().String() {
		return c.principal().UID, nil
	}
	if err := c.authority.CheckManage(access.Admin, ""); err != nil {
		return "", err
	}
	if given == client.Everybody {
		return "", nil
	}
	n, err := parseName("query parameter owner", given)
	if err != nil {
		return "", err
	}
	a, err := c.door.Accounts.Find(c.r.Context(), n)
	return a.UID, err
}

func (c *call) listKeys() error {
	return listOwned(c, c.door.Accounts.ListKeys, keyView, func(k client.Key) string { return k.ID })
}

func (c *call) listSessions() error {
	return listOwned(c, c.door.Tokens.Sessions, sessionView, func(s client.Session) string { return s.ID })
}

// listOwned answers with a part of what an owner has.
func listOwned[R, V any](c *call, read func(context.Context, string) ([]R, error), view func(R) V, name func(V) string) error {
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
		all = append(all, view(row))
	}
	page, err := cut(all, n, after, name)
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
	if owner != c.own() {
		if err := c.authority.CheckManage(access.Admin, ""); err != nil {
			return err
		}
	}
	own := owner == c.own()
	if own && c.authority.Identity.Proof.KeyID != "" {
		return errKeyOfKey
	}
	narrowing, err := access.NewNarrowing(in.Repositories, in.Actions, nil)
	if err != nil {
		return badRequest("%s", err) // its text is fit for the client
	}
	if in.ExpiresIn < 0 || in.ExpiresIn > math.MaxInt64/int64(time.Second) {
		return badRequest("field \"expiresIn\": want seconds, at least 60")
	}
	k, secret, err := c.door.Accounts.CreateKey(c.r.Context(), owner, account.NewKey{
		Label: in.Label, Life: time.Duration(in.ExpiresIn) * time.Second, Narrowing: narrowing,
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
	return c.json(http.StatusCreated, client.CreatedKey{Key: keyView(k), Secret: client.Secret{Secret: secret}})
}

// errKeyOfKey: a key that a key made would go on after that was revoked (I-19).
var errKeyOfKey = refuse(http.StatusForbidden, "denied", "this login comes from an access key; log in with a password to create keys for yourself")

func (c *call) revokeKey() error {
	id := c.r.PathValue("id")
	k, err := c.door.Accounts.Key(c.r.Context(), id)
	if err != nil {
		return err
	}
	// Another's key is, to everybody but administrators, one that does not exist.
	if k.AccountID != c.principal().UID && !c.authority.MayManage(access.Admin, "") {
		return account.ErrUnknown
	}
	if err := c.door.Accounts.RevokeKey(c.r.Context(), id); err != nil {
		return err
	}
	return c.done()
}

// revokeSession ends a session. A narrowed credential may end the one it came
// from, which is how it logs out, and nothing else.
func (c *call) revokeSession() error {
	id := c.r.PathValue("id")
	identity := c.authority.Identity
	switch {
	case id == identity.Proof.SessionID:
	case !identity.Narrowing.IsZero() && !c.authority.MayManage(access.Admin, ""):
		return errNarrowed
	case !c.authority.MayManage(access.Admin, ""):
		mine, err := c.door.Tokens.Sessions(c.r.Context(), c.principal().UID)
		if err != nil {
			return err
		}
		if !hasSession(mine, id) {
			return token.ErrUnknown
		}
	}
	if err := c.door.Tokens.RevokeSession(c.r.Context(), id); err != nil {
		return err
	}
	return c.done()
}

func hasSession(sessions []token.Session, id string) bool {
	for _, s := range sessions {
		if s.ID == id {
			return true
		}
	}
	return false
}

func keyView(k account.Key) client.Key {
	v := client.Key{
		ID: k.ID, Owner: k.Owner, Label: k.Label,
		Repositories: list(k.Narrowing.Repositories), Actions: []string{},
		Created: k.Created.UTC(), Expires: k.Expires.UTC(), Revoked: when(k.Revoked), LastUsed: when(k.LastUsed),
	}
	for _, a := range k.Narrowing.Actions {
		v.Actions = append(v.Actions, string(a))
	}
	return v
}

func sessionView(s token.Session) client.Session {
	return client.Session{
		ID: s.ID, Owner: s.Owner, Client: s.Client, KeyID: s.KeyID,
		Created: s.Created.UTC(), Expires: s.Expires.UTC(), Revoked: when(s.Revoked), LastUsed: when(s.LastUsed),
	}
}
