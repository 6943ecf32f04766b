package config

import (
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A setting is one leaf of Config, found by its path of yaml keys.
type setting struct {
	path  string // "tls.key"
	field reflect.StructField
	value reflect.Value
}

// settings yields the leaves of the struct v in the order of the source.
func settings(v reflect.Value) iter.Seq[setting] {
	return func(yield func(setting) bool) { walk("", v, yield) }
}

func walk(prefix string, v reflect.Value, yield func(setting) bool) bool {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		if isSection(f.Type) {
			if !walk(prefix+key+".", v.Field(i), yield) {
				return false
			}
			continue
		}
		if !yield(setting{path: prefix + key, field: f, value: v.Field(i)}) {
			return false
		}
	}
	return true
}

// isSection reports whether t is a group of settings, not a setting.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[DatabaseURL]() && t != reflect.TypeFor[netip.Prefix]()
}

// isList reports whether t is a list of sections.
func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice && isSection(t.Elem()) }

// kind names the type of a setting as the documentation does.
func (s setting) kind() string {
	if isList(s.field.Type) {
		return "list of sections"
	}
	switch s.value.Interface().(type) {
	case bool:
		return "true or false"
	case int:
		return "number"
	case time.Duration:
		return "duration"
	case []netip.Prefix:
		return "list of networks"
	case []string:
		return "list of texts"
	}
	if enum := s.field.Tag.Get("enum"); enum != "" {
		return strings.ReplaceAll(enum, ",", ", ")
	}
	return "text"
}

// example shows how a value of the setting is written.
func (s setting) example() string {
	switch s.value.Interface().(type) {
	case bool:
		return "write true or false"
	case int:
		return fmt.Sprintf("write a number from %s to %s", s.field.Tag.Get("min"), s.field.Tag.Get("max"))
	case time.Duration:
		return `write a number with a unit, such as "300s", "15m" or "24h"`
	case []netip.Prefix:
		return `write a list of networks, such as ["10.0.0.0/8", "192.0.2.7/32"]`
	case []string:
		return `write a list of texts, such as ["a.example.com", "b.example.com"]`
	}
	if isList(s.field.Type) {
		return "write a list in the file, each item with keys and values below a hyphen"
	}
	if enum := s.field.Tag.Get("enum"); enum != "" {
		return "write one of " + s.kind()
	}
	return "write text, in quotes if it looks like a number"
}

// text returns the value as Set would read it.
func (s setting) text() string {
	switch v := s.value.Interface().(type) {
	case time.Duration:
		return shortDuration(v)
	case []netip.Prefix:
		return strings.Join(prefixTexts(v), ",")
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// parse sets the value from the text of a flag or of a scalar in the file.
func (s setting) parse(text string) *Error {
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' || text[i] == 0x7f {
			return wrong(s.path, "remove the control character", "holds a control character")
		}
	}
	if isList(s.field.Type) {
		return wrong(s.path, s.example(), "is a list of sections")
	}
	switch s.value.Interface().(type) {
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return wrong(s.path, s.example(), "%.40q is not true or false", text)
		}
		s.value.SetBool(b)
	case int:
		return s.parseInt(text)
	case time.Duration:
		return s.parseDuration(text)
	case []netip.Prefix:
		return s.parsePrefixes(strings.Split(text, ","))
	case []string:
		s.value.Set(reflect.ValueOf(strings.Split(text, ",")))
	case DatabaseURL:
		d, err := NewDatabaseURL(text)
		if err != nil {
			e := *err.(*Error)
			e.Key = s.path
			return &e
		}
		s.value.Set(reflect.ValueOf(d))
	default:
		if enum := s.field.Tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), text) {
			return wrong(s.path, s.example(), "%.40q is not a value it can take", text)
		}
		s.value.SetString(text)
	}
	return nil
}

// parseInt reads a number between the tags min and max.
func (s setting) parseInt(text string) *Error {
	n, err := strconv.Atoi(text)
	least, err1 := strconv.Atoi(s.field.Tag.Get("min"))
	greatest, err2 := strconv.Atoi(s.field.Tag.Get("max"))
	if err1 != nil || err2 != nil {
		panic("config: setting " + s.path + " has no tags min and max")
	}
	if err != nil || n < least || n > greatest {
		return wrong(s.path, s.example(), "%.40q is not a number that it can take", text)
	}
	s.value.SetInt(int64(n))
	return nil
}

func (s setting) parseDuration(text string) *Error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return wrong(s.path, s.example(), "%.40q is not a duration", text)
	}
	least, greatest := s.bounds()
	optional := s.field.Tag.Get("unset") != ""
	if d < least && !(optional && d == 0) {
		return wrong(s.path, "give at least "+shortDuration(least), "%s is too short", shortDuration(d))
	}
	if d > greatest {
		return wrong(s.path, "give at most "+shortDuration(greatest), "%s is too long", shortDuration(d))
	}
	s.value.SetInt(int64(d))
	return nil
}

// bounds reads the tags min and max; a duration without them, or with a tag
// that does not parse, is a mistake in this package.
func (s setting) bounds() (least, greatest time.Duration) {
	var bounds [2]time.Duration
	for i, name := range [...]string{"min", "max"} {
		d, err := time.ParseDuration(s.field.Tag.Get(name))
		if err != nil {
			panic("config: setting " + s.path + " has no tag " + name)
		}
		bounds[i] = d
	}
	return bounds[0], bounds[1]
}

func (s setting) parsePrefixes(texts []string) *Error {
	var prefixes []netip.Prefix
	for _, t := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(t))
		if err != nil {
			return wrong(s.path, s.example(), "%.60q is not a network", t)
		}
		if p != p.Masked() {
			return wrong(s.path, "write "+p.Masked().String()+", or a single address with /32 or /128", "%s has bits behind its mask", p)
		}
		prefixes = append(prefixes, p)
	}
	s.value.Set(reflect.ValueOf(prefixes))
	return nil
}

func prefixTexts(prefixes []netip.Prefix) []string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
	}
	return texts
}

// shortDuration writes 24h0m0s as 24h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
