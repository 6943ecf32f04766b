package admin

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/gc"
)

func (c *call) showPolicy() error {
	v, err := c.door.Accounts.ShowPolicy(c.r.Context())
	if err != nil {
		return err
	}
	if part := c.authority.Part(access.ManagePolicy); !part.Whole() {
		shown, err := part.Show(c.authority.Policy, []byte(v.Document))
		if err != nil {
			return refuse(http.StatusConflict, "no-parts", "%s", err) // its text is fit for the client
		}
		v.Document = string(shown)
	}
	return c.policy(v)
}

// policy answers with a version; its number is the entity tag.
func (c *call) policy(v account.PolicyVersion) error {
	c.w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(v.Version, 10)))
	return c.json(http.StatusOK, client.Policy{PolicyVersion: policyVersion(v), Document: v.Document})
}

func policyVersion(v account.PolicyVersion) client.PolicyVersion {
	return client.PolicyVersion{Version: v.Version, Author: v.Author, Reason: v.Reason, Applied: v.Applied.UTC()}
}

func (c *call) showPolicyVersion() error {
	version, err := parseVersion(c.r.PathValue("version"))
	if err != nil {
		return err
	}
	v, err := c.door.Accounts.PolicyVersion(c.r.Context(), version)
	if err != nil {
		return err
	}
	return c.policy(v)
}

// listPolicyVersions lists newest first; after is the oldest one seen.
func (c *call) listPolicyVersions() error {
	n, after, err := c.page()
	if err != nil {
		return err
	}
	before := int64(math.MaxInt64)
	if after != "" {
		if before, err = parseVersion(after); err != nil {
			return badRequest("query parameter after: want a version")
		}
	}
	// One more than asked for tells whether there are more.
	versions, err := c.door.Accounts.PolicyHistory(c.r.Context(), before, n+1)
	if err != nil {
		return err
	}
	page := client.Page[client.PolicyVersion]{Items: []client.PolicyVersion{}}
	for _, v := range versions[:min(n, len(versions))] {
		page.Items = append(page.Items, policyVersion(v))
	}
	if len(versions) > n {
		page.Next = strconv.FormatInt(versions[n-1].Version, 10)
	}
	return c.json(http.StatusOK, page)
}

// parseVersion reads the number of a version, written the one way.
func parseVersion(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
		return 0, badRequest("want the version of a policy, a number from 1")
	}
	return n, nil
}

// applyPolicy replaces the version that If-Match names (RFC 9110, 13.1.1).
func (c *call) applyPolicy() error {
	base, err := c.base()
	if err != nil {
		return err
	}
	document, err := c.readBody("application/yaml", "text/plain")
	if err != nil {
		return err
	}
	c.event.AllowOver(c.authority, access.ManagePolicy, "")
	v, err := c.door.Accounts.ApplyPolicy(c.r.Context(), account.PolicyChange{
		Document: string(document), Base: base, Reason: c.query.Get("reason"),
	}, c.authority)
	if err != nil {
		return err
	}
	return c.policy(v)
}

func (c *call) base() (int64, error) {
	tag := c.r.Header.Get("If-Match")
	if tag == "" {
		return 0, refuse(http.StatusPreconditionRequired, "precondition-required", "If-Match is missing: name the version that this policy is based on, such as \"3\"")
	}
	number, quoted := strings.CutPrefix(tag, `"`)
	number, closed := strings.CutSuffix(number, `"`)
	base, err := strconv.ParseInt(number, 10, 64)
	if !quoted || !closed || err != nil || base < 0 {
		return 0, badRequest("If-Match: want one version in quotes, such as \"3\"")
	}
	return base, nil
}

func (c *call) sweepStatus() error {
	s, err := c.door.Sweeper.Status(c.r.Context())
	if err != nil {
		return err
	}
	out := client.SweepStatus{Running: s.Running}
	if s.Last != nil {
		last := client.Sweep(*s.Last)
		out.Last = &last
	}
	return c.json(http.StatusOK, out)
}

// sweep runs until the sweep is over or the client leaves.
func (c *call) sweep() error {
	var in client.SweepRequest
	if err := c.readJSON(&in); err != nil {
		return err
	}
	run := c.door.Sweeper.Sweep
	switch {
	case in.DryRun && in.Large:
		return badRequest("fields \"dryRun\" and \"large\": give one")
	case in.DryRun:
		run = c.door.Sweeper.DryRun
	case in.Large:
		run = c.door.Sweeper.SweepLarge
	}
	var report gc.Report
	report, err := run(c.r.Context())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, client.Sweep(report))
}
