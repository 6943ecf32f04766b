package account

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// Current returns the policy as it is now; without one, a policy that gives
// nothing. A stored document that cannot be read is an error, and nobody may do
// anything then.
func (s *Service) Current(ctx context.Context) (*access.Policy, error) {
	generation, err := s.changes.Generation(ctx)
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	if known := s.policy.Load(); known != nil && known.generation == generation {
		return known.value, nil
	}
	answer := s.policyFlight.DoChan(strconv.FormatInt(generation, 10), func() (any, error) {
		if known := s.policy.Load(); known != nil && known.generation == generation {
			return known.value, nil // read since we looked
		}
		// Those who wait must not lose it with the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), policyTimeout)
		defer cancel()
		return s.readPolicy(ctx, generation)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*access.Policy), nil
	}
}

// policyTimeout bounds how long the policy is read for all who wait.
const policyTimeout = 5 * time.Second

// A knownPolicy is the policy under a generation, and what it was parsed from.
type knownPolicy struct {
	under[*access.Policy]
	document string
}

// readPolicy reads the policy and remembers it.
func (s *Service) readPolicy(ctx context.Context, generation int64) (*access.Policy, error) {
	v, err := s.dir.LatestPolicy(ctx)
	policy := &access.Policy{}
	switch {
	case errors.Is(err, ErrUnknown):
		v.Document = ""
	case err != nil:
		return nil, fmt.Errorf("read policy: %w", err)
	default:
		if policy, err = s.parseStored(v); err != nil {
			return nil, err
		}
	}
	policy = policy.Numbered(v.Version)
	s.policy.Store(&knownPolicy{under[*access.Policy]{generation, policy}, v.Document})
	return policy, nil
}

// parseStored returns what a stored version means, parsed once by this process
// as a rule: by Current or by the ApplyPolicy that stored it.
func (s *Service) parseStored(v PolicyVersion) (*access.Policy, error) {
	known, applied := s.policy.Load(), s.applied.Load()
	var before *access.Policy
	switch {
	case applied != nil && applied.document == v.Document:
		return applied.value, nil
	case known != nil && known.document == v.Document:
		return known.value, nil
	case known != nil:
		before = known.value
	}
	policy, err := before.Next([]byte(v.Document))
	if err != nil {
		return nil, fmt.Errorf("parse stored policy version %d: %w", v.Version, err)
	}
	return policy, nil
}

// ShowPolicy returns the policy that was applied last. Errors: ErrUnknown when
// none was ever applied.
func (s *Service) ShowPolicy(ctx context.Context) (PolicyVersion, error) {
	v, err := s.dir.LatestPolicy(ctx)
	if err != nil {
		return PolicyVersion{}, fmt.Errorf("read policy: %w", err)
	}
	return v, nil
}

// PolicyVersion returns one version of the policy. Errors: ErrUnknown.
func (s *Service) PolicyVersion(ctx context.Context, version int64) (PolicyVersion, error) {
	v, err := s.dir.PolicyByVersion(ctx, version)
	if err != nil {
		return PolicyVersion{}, fmt.Errorf("read policy: %w", err)
	}
	return v, nil
}

// PolicyHistory returns the versions below before, newest first and at most
// limit, without their documents.
func (s *Service) PolicyHistory(ctx context.Context, before int64, limit int) ([]PolicyVersion, error) {
	list, err := s.dir.ListPolicies(ctx, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list policy versions: %w", err)
	}
	return list, nil
}

// maxReason bounds why a policy was changed, in bytes.
const maxReason = 500

// A PolicyChange replaces version Base of the policy by Document.
type PolicyChange struct {
	Document string
	Base     int64
	Reason   string // at most 500 bytes of printable text, on one line; may be ""
}

// ApplyPolicy makes the change, whole or not at all. Of an author who manages the
// policy on a part of the name tree alone, the document is an edited copy of
// that part (access.Part.Show), and replaces that part. A change that would take
// the author's own right to manage it is refused: nobody might be left to undo
// it. Errors: *Invalid, naming line and field; *access.ChangeError;
// *access.Denied; ErrConflict when the base is not the latest version.
func (s *Service) ApplyPolicy(ctx context.Context, c PolicyChange, author access.Authority) (PolicyVersion, error) {
	if len(c.Reason) > maxReason || !printable(c.Reason) {
		return PolicyVersion{}, invalid("the reason must be one line of printable text, at most %d bytes", maxReason)
	}
	latest, err := s.dir.LatestPolicy(ctx)
	switch {
	case err != nil:
		return PolicyVersion{}, fmt.Errorf("read policy: %w", err)
	case latest.Version != c.Base:
		return PolicyVersion{}, fmt.Errorf("apply policy: %w", ErrConflict)
	}
	// The author's rights are those of the version that is replaced, whatever
	// was in force when the request came.
	if author.Policy, err = s.parseStored(latest); err != nil {
		return PolicyVersion{}, err
	}
	// Nothing is compiled for who may not change anything.
	if err := access.CheckChange(author, author.Policy); err != nil {
		return PolicyVersion{}, err
	}
	next, err := changeDocument(&c, latest.Document, author)
	if err != nil {
		return PolicyVersion{}, err
	}
	if err := checkChange(author, next); err != nil {
		return PolicyVersion{}, err
	}
	v, err := s.savePolicy(ctx, c, author.Identity.Principal.String())
	if err == nil {
		s.applied.Store(&knownPolicy{under[*access.Policy]{value: next}, c.Document})
	}
	return v, err
}

// changeDocument makes c's document the whole one that it means in place of old,
// and returns that meaning. Errors: *Invalid.
func changeDocument(c *PolicyChange, old string, author access.Authority) (*access.Policy, error) {
	part := author.Part(access.ManagePolicy)
	if part.Whole() || part.Empty() {
		next, err := author.Policy.Next([]byte(c.Document))
		if err != nil {
			return nil, invalidBecause(err)
		}
		return next, nil
	}
	whole, next, err := part.Replace(author.Policy, []byte(old), []byte(c.Document))
	if err != nil {
		return nil, invalidBecause(err)
	}
	c.Document = string(whole)
	return next, nil
}

// checkChange checks that the author may apply next. Errors: as ApplyPolicy.
func checkChange(author access.Authority, next *access.Policy) error {
	if err := access.CheckChange(author, next); err != nil {
		return err
	}
	part := author.Part(access.ManagePolicy)
	after := author
	after.Policy = next
	if kept := after.Part(access.ManagePolicy); kept.Empty() || part.Whole() && !kept.Whole() {
		who := author.Identity.Principal
		return invalid("this policy would take the right to manage the policy from %s, who applies it, and nobody might be left to undo that; keep a rule that gives manage-policy, or admin, to %s or to one of its groups", who, who)
	}
	return nil
}

func (s *Service) savePolicy(ctx context.Context, c PolicyChange, author string) (PolicyVersion, error) {
	v, err := s.dir.SavePolicy(ctx, PolicyVersion{
		Document: c.Document, Author: author, Reason: c.Reason, Applied: s.now().UTC().Truncate(time.Second),
	}, c.Base)
	if err != nil {
		return PolicyVersion{}, fmt.Errorf("save policy: %w", err)
	}
	return v, nil
}

// The first administrator and the group and policy that make it one.
const (
	FirstAdmin  = "admin"
	firstGroup  = "admins"
	firstPolicy = `# Who may do what. Rules only give; what no rule gives is denied.
version: 2
rules:
  - name: administrators
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
`
)

// Bootstrap makes the user admin, in the group admins, with the given password,
// and the first policy, unless a policy was ever applied: then it changes
// nothing and returns false. Of replicas that start together on an empty
// database exactly one returns true, and its password is the one that counts.
func (s *Service) Bootstrap(ctx context.Context, password access.Secret) (created bool, err error) {
	if _, err := s.dir.LatestPolicy(ctx); !errors.Is(err, ErrUnknown) {
		if err != nil {
			err = fmt.Errorf("read policy: %w", err)
		}
		return false, err
	}
	hash, err := s.hashNew(ctx, FirstAdmin, password)
	if err != nil {
		return false, err
	}
	admin := Name{access.User, FirstAdmin}
	_, err = s.add(ctx, admin, hash)
	// Another replica adds it at this moment, or a start was cut off here.
	already := errors.Is(err, ErrExists)
	if err != nil && !already {
		return false, err
	}
	a, err := s.find(ctx, admin)
	if err != nil {
		return false, err
	}
	if err := s.dir.AddMember(ctx, firstGroup, a.UID); err != nil {
		return false, fmt.Errorf("add %s to %s: %w", admin, firstGroup, err)
	}
	switch _, err := s.savePolicy(ctx, PolicyChange{Document: firstPolicy, Reason: "the first policy"}, admin.String()); {
	case errors.Is(err, ErrConflict):
		return false, nil
	case err != nil:
		return false, err
	}
	if already { // with another password than ours
		if err := s.dir.SetPassword(ctx, a.UID, hash, s.now()); err != nil {
			return false, fmt.Errorf("set password of %s: %w", admin, err)
		}
	}
	return true, nil
}
