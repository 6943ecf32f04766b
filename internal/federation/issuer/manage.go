package issuer

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
)

// An Entry is an issuer as it is known here.
type Entry struct {
	Definition Definition
	Revision   string
	Fixed      bool // of the configured file
	Author     string
	Changed    time.Time // zero: of the configured file
	Problem    string    // why it is not trusted after all, or ""
}

func (t *trusted) entry() Entry {
	e := Entry{Definition: t.definition, Revision: t.revision, Fixed: t.fixed, Author: t.stored.Author, Changed: t.stored.Changed}
	if t.problem != nil {
		e.Problem = t.problem.Error()
	}
	return e
}

// List returns all issuers, by name.
func (s *Set) List(ctx context.Context) ([]Entry, error) {
	all, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(all.byName))
	for _, name := range all.names() {
		out = append(out, all.byName[name].entry())
	}
	return out, nil
}

// Find returns one issuer. Errors: ErrUnknown.
func (s *Set) Find(ctx context.Context, name string) (Entry, error) {
	t, err := s.named(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	return t.entry(), nil
}

func (s *Set) named(ctx context.Context, name string) (*trusted, error) {
	all, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if t := all.byName[name]; t != nil {
		return t, nil
	}
	return nil, ErrUnknown
}

// Add trusts an issuer, or replaces the definition of its name whose revision is
// replaces; "" adds. What came of the one before ends. Errors: *Invalid,
// ErrExists, ErrUnknown, ErrChanged, ErrFixed.
func (s *Set) Add(ctx context.Context, d Definition, author, replaces string) (Entry, error) {
	if err := s.CheckNew(d); err != nil {
		return Entry{}, err
	}
	all, err := s.load(ctx)
	if err != nil {
		return Entry{}, err
	}
	before, url := all.byName[d.Name], d.url()
	switch {
	case before != nil && before.fixed:
		return Entry{}, ErrFixed
	case before == nil && replaces != "":
		return Entry{}, ErrUnknown
	case before != nil && replaces == "":
		return Entry{}, ErrExists
	case before != nil && replaces != before.revision:
		return Entry{}, ErrChanged
	case before == nil && len(all.byName) >= MaxIssuers:
		return Entry{}, invalid("", "remove one that nobody uses", "there are %d issuers, which is the most", len(all.byName))
	}
	for _, other := range all.byName {
		if other != before && other.url() == url {
			return Entry{}, ErrExists
		}
	}
	stored := Stored{Name: d.Name, Document: d.YAML(), Author: author, Changed: s.now()}
	old := ""
	if before != nil {
		old = before.stored.Revision()
	}
	if err := s.deps.Store.SaveIssuer(ctx, stored, old); err != nil {
		return Entry{}, err
	}
	return Entry{Definition: d, Revision: d.Revision(), Author: author, Changed: stored.Changed}, nil
}

// CheckNew says what is wrong with a definition that somebody wants to add.
// Errors: *Invalid.
func (s *Set) CheckNew(d Definition) error {
	if err := d.Validate(); err != nil {
		return err
	}
	whole, err := d.expand()
	if err != nil {
		return err
	}
	if err := s.checkForeign(whole); err != nil {
		return err
	}
	return whole.checkNoFiles()
}

// checkForeign refuses a definition whose issuer is this registry, wherever the
// definition comes from.
func (s *Set) checkForeign(whole Definition) error {
	if u, err := url.Parse(whole.Issuer.URL); err != nil || s.options.Audience != "" && strings.EqualFold(u.Host, s.options.Audience) {
		return invalid("issuer.url", "name who signs the tokens of the jobs", "%s is this registry: its tokens prove nobody here", whole.Issuer.URL)
	}
	return nil
}

// Remove ends the trust in an issuer, and what came of it. Errors: ErrUnknown,
// ErrFixed.
func (s *Set) Remove(ctx context.Context, name string) error {
	t, err := s.named(ctx, name)
	switch {
	case errors.Is(err, ErrUnknown):
		return err
	case err != nil:
		return err
	case t.fixed:
		return ErrFixed
	}
	return s.deps.Store.RemoveIssuer(ctx, name)
}
