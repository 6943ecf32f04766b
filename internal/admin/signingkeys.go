package admin

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/token"
)

func signingKeyView(k token.KeyStatus) client.SigningKey {
	return client.SigningKey{
		ID: k.ID, State: string(k.State), Created: k.Created.UTC(), Activates: k.Activates.UTC(),
		Retires: when(k.Retires), Ends: when(k.Ends),
	}
}

func (c *call) listSigningKeys() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	keys, err := c.door.Tokens.SigningKeys(c.r.Context())
	if err != nil {
		return err
	}
	all := make([]client.SigningKey, 0, len(keys))
	for _, k := range keys {
		all = append(all, signingKeyView(k))
	}
	page, err := cut(all, n, after, func(k client.SigningKey) string { return k.ID })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

func (c *call) rotateSigningKey() error {
	var in client.Rotation
	if err := c.readJSON(&in); err != nil {
		return err
	}
	rotate := c.door.Tokens.RotateSigningKey
	if in.Now {
		rotate = c.door.Tokens.RotateSigningKeyNow
	}
	next, err := rotate(c.r.Context())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, signingKeyView(next))
}

func (c *call) revokeSigningKey() error {
	if err := c.door.Tokens.RevokeSigningKey(c.r.Context(), c.r.PathValue("id")); err != nil {
		return err
	}
	return c.done()
}

// showKeySet answers with the document that /.well-known/jwks.json has.
func (c *call) showKeySet() error {
	document, err := c.door.Tokens.KeySet(c.r.Context())
	if err != nil {
		return err
	}
	c.write(http.StatusOK, "application/json", document)
	return nil
}
