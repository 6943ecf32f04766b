package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// Facts are a Query as texts: one that was recorded, or that a test file asks.
type Facts struct {
	// Principal is "user:NAME", "robot:NAME", "external:NAME (ISSUER)" or
	// "anonymous", as Principal.String writes it.
	Principal string            `yaml:"principal" json:"principal"`
	Groups    []string          `yaml:"groups" json:"groups,omitempty"`
	Claims    map[string]string `yaml:"claims" json:"claims,omitempty"`
	Method    string            `yaml:"method" json:"method,omitempty"`
	Action    Action            `yaml:"action" json:"action"`
	// Repository is a repository, or a name for an administrative right, or ""
	// for the whole registry.
	Repository string `yaml:"repository" json:"repository,omitempty"`
	// Tag is "" when it is not known or there is none: the answer is then what
	// could be allowed.
	Tag     string    `yaml:"tag" json:"tag,omitempty"`
	Address string    `yaml:"address" json:"address,omitempty"`
	TLS     bool      `yaml:"tls" json:"tls,omitempty"`
	Time    time.Time `yaml:"time" json:"time,omitzero"`
}

// Query reads f. The text of an error is fit for the client.
func (f Facts) Query() (Query, error) {
	p, err := ParsePrincipal(f.Principal)
	if err != nil {
		return Query{}, err
	}
	if len(f.Groups) > 0 && !p.local() || len(f.Claims) > 0 && p.Kind != External {
		return Query{}, fmt.Errorf("%s: groups are for users and robots, claims for external principals", f.Principal)
	}
	p.Groups, p.Claims = slices.Sorted(slices.Values(f.Groups)), f.Claims
	q := Query{Principal: p, Method: f.Method, Action: f.Action, Name: f.Repository, Origin: Origin{TLS: f.TLS}, Time: f.Time}
	set := setOf(f.Action)
	switch {
	case set == 0:
		return Query{}, fmt.Errorf("action %.40q is unknown: use %s", f.Action, knownActions)
	case set&bitsAdmin == 0:
		if _, err := oci.ParseRepoName(f.Repository); err != nil {
			return Query{}, fmt.Errorf("repository %.80q is no name of a repository", f.Repository)
		}
	case f.Tag != "":
		return Query{}, fmt.Errorf("%s has nothing to do with tags: leave tag out", f.Action)
	}
	if f.Tag != "" {
		if q.Tag, err = oci.ParseTag(f.Tag); err != nil {
			return Query{}, fmt.Errorf("tag %.80q is no tag", f.Tag)
		}
	}
	q.AnyTag = f.Tag == "" && set&bitsAdmin == 0
	if f.Address != "" {
		if q.Origin.Address, err = netip.ParseAddr(f.Address); err != nil {
			return Query{}, fmt.Errorf("address %.80q is no IP address", f.Address)
		}
		q.Origin.Address = q.Origin.Address.Unmap()
	}
	return q, nil
}

// ParsePrincipal is the inverse of Principal.String; what that does not write
// (UID, groups, claims) is empty, or for an external principal what
// ExternalPrincipal makes.
func ParsePrincipal(s string) (Principal, error) {
	kind, name, _ := strings.Cut(s, ":")
	switch Kind(kind) {
	case User, Robot:
		if err := ValidName(name); err != nil {
			return Principal{}, err
		}
		return Principal{ID: ID{Name: name}, Kind: Kind(kind)}, nil
	case External:
		at := strings.LastIndex(name, " (")
		if issuer, closed := strings.CutSuffix(name[at+1:], ")"); at > 0 && closed && len(issuer) > 1 {
			return ExternalPrincipal(issuer[1:], name[:at], nil), nil
		}
	}
	if s == "anonymous" {
		return Principal{}, nil
	}
	return Principal{}, fmt.Errorf("principal %.80q: write user:NAME, robot:NAME, external:NAME (ISSUER) or anonymous", s)
}
