package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/oci"
)

// A pattern names repositories, segment by segment:
//
//	"*"   any run of characters inside one segment, also none
//	"**"  as a whole segment: any number of segments, also none; at the end of
//	      the pattern at least one, so that "team/**" is not "team" itself
//
// A rule's pattern may also have, as a whole segment,
//
//	"{user}"   the name of the user who asks; no other kind of principal fits
//	"{robot}"  the name of the robot who asks
//
// and takes it literally, as one segment: a name with a slash fits nowhere, so
// that "a/b" and "a" never share. Everything else stands for itself. A pattern
// matches whole names only.
type pattern struct {
	text     string
	literal  string   // what every matching name begins with
	segments []string // nil when the pattern is one whole name
	// placeholders is set when there is one among the segments.
	placeholders bool
}

const (
	anySegments  = "**"
	userSegment  = "{user}"
	robotSegment = "{robot}"
)

// A caller is what stands for {user} and {robot}; "" fits no segment.
type caller struct{ user, robot string }

// nobody is the caller where a pattern has no placeholders.
var nobody caller

func callerOf(p Principal) caller {
	switch {
	case p.Issuer != "" || strings.Contains(p.Name, "/"):
		return nobody
	case p.Kind == User:
		return caller{user: p.Name}
	case p.Kind == Robot:
		return caller{robot: p.Name}
	}
	return nobody
}

// parsePattern refuses what can match no valid repository name, and
// placeholders.
func parsePattern(text string) (pattern, error) {
	return parseSegments(text, strings.Split(text, "/"))
}

// parseRulePattern is parsePattern with placeholders.
func parseRulePattern(text string) (pattern, error) {
	segments := strings.Split(text, "/")
	sample := slices.Clone(segments)
	for i, s := range sample {
		if s == userSegment || s == robotSegment {
			sample[i] = "a"
		}
	}
	p, err := parseSegments(text, sample)
	if err != nil || slices.Equal(sample, segments) {
		return p, err
	}
	p.literal = text[:strings.IndexAny(text, "*{")]
	p.segments = oneOrMore(segments)
	p.placeholders = true
	return p, nil
}

// parseSegments reads text; segments are its own, without placeholders.
func parseSegments(text string, segments []string) (pattern, error) {
	if text == "" {
		return pattern{}, fmt.Errorf("pattern is empty: write a repository name, or \"**\" for all")
	}
	if len(text) > oci.MaxRepoName {
		return pattern{}, fmt.Errorf("pattern is %d bytes long; the limit is %d", len(text), oci.MaxRepoName)
	}
	for _, s := range segments {
		if s != anySegments && strings.Contains(s, anySegments) {
			return pattern{}, fmt.Errorf("pattern %q: \"**\" must be a whole segment: write \"*\" inside a segment", text)
		}
	}
	if _, err := oci.ParseRepoName(example(segments)); err != nil {
		_, why := oci.CodeOf(err)
		return pattern{}, fmt.Errorf("pattern %q can match no repository name: %s", text, why)
	}
	literal, _, wild := strings.Cut(text, "*")
	p := pattern{text: text, literal: literal}
	if !wild {
		return p, nil
	}
	p.segments = oneOrMore(segments)
	return p, nil
}

// oneOrMore writes "**" at the end so that it takes at least one segment.
func oneOrMore(segments []string) []string {
	if last := len(segments) - 1; segments[last] == anySegments {
		return append(segments[:last:last], "*", anySegments)
	}
	return segments
}

// example returns a name that the pattern of these segments matches if it can
// match any: a letter in place of a star never spoils a name, since whatever
// may stand beside another separator may stand beside a letter.
func example(segments []string) string {
	var name []string
	for i, s := range segments {
		if s != anySegments || i == len(segments)-1 {
			name = append(name, strings.ReplaceAll(strings.ReplaceAll(s, anySegments, "a"), "*", "a"))
		}
	}
	return strings.Join(name, "/")
}

// matches reports whether p matches the valid name for by. When a segment
// does not fit, only the last "**" needs to take one more, so the time is at
// most the product of the two lengths.
func (p *pattern) matches(name string, by caller) bool {
	if !strings.HasPrefix(name, p.literal) {
		return false
	}
	if p.segments == nil {
		return len(name) == len(p.literal)
	}
	at, rest := 0, name
	star, starRest := -1, ""
	for rest != "" {
		segment, tail, _ := strings.Cut(rest, "/")
		switch {
		case at < len(p.segments) && p.segments[at] == anySegments:
			star, starRest = at, rest
			at++
		case at < len(p.segments) && by.fits(p.segments[at], segment):
			at, rest = at+1, tail
		case star >= 0:
			_, starRest, _ = strings.Cut(starRest, "/")
			at, rest = star+1, starRest
		default:
			return false
		}
	}
	for at < len(p.segments) && p.segments[at] == anySegments {
		at++
	}
	return at == len(p.segments)
}

// fits reports whether s fits one segment of a pattern.
func (by caller) fits(segment, s string) bool {
	switch segment {
	case userSegment:
		return by.user == s // s is not empty
	case robotSegment:
		return by.robot == s
	}
	return matchSegment(segment, s)
}

// prefix returns what begins every name that p matches for by, and false when
// p can match none.
func (p *pattern) prefix(by caller) (string, bool) {
	if !p.placeholders {
		return p.literal, true
	}
	text := p.text
	for segment, name := range map[string]string{userSegment: by.user, robotSegment: by.robot} {
		if !strings.Contains(text, segment) {
			continue
		}
		if name == "" {
			return "", false
		}
		text = strings.ReplaceAll(text, segment, name)
	}
	literal, _, _ := strings.Cut(text, "*")
	return literal, true
}

// matchSegment is matches within a segment, where "*" takes characters.
func matchSegment(glob, s string) bool {
	at, i := 0, 0
	star, starAt := -1, 0
	for i < len(s) {
		switch {
		case at < len(glob) && glob[at] == '*':
			star, starAt = at, i
			at++
		case at < len(glob) && glob[at] == s[i]:
			at, i = at+1, i+1
		case star >= 0:
			starAt++
			at, i = star+1, starAt
		default:
			return false
		}
	}
	return strings.Trim(glob[at:], "*") == ""
}

// A patternSet matches what any of its patterns matches. Whole names and
// "team/**" are found by look-up, whatever their number.
type patternSet struct {
	names map[string]struct{} // whole names
	trees map[string]struct{} // "team" for "team/**"
	wild  []pattern           // the others
}

func newPatternSet(patterns []pattern) patternSet {
	set := patternSet{names: map[string]struct{}{}, trees: map[string]struct{}{}}
	for _, p := range patterns {
		tree, isTree := strings.CutSuffix(p.text, "/"+anySegments)
		switch {
		case p.segments == nil:
			set.names[p.text] = struct{}{}
		case isTree && !strings.Contains(tree, "*"):
			set.trees[tree] = struct{}{}
		default:
			set.wild = append(set.wild, p)
		}
	}
	return set
}

func (set *patternSet) matches(name string) bool {
	if _, ok := set.names[name]; ok {
		return true
	}
	if len(set.trees) > 0 {
		for i := range len(name) {
			if name[i] == '/' {
				if _, ok := set.trees[name[:i]]; ok {
					return true
				}
			}
		}
	}
	for i := range set.wild {
		if set.wild[i].matches(name, nobody) {
			return true
		}
	}
	return false
}

func (set *patternSet) empty() bool {
	return len(set.names) == 0 && len(set.trees) == 0 && len(set.wild) == 0
}

// texts returns the patterns, sorted.
func (set *patternSet) texts() []string {
	var out []string
	for name := range set.names {
		out = append(out, name)
	}
	for tree := range set.trees {
		out = append(out, tree+"/"+anySegments)
	}
	out = append(out, texts(set.wild)...)
	slices.Sort(out)
	return out
}

// literals returns what the names matched begin with, one for each pattern.
func (set *patternSet) literals() []string {
	var out []string
	for name := range set.names {
		out = append(out, name)
	}
	for tree := range set.trees {
		out = append(out, tree+"/")
	}
	for _, p := range set.wild {
		out = append(out, p.literal)
	}
	return out
}
