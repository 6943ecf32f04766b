package admin

import (
	"github.com/sallyport/sallyport/internal/client"
)

// link lets somebody whom a provider vouches for sign in as a person, which is a
// credential of that person.
func (c *call) link() error {
	var in client.NewLink
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if c.target() == c.own() {
		return errOwnAccount
	}
	if err := c.mayCommand(c.target()); err != nil {
		return err
	}
	c.event.Set("issuer", in.Issuer)
	c.event.Set("subject", in.Subject)
	if err := c.door.Accounts.Link(c.r.Context(), c.name("name"), in.Issuer, in.Subject); err != nil {
		return err
	}
	return c.done()
}

func (c *call) unlink() error {
	q := c.r.URL.Query()
	c.event.Set("issuer", q.Get("issuer"))
	c.event.Set("subject", q.Get("subject"))
	if err := c.door.Accounts.Unlink(c.r.Context(), c.name("name"), q.Get("issuer"), q.Get("subject")); err != nil {
		return err
	}
	return c.done()
}
