package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

const (
	maxGroups    = 1000
	maxGroupName = 256 // bytes
	maxDepth     = 16  // of groups in groups
	// perSearch is how many members are looked for at once.
	perSearch = 50
)

// inChain lets Active Directory itself go through groups in groups.
const inChain = ":1.2.840.113556.1.4.1941:"

// groups returns the names of the groups that an entry is in, in lower case, sorted.
// More than there may be is an error: nobody is left out of some of their groups.
func (d *Directory) groups(ctx context.Context, e *goldap.Entry) ([]string, error) {
	if d.d.GroupBase == "" {
		return nil, nil
	}
	w := &walk{d: d, seen: map[string]bool{}}
	next, err := w.direct(ctx, e)
	for depth := 0; err == nil && d.d.Nested && !w.whole && len(next) > 0; depth++ {
		if depth == maxDepth {
			return nil, fmt.Errorf("groups are in each other more than %d deep", maxDepth)
		}
		next, err = w.parents(ctx, next)
	}
	if err != nil {
		return nil, fmt.Errorf("find the groups of a person: %w", err)
	}
	slices.Sort(w.names)
	return slices.Compact(w.names), nil
}

// A walk goes from a person up through groups, each once: they may be in each other
// in a circle.
type walk struct {
	d     *Directory
	seen  map[string]bool // by DN
	names []string
	whole bool // the directory itself has gone through all
}

// direct returns the groups that the person is in.
func (w *walk) direct(ctx context.Context, e *goldap.Entry) ([]*goldap.Entry, error) {
	d := w.d.d
	switch {
	case d.MemberOfAttribute != "":
		return w.named(ctx, []*goldap.Entry{e})
	case d.byName():
		names := e.GetEqualFoldAttributeValues(d.NameAttribute)
		if len(names) != 1 {
			return nil, fmt.Errorf("a person has %d values of %s, and memberUid must be one", len(names), d.NameAttribute)
		}
		return w.holding(ctx, names, "")
	case d.Nested && d.activeDirectory():
		w.whole = true
		return w.holding(ctx, []string{e.DN}, inChain)
	}
	return w.holding(ctx, []string{e.DN}, "")
}

// parents returns the groups, not seen before, that groups are in.
func (w *walk) parents(ctx context.Context, of []*goldap.Entry) ([]*goldap.Entry, error) {
	if w.d.d.MemberOfAttribute != "" {
		return w.named(ctx, of)
	}
	var dns []string
	for _, g := range of {
		dns = append(dns, g.DN)
	}
	return w.holding(ctx, dns, "")
}

// holding returns the groups, not seen before, that have one of the members.
func (w *walk) holding(ctx context.Context, members []string, rule string) ([]*goldap.Entry, error) {
	d := w.d.d
	var out []*goldap.Entry
	for batch := range slices.Chunk(members, perSearch) {
		found, err := w.d.search(ctx, query{d.GroupBase, goldap.ScopeWholeSubtree, d.memberFilter(batch, rule), []string{d.GroupNameAttribute}, maxGroups})
		if err != nil {
			return nil, err
		}
		fresh, err := w.add(found)
		if err != nil {
			return nil, err
		}
		out = append(out, fresh...)
	}
	return out, nil
}

// memberFilter finds groups with one of the members. A DN is a value in it as well:
// who may name an entry must not write filters.
func (d Definition) memberFilter(members []string, rule string) string {
	var of strings.Builder
	for _, m := range members {
		of.WriteString("(" + d.MemberAttribute + rule + "=" + goldap.EscapeFilter(m) + ")")
	}
	return "(&" + d.GroupFilter + "(|" + of.String() + "))"
}

// named returns the groups, not seen before, that entries say they are in. Only what
// is below the base of groups, and is one by the filter, counts.
func (w *walk) named(ctx context.Context, of []*goldap.Entry) ([]*goldap.Entry, error) {
	d := w.d.d
	base, err := goldap.ParseDN(d.GroupBase)
	if err != nil {
		return nil, err
	}
	var out []*goldap.Entry
	for _, e := range of {
		if slices.ContainsFunc(e.Attributes, func(a *goldap.EntryAttribute) bool {
			return strings.HasPrefix(lower(a.Name), lower(d.MemberOfAttribute)+";range=")
		}) {
			return nil, fmt.Errorf("the directory gives %s in parts: leave member_of_attribute away", d.MemberOfAttribute)
		}
		for _, text := range e.GetEqualFoldAttributeValues(d.MemberOfAttribute) {
			dn, err := goldap.ParseDN(text)
			if err != nil || w.seen[key(text)] || !(base.AncestorOfFold(dn) || base.EqualFold(dn)) {
				continue
			}
			found, err := w.d.search(ctx, query{text, goldap.ScopeBaseObject, d.GroupFilter, []string{d.GroupNameAttribute, d.MemberOfAttribute}, 1})
			if goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject) {
				continue // it was removed
			}
			if err != nil {
				return nil, err
			}
			fresh, err := w.add(found)
			if err != nil {
				return nil, err
			}
			out = append(out, fresh...)
		}
	}
	return out, nil
}

// add takes over the names of groups that were not seen before, and returns these.
func (w *walk) add(found []*goldap.Entry) ([]*goldap.Entry, error) {
	var fresh []*goldap.Entry
	for _, g := range found {
		if w.seen[key(g.DN)] {
			continue
		}
		w.seen[key(g.DN)] = true
		if len(w.seen) > maxGroups {
			return nil, fmt.Errorf("more than %d: narrow group_filter", maxGroups)
		}
		fresh = append(fresh, g)
		// A group with several names is each of them to those who look for it there;
		// here it would be several groups.
		names := g.GetEqualFoldAttributeValues(w.d.d.GroupNameAttribute)
		if len(names) != 1 || len(names[0]) > maxGroupName {
			continue
		}
		w.names = append(w.names, lower(names[0]))
	}
	return fresh, nil
}

// key is the same for all ways in which a server writes one DN.
func key(dn string) string {
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return lower(dn)
	}
	return lower(parsed.String())
}
