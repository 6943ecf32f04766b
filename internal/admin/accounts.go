package admin

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
)

// whoami says whom the caller is taken for.
func (c *call) whoami() error {
	id := c.authority.Identity
	return c.json(http.StatusOK, client.Whoami{
		Principal: id.Principal.String(),
		Groups:    list(id.Principal.Groups),
		Admin:     c.authority.MayManage(access.Admin, ""),
		Method:    id.Proof.Method,
		KeyID:     id.Proof.KeyID,
		SessionID: id.Proof.SessionID,
		Narrowed:  !id.Narrowing.IsZero(),
		Expires:   when(id.Expires),
	})
}

// kind returns which accounts the route is about.
func (c *call) kind() access.Kind {
	if strings.HasPrefix(c.r.URL.Path, client.APIPath+"/robots") {
		return access.Robot
	}
	return access.User
}

func (c *call) target() account.Name {
	return account.Name{Kind: c.kind(), Name: c.name("name")}
}

func (c *call) listAccounts() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	if after != "" && access.ValidName(after) != nil {
		return badRequest("query parameter after: want a name")
	}
	// One more than asked for tells whether there are more.
	accounts, err := c.inCharge(after, n+1)
	if err != nil {
		return err
	}
	page := client.Page[client.Account]{Items: []client.Account{}}
	if len(accounts) > n {
		accounts = accounts[:n]
		page.Next = accounts[n-1].Name
	}
	for _, a := range accounts {
		page.Items = append(page.Items, view(a))
	}
	return c.json(http.StatusOK, page)
}

// inCharge returns accounts in the caller's charge that follow after, at most
// limit. Names of others are passed over without a trace, those outside of the
// caller's trees without being read.
func (c *call) inCharge(after string, limit int) ([]account.Account, error) {
	right := c.route.who.right
	var out []account.Account
	for _, prefix := range c.authority.Part(right).Prefixes() {
		from, read := max(after, justBefore(prefix)), max(limit, 100)
		for inside := true; inside; {
			accounts, err := c.door.Accounts.List(c.r.Context(), c.kind(), from, read)
			if err != nil {
				return nil, err
			}
			inside = len(accounts) == read
			for _, a := range accounts {
				if from = a.Name; !strings.HasPrefix(from, prefix) {
					inside = false
					break
				}
				if c.authority.MayManage(right, from) {
					out = append(out, a)
				}
				if len(out) == limit {
					return out, nil
				}
			}
		}
	}
	return out, nil
}

// justBefore returns what no name is, and what follows all names that come before
// those with the prefix: the characters of names are smaller than DEL.
func justBefore(prefix string) string {
	if prefix == "" {
		return ""
	}
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]-1)) + "\x7f"
}

func (c *call) addUser() error {
	var in client.NewUser
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if err := c.mayMake(account.Name{Kind: access.User, Name: in.Name}); err != nil {
		return err
	}
	if in.Invite {
		return c.invite(in)
	}
	a, err := c.door.Accounts.AddUser(c.r.Context(), in.Name, in.Password.Secret)
	if errors.Is(err, account.ErrExists) {
		return c.sameUser(in, err)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, view(a))
}

// mayMake asks whether the caller may have an account of that name: the policy can
// have given it something in advance.
func (c *call) mayMake(n account.Name) error {
	if err := c.manage(n.Name); err != nil {
		return err
	}
	return c.authority.Commands(c.route.who.right, access.Principal{ID: access.ID{Name: n.Name}, Kind: n.Kind})
}

// mayCommand asks whether the caller, who has the route's right over another
// account, may get a credential of it. Errors: account.ErrUnknown; *access.Denied.
func (c *call) mayCommand(n account.Name) error {
	a, err := c.door.Accounts.Find(c.r.Context(), n)
	if err != nil {
		return err
	}
	return c.authority.Commands(c.route.who.right, a.Principal())
}

// invite adds a person who has no password yet.
func (c *call) invite(in client.NewUser) error {
	if !in.Password.IsZero() {
		return badRequest("field \"password\" beside \"invite\": who is invited sets a password with a one-time code")
	}
	status := http.StatusCreated
	a, err := c.door.Accounts.Invite(c.r.Context(), in.Name)
	if errors.Is(err, account.ErrExists) {
		status = http.StatusOK
		a, err = c.door.Accounts.Invited(c.r.Context(), in.Name)
	}
	if err != nil {
		return err
	}
	return c.json(status, view(a))
}

// sameUser answers with the person that is there, if the password is the same: a
// request whose answer was lost can be sent again. taken is the answer otherwise.
func (c *call) sameUser(in client.NewUser, taken error) error {
	p := access.Password{Name: in.Name, Secret: in.Password.Secret, From: c.authority.Origin}
	_, err := c.door.Accounts.Passwords().Authenticate(c.r.Context(), p)
	if errors.Is(err, access.ErrBadCredential) {
		return taken
	}
	if err != nil {
		return err
	}
	return c.sameAccount(account.Name{Kind: access.User, Name: in.Name}, taken)
}

// sameAccount answers with the account that is there.
func (c *call) sameAccount(n account.Name, taken error) error {
	a, err := c.door.Accounts.Find(c.r.Context(), n)
	if errors.Is(err, account.ErrUnknown) { // of the other kind, or removed just now
		return taken
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, view(a))
}

func (c *call) addRobot() error {
	var in client.NewRobot
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if err := c.mayMake(account.Name{Kind: access.Robot, Name: in.Name}); err != nil {
		return err
	}
	a, err := c.door.Accounts.AddRobot(c.r.Context(), in.Name)
	if errors.Is(err, account.ErrExists) {
		return c.sameAccount(account.Name{Kind: access.Robot, Name: in.Name}, err)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, view(a))
}

func (c *call) getAccount() error {
	a, err := c.door.Accounts.Find(c.r.Context(), c.target())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, view(a))
}

// changeAccount disables or enables; nothing else of an account can change.
func (c *call) changeAccount() error {
	var in client.AccountChange
	if err := c.readJSON(&in); err != nil {
		return err
	}
	change := c.door.Accounts.Enable
	switch {
	case in.Disabled == nil:
		return badRequest("field \"disabled\" is missing")
	case *in.Disabled && c.target() == c.own():
		return errOwnAccount
	case *in.Disabled:
		change = c.door.Accounts.Disable
	}
	c.event.Action = map[bool]string{true: "disable", false: "enable"}[*in.Disabled]
	if err := change(c.r.Context(), c.target()); err != nil {
		return err
	}
	return c.getAccount()
}

// errOwnAccount keeps the last administrator from locking everybody out.
var errOwnAccount = refuse(http.StatusConflict, "own-account", "this is the account you are using; another administrator must do that")

func (c *call) removeAccount() error {
	if c.target() == c.own() {
		return errOwnAccount
	}
	if err := c.door.Accounts.Remove(c.r.Context(), c.target()); err != nil {
		return err
	}
	return c.done()
}

// setPassword sets one's own password for the current one, and anybody's for
// an administrator.
func (c *call) setPassword() error {
	own := c.target() == c.own()
	var in client.NewPassword
	if err := c.readJSON(&in); err != nil {
		return err
	}
	var err error
	switch name := c.name("name"); {
	case own && in.Current.IsZero():
		return badRequest("field \"current\" is missing: your own password changes only with the current one")
	case own:
		err = c.door.Accounts.ChangePassword(c.r.Context(), name, in.Current.Secret, in.Password.Secret, c.authority.Origin)
	case !in.Current.IsZero():
		return badRequest("field \"current\" is for your own password only")
	default:
		if err := c.mayCommand(c.target()); err != nil {
			return err
		}
		err = c.door.Accounts.SetPassword(c.r.Context(), name, in.Password.Secret)
	}
	if err != nil {
		return err
	}
	return c.done()
}

// resetPassword makes a one-time code for somebody else: one's own password changes
// only with the current one.
func (c *call) resetPassword() error {
	if c.target() == c.own() {
		return errOwnAccount
	}
	if err := c.mayCommand(c.target()); err != nil {
		return err
	}
	r, code, err := c.door.Accounts.ResetPassword(c.r.Context(), c.name("name"))
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, client.ResetCode{User: c.target().String(), Code: client.Secret{Secret: code}, Expires: r.Expires})
}

// redeemReset sets a password for a one-time code. Nobody is logged in by it.
func (c *call) redeemReset() error {
	c.event.Method = "code"
	var in client.Redemption
	if err := c.readJSON(&in); err != nil {
		return err
	}
	code := access.ResetCode{Secret: in.Code.Secret, From: c.authority.Origin}
	name, err := c.door.Accounts.Redeem(c.r.Context(), code, in.Password.Secret)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, client.Redeemed{User: account.Name{Kind: access.User, Name: name}.String()})
}

func (c *call) importHtpasswd() error {
	file, err := c.readBody("text/plain")
	if err != nil {
		return err
	}
	names, err := c.door.Accounts.ImportHtpasswd(c.r.Context(), bytes.NewReader(file), c.mayMake)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, client.Imported{Users: list(names)})
}

func (c *call) listGroups() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	groups, err := c.door.Accounts.ListGroups(c.r.Context())
	if err != nil {
		return err
	}
	all := []client.Group{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if c.authority.MayManage(c.route.who.right, name) {
			all = append(all, client.Group{Name: name, Members: list(groups[name])})
		}
	}
	page, err := cut(all, n, after, func(g client.Group) string { return g.Name })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

func (c *call) addMember() error {
	member, err := parseName("member", c.name("member"))
	if err != nil {
		return err
	}
	a, err := c.door.Accounts.Find(c.r.Context(), member)
	if err != nil {
		return err
	}
	if err := c.authority.Joins(c.route.who.right, a.Principal(), c.name("group")); err != nil {
		return err
	}
	if err := c.door.Accounts.AddMember(c.r.Context(), c.name("group"), member); err != nil {
		return err
	}
	return c.done()
}

func (c *call) removeMember() error {
	member, err := parseName("member", c.name("member"))
	if err != nil {
		return err
	}
	group := c.name("group")
	if member == c.own() {
		without := c.authority
		without.Identity.Principal.Groups = slices.DeleteFunc(slices.Clone(c.principal().Groups), func(g string) bool { return g == group })
		if !without.MayManage(c.route.who.right, group) {
			return refuse(http.StatusConflict, "own-account", "you would take the right to do this from the account you are using; somebody else who has it must do that")
		}
	}
	if err := c.door.Accounts.RemoveMember(c.r.Context(), group, member); err != nil {
		return err
	}
	return c.done()
}

func view(a account.Account) client.Account {
	v := client.Account{
		Name: a.Name, Kind: string(a.Kind), Disabled: a.Disabled, Groups: list(a.Groups), Created: a.Created.UTC(),
	}
	for _, l := range a.Links {
		v.Links = append(v.Links, client.Link{Provider: l.Provider, Issuer: l.Issuer, Subject: l.Subject, Checked: when(l.Checked)})
	}
	return v
}

// list returns s, never nil: an empty list is "[]".
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// when returns nil for what has not come.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
