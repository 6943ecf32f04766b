package admin

import (
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/oci"
)

// explain says what the policy decides about one request and why, by the
// evaluator that decides /v2/. Who manages that part of the policy may ask.
func (c *call) explain() error {
	var in client.Question
	if err := c.readJSON(&in); err != nil {
		return err
	}
	facts := access.Facts{
		Principal: in.Principal, Claims: in.Claims, Action: access.Action(in.Action), Repository: in.Repository, Tag: in.Tag,
		Address: in.Address, TLS: in.TLS, Time: c.authority.Now,
	}
	switch {
	case in.PolicyVersion != 0:
		facts.Groups, facts.Method = in.Groups, in.Method
	case len(in.Groups) > 0 || in.Method != "":
		return badRequest("fields \"groups\" and \"method\" are for a version of the past: give \"policyVersion\"")
	}
	if in.Time != nil {
		facts.Time = in.Time.UTC()
	}
	if facts.Principal == "" {
		facts.Principal = c.principal().String()
	}
	query, err := facts.Query()
	if err != nil {
		return badRequest("%s", err) // its text is fit for the client
	}
	if err := c.authority.CheckManage(access.ManagePolicy, query.Name); err != nil {
		return err
	}
	policy, standing := c.authority.Policy, ""
	if in.PolicyVersion != 0 {
		policy, err = c.pastPolicy(in)
	} else {
		standing, err = c.identify(&query, in.Key)
	}
	if err != nil {
		return err
	}
	x := policy.Explain(query).Within(c.authority.Part(access.ManagePolicy))
	x.Allowed = x.Allowed && standing == ""
	return c.json(http.StatusOK, client.Explanation{
		Principal: query.Principal.String(), Groups: c.groupsWithin(query.Principal.Groups), PolicyVersion: policy.Version(),
		Standing: standing, Explanation: x,
	})
}

// groupsWithin leaves out the groups that lie outside of the part of the policy
// that the caller sees. What they give is in the rules that decided.
func (c *call) groupsWithin(groups []string) []string {
	return slices.DeleteFunc(slices.Clone(list(groups)), func(g string) bool { return !c.authority.MayManage(access.ManagePolicy, g) })
}

// pastPolicy returns the version that in asks.
func (c *call) pastPolicy(in client.Question) (*access.Policy, error) {
	if in.Key != "" {
		return nil, badRequest("fields \"key\" and \"policyVersion\": give one; what a key kept then is not known")
	}
	v, err := c.door.Accounts.PolicyVersion(c.r.Context(), in.PolicyVersion)
	if err != nil {
		return nil, err
	}
	policy, err := c.authority.Policy.Next([]byte(v.Document))
	if err != nil {
		return nil, err
	}
	return policy.Numbered(v.Version), nil
}

// identify completes a local principal with what is true of its account now, and
// with what one of its access keys keeps. It says why either counts no longer.
func (c *call) identify(q *access.Query, keyID string) (standing string, err error) {
	if kind := q.Principal.Kind; kind != access.User && kind != access.Robot {
		if keyID != "" {
			return "", badRequest("field \"key\": only users and robots have access keys")
		}
		return "", nil
	}
	a, err := c.door.Accounts.Find(c.r.Context(), account.Name{Kind: q.Principal.Kind, Name: q.Principal.Name})
	if err != nil {
		return "", err
	}
	q.Principal = a.Principal()
	if a.Disabled {
		standing = "the account is disabled"
	}
	if keyID == "" {
		return standing, nil
	}
	k, err := c.door.Accounts.Key(c.r.Context(), keyID)
	if err != nil {
		return "", err
	}
	if k.AccountID != a.UID {
		return "", badRequest("field \"key\": the key is not one of %s", q.Principal)
	}
	q.Narrowing, q.Method = k.Narrowing, "key"
	if standing == "" && !k.Alive(c.authority.Now) {
		standing = "the key has ended"
	}
	return standing, nil
}

// whoCan lists the rules that give an action on a name.
func (c *call) whoCan() error {
	action := access.Action(c.query.Get("action"))
	name, tag := c.query.Get("repository"), c.query.Get("tag")
	// Facts check the action, the name and the tag; who asks does not matter.
	query, err := access.Facts{Principal: "anonymous", Action: action, Repository: name, Tag: tag}.Query()
	if err != nil {
		return badRequest("%s", err) // its text is fit for the client
	}
	if err := c.authority.CheckManage(access.ManagePolicy, name); err != nil {
		return err
	}
	query.Tag, query.AnyTag = oci.Tag(tag), tag == ""
	return c.json(http.StatusOK, client.WhoCan(c.authority.Policy.WhoCan(query)))
}
