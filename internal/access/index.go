package access

import (
	"slices"
	"strings"
)

// An index finds what stands under the patterns that match a name, without
// looking at the others: a look-up walks the name's segments down a tree. Only
// these are tried one by one: patterns that share all before a "**" that is not
// their end and do not end in a plain segment; and segments that both begin and
// end with "*". The zero value is empty; after the last add it is only read.
type index[T any] struct {
	root  node[T]
	whole []T // under "**": also for the whole registry
}

// A node stands for the names whose first segments led to it.
type node[T any] struct {
	plain       map[string]*node[T] // by the whole next segment
	star        *node[T]            // "*"
	user, robot *node[T]            // {user}, {robot}
	globs       globs[T]            // "app-*"

	end      []T // under patterns that end here
	tree     []T // under patterns that end with "/**" after this
	deep     []deep[T]
	deepLast map[string][]deep[T] // by a plain last segment
}

// A deep stands under a pattern with a "**" that is not its end.
type deep[T any] struct {
	pattern pattern
	under   T
}

// add puts v under p.
func (ix *index[T]) add(p pattern, v T) {
	if p.text == anySegments {
		ix.whole = append(ix.whole, v)
	}
	segments := strings.Split(p.text, "/")
	last := len(segments) - 1
	n := &ix.root
	for i, s := range segments {
		switch {
		case s != anySegments:
			n = n.next(s)
		case i == last:
			n.tree = append(n.tree, v)
			return
		case strings.ContainsAny(segments[last], "*{"):
			n.deep = append(n.deep, deep[T]{p, v})
			return
		default:
			if n.deepLast == nil {
				n.deepLast = make(map[string][]deep[T])
			}
			n.deepLast[segments[last]] = append(n.deepLast[segments[last]], deep[T]{p, v})
			return
		}
	}
	n.end = append(n.end, v)
}

// next returns the node that the pattern's segment leads to.
func (n *node[T]) next(segment string) *node[T] {
	grown := func(at **node[T]) *node[T] {
		if *at == nil {
			*at = new(node[T])
		}
		return *at
	}
	switch {
	case segment == "*":
		return grown(&n.star)
	case segment == userSegment:
		return grown(&n.user)
	case segment == robotSegment:
		return grown(&n.robot)
	case strings.Contains(segment, "*"):
		return n.globs.next(segment)
	}
	if n.plain == nil {
		n.plain = make(map[string]*node[T])
	}
	if n.plain[segment] == nil {
		n.plain[segment] = new(node[T])
	}
	return n.plain[segment]
}

// A lookup is a name to find and who asks.
type lookup struct {
	name string // "" for the whole registry
	last string // its last segment
	by   caller
}

func lookUp(name string, by caller) lookup {
	return lookup{name, name[strings.LastIndexByte(name, '/')+1:], by}
}

// find calls visit for all that stands under patterns that match, until it
// returns false. What stands under several may come several times.
func (ix *index[T]) find(l *lookup, visit func(T) bool) bool {
	if l.name == "" {
		return each(ix.whole, visit)
	}
	return ix.root.find(l, l.name, visit)
}

func each[T any](all []T, visit func(T) bool) bool {
	for _, v := range all {
		if !visit(v) {
			return false
		}
	}
	return true
}

// find goes on with the rest of the name.
func (n *node[T]) find(l *lookup, rest string, visit func(T) bool) bool {
	if !eachDeep(n.deepLast[l.last], l, visit) || !eachDeep(n.deep, l, visit) {
		return false
	}
	if rest == "" {
		return each(n.end, visit)
	}
	if !each(n.tree, visit) {
		return false
	}
	segment, tail, _ := strings.Cut(rest, "/")
	if next := n.plain[segment]; next != nil && !next.find(l, tail, visit) {
		return false
	}
	if n.star != nil && !n.star.find(l, tail, visit) {
		return false
	}
	if n.user != nil && segment == l.by.user && !n.user.find(l, tail, visit) {
		return false
	}
	if n.robot != nil && segment == l.by.robot && !n.robot.find(l, tail, visit) {
		return false
	}
	return n.globs.find(l, segment, tail, visit)
}

func eachDeep[T any](all []deep[T], l *lookup, visit func(T) bool) bool {
	for i := range all {
		if all[i].pattern.matches(l.name, l.by) && !visit(all[i].under) {
			return false
		}
	}
	return true
}

// globs are segments with a "*" among other characters, found by the text that
// they begin with, else by the text that they end with.
type globs[T any] struct {
	begin, end affixes[T]
	others     []glob[T]
}

type glob[T any] struct {
	text string
	to   *node[T]
}

type affixes[T any] struct {
	of      map[string]*[]glob[T]
	lengths []int // of the texts in of
}

// next returns the node that the segment text leads to.
func (g *globs[T]) next(text string) *node[T] {
	begin, end := text[:strings.IndexByte(text, '*')], text[strings.LastIndexByte(text, '*')+1:]
	list := &g.others
	if begin != "" {
		list = g.begin.list(begin)
	} else if end != "" {
		list = g.end.list(end)
	}
	for _, known := range *list {
		if known.text == text {
			return known.to
		}
	}
	to := new(node[T])
	*list = append(*list, glob[T]{text, to})
	return to
}

// list returns the globs with this affix, for more to be added.
func (a *affixes[T]) list(affix string) *[]glob[T] {
	if a.of == nil {
		a.of = make(map[string]*[]glob[T])
	}
	if a.of[affix] == nil {
		a.of[affix] = new([]glob[T])
	}
	if !slices.Contains(a.lengths, len(affix)) {
		a.lengths = append(a.lengths, len(affix))
	}
	return a.of[affix]
}

// with returns the globs with this affix.
func (a *affixes[T]) with(affix string) []glob[T] {
	if list := a.of[affix]; list != nil {
		return *list
	}
	return nil
}

func (g *globs[T]) find(l *lookup, segment, tail string, visit func(T) bool) bool {
	for _, n := range g.begin.lengths {
		if n <= len(segment) && !eachGlob(g.begin.with(segment[:n]), l, segment, tail, visit) {
			return false
		}
	}
	for _, n := range g.end.lengths {
		if n <= len(segment) && !eachGlob(g.end.with(segment[len(segment)-n:]), l, segment, tail, visit) {
			return false
		}
	}
	return eachGlob(g.others, l, segment, tail, visit)
}

func eachGlob[T any](all []glob[T], l *lookup, segment, tail string, visit func(T) bool) bool {
	for _, known := range all {
		if matchSegment(known.text, segment) && !known.to.find(l, tail, visit) {
			return false
		}
	}
	return true
}
