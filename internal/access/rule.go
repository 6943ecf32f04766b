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
	when     *condition
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

// holds reports whether r's condition holds, or could when the tag is known. One
// that fails does not.
func (r *rule) holds(e *evaluation) bool {
	o := e.ask(r.when)
	return o == yes || o == open
}

// A protection takes actions on tags away, from everybody it does not except.
type protection struct {
	Statement
	actions  actionSet
	patterns []pattern
	tags     []string // globs; none means all tags and what has no tag
	except   names
	when     *condition
}

// An effect is what a statement does to a query.
type effect int

const (
	none  effect = iota
	maybe        // it depends on the tag, which is not known yet
	sure
)

// takes says whether p takes e's action away. It is asked about protections
// whose patterns match. A condition that fails takes away.
func (p *protection) takes(e *evaluation) effect {
	if p.actions&e.action == 0 || p.except.include(&e.query.Principal) {
		return none
	}
	tags := sure
	switch {
	case len(p.tags) == 0:
	case e.query.AnyTag:
		tags = maybe
	case !p.onTag(e.query.Tag):
		return none
	}
	switch e.ask(p.when) {
	case no:
		return none
	case open:
		return maybe
	}
	return tags
}

func (p *protection) onTag(tag oci.Tag) bool {
	for _, glob := range p.tags {
		if tag != "" && matchSegment(glob, string(tag)) {
			return true
		}
	}
	return false
}
