package access

import "github.com/sallyport/sallyport/internal/oci"

// A Statement names a rule or a protection of a policy.
type Statement struct {
	Name string // "" for none
	Line int    // where it begins in the document
}

// A rule gives actions on what its patterns match, except what except matches,
// to those it names.
type rule struct {
	Statement
	names    names
	actions  actionSet
	patterns []pattern
	except   patternSet
	// own finds the patterns when names and patterns are too many to be
	// indexed together.
	own *index[*rule]
}

// covers reports whether r gives something on name, "" for the whole registry.
// It looks at each pattern: explanations use it, decisions use an index.
func (r *rule) covers(name string, by caller) bool {
	for i := range r.patterns {
		if name == "" && r.patterns[i].text == anySegments || name != "" && r.patterns[i].matches(name, by) {
			return !r.excepts(name)
		}
	}
	return false
}

// excepts reports whether except takes name out of r: the whole registry is
// given only by a rule without exceptions.
func (r *rule) excepts(name string) bool {
	if name == "" {
		return !r.except.empty()
	}
	return r.except.matches(name)
}

// A protection takes actions on tags away, from everybody it does not except.
type protection struct {
	Statement
	actions  actionSet
	patterns []pattern
	tags     []string // globs; none means all tags and what has no tag
	except   names
}

// An effect is what a statement does to a query.
type effect int

const (
	none  effect = iota
	maybe        // it depends on the tag, which is not known yet
	sure
)

// takes says whether p takes q's action away. It is asked about protections
// whose patterns match.
func (p *protection) takes(e *evaluation) effect {
	switch {
	case p.actions&e.action == 0 || p.except.include(&e.query.Principal):
		return none
	case len(p.tags) == 0:
		return sure
	case e.query.AnyTag:
		return maybe
	case p.onTag(e.query.Tag):
		return sure
	}
	return none
}

func (p *protection) onTag(tag oci.Tag) bool {
	for _, glob := range p.tags {
		if tag != "" && matchSegment(glob, string(tag)) {
			return true
		}
	}
	return false
}
