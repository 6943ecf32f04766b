package ledger

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is kept, in bytes and in numbers.
const (
	maxText   = 256
	maxReason = 1024
	maxGroups = 128
	maxPairs  = 64
	// MaxLine is more than any event takes, in bytes.
	MaxLine = 1 << 20
)

// Normal returns e as it is kept: bounded, printable, its time in microseconds.
// A text that was cut ends with an ellipsis.
func (e Event) Normal() Event {
	e.recorded = false
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	if e.Time.Year() < 1970 || e.Time.Year() > 9999 {
		e.Time = time.Unix(0, 0).UTC()
	}
	if e.Decision != Denied && e.Decision != Failed {
		e.Decision = Allowed
	}
	e.Kind = Kind(clean(string(e.Kind), maxText))
	for _, s := range []*string{&e.Action, &e.Principal, &e.Issuer, &e.UID, &e.Method, &e.Credential, &e.Token, &e.Repository,
		&e.Tag, &e.Digest, &e.Object, &e.Rule, &e.Address, &e.UserAgent, &e.RequestID} {
		*s = clean(*s, maxText)
	}
	e.Reason = clean(e.Reason, maxReason)
	if len(e.Groups) > maxGroups {
		e.Groups = append(slices.Clone(e.Groups[:maxGroups-1]), ellipsis)
	}
	if slices.ContainsFunc(e.Groups, func(g string) bool { return clean(g, maxText) != g }) {
		e.Groups = slices.Clone(e.Groups)
		for i, g := range e.Groups {
			e.Groups[i] = clean(g, maxText)
		}
	}
	if len(e.Groups) == 0 {
		e.Groups = nil
	}
	e.Claims, e.Detail = cleanMap(e.Claims), cleanMap(e.Detail)
	return e
}

func cleanMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if len(out) == maxPairs-1 && len(m) > maxPairs {
			out[ellipsis] = ellipsis
			break
		}
		out[clean(name, maxText)] = clean(m[name], maxReason)
	}
	return out
}

const ellipsis = "…"

// clean returns s without what could forge a line or deceive who reads it:
// control and format characters, line separators, and what is not UTF-8 become
// the replacement character.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit] // it is cut again; this bounds the work
	}
	if strings.IndexFunc(s, unfit) >= 0 || !utf8.ValidString(s) {
		s = strings.Map(func(r rune) rune {
			if unfit(r) {
				return utf8.RuneError
			}
			return r
		}, s)
	}
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

func unfit(r rune) bool {
	return r < ' ' || r >= 0x7f && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp))
}

// canonical returns the one written form of a normal event: JSON on one line,
// without the line's end, as encoding/json writes it.
func (e Event) canonical() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("ledger: " + err.Error()) // texts and a time within bounds can be written
	}
	return b
}

// parse reads the canonical form, and nothing else.
func parse(canonical []byte) (Event, error) {
	var e Event
	if len(canonical) > MaxLine {
		return Event{}, errForm
	}
	d := json.NewDecoder(bytes.NewReader(canonical))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Event{}, errForm
	}
	if n := e.Normal(); !bytes.Equal(n.canonical(), canonical) {
		return Event{}, errForm
	}
	return e, nil
}
