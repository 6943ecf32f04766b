package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxFile is the greatest size of a configuration file, in bytes.
const MaxFile = 1 << 20

// Load reads and validates the file at path over the defaults.
// Errors: *Error, or that of reading the file.
func Load(path string) (Config, error) {
	c, err := Read(path)
	if err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

// Read reads the file at path over the defaults, checking every setting by
// itself: Set and Validate follow. Errors: as Load.
func Read(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Config{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return Config{}, err
	}
	c, err := Decode(path, data)
	if err != nil {
		return Config{}, err
	}
	if c.Database.HasPassword() && info.Mode().Perm()&0o077 != 0 {
		return Config{}, &Error{
			Where: c.where["database"], Key: "database",
			Problem: fmt.Sprintf("holds a password and the file can be read by others (mode %04o)", info.Mode().Perm()),
			Cure:    "run: chmod 600 " + path + ", or use database_file",
		}
	}
	return c, nil
}

// Decode reads data over the defaults, checking every setting by itself; name
// is the file's name in messages.
func Decode(name string, data []byte) (Config, error) {
	if len(data) > MaxFile {
		return Config{}, &Error{Where: name, Problem: fmt.Sprintf("is larger than %d bytes", MaxFile), Cure: "name the right file"}
	}
	if isBlank(data) {
		return Config{}, &Error{Where: name, Problem: "is empty", Cure: "write at least one setting, or leave --config away"}
	}
	var document yaml.Node
	if err := yaml.Load(data, &document); err != nil {
		return Config{}, notYAML(name, err)
	}
	c := Default()
	c.where = map[string]string{}
	root := &document
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	d := decoder{file: name, where: c.where}
	if err := d.section("", root, reflect.ValueOf(&c).Elem()); err != nil {
		return Config{}, err
	}
	return c, nil
}

// isBlank reports whether there is nothing but comments and space.
func isBlank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

func notYAML(name string, err error) *Error {
	e := &Error{Where: name, Problem: "is not one YAML document", Cure: "compare it with docs/configuration.md"}
	le, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		if all, many := errors.AsType[*yaml.LoadErrors](err); many && len(all.Errors) > 0 {
			le, ok = all.Errors[0], true
		}
	}
	if ok {
		e.Problem += ": " + clean(le.Message)
		if le.Mark.Line > 0 {
			e.Where = fmt.Sprintf("%s:%d", name, le.Mark.Line)
		}
	}
	return e
}

// A decoder walks the YAML nodes and the struct side by side, so that every
// message has a line, and every scalar is taken as it is written.
type decoder struct {
	file  string
	where map[string]string
}

func (d decoder) at(n *yaml.Node, e *Error) *Error {
	e.Where = fmt.Sprintf("%s:%d", d.file, n.Line)
	return e
}

func (d decoder) section(prefix string, n *yaml.Node, v reflect.Value) error {
	if n.Kind != yaml.MappingNode {
		return d.at(n, wrong(strings.TrimSuffix(prefix, "."), "write keys and values below it", "is not a section"))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + clean(key.Value)
		if first, twice := d.where[path]; twice {
			return d.at(key, wrong(path, "keep one of the two", "is set twice, first at %s", first))
		}
		index := fieldOf(v.Type(), key.Value)
		if index < 0 {
			return d.at(key, wrong(path, didYouMean(v.Type(), prefix, key.Value), "is not a setting"))
		}
		d.where[path] = fmt.Sprintf("%s:%d", d.file, key.Line)
		if err := d.field(path, value, v, index); err != nil {
			return err
		}
	}
	return nil
}

func (d decoder) field(path string, n *yaml.Node, v reflect.Value, index int) error {
	field := v.Type().Field(index)
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return d.at(n, wrong(path, "write the value out", "uses a YAML anchor or alias"))
	}
	if n.ShortTag() == "!!null" {
		return d.at(n, wrong(path, "give a value, or remove the line", "has no value"))
	}
	if isSection(field.Type) {
		return d.section(path+".", n, v.Field(index))
	}
	if isList(field.Type) {
		return d.sections(path, n, v.Field(index))
	}
	s := setting{path: path, field: field, value: v.Field(index)}
	if err := d.leaf(s, n); err != nil {
		return d.at(n, err)
	}
	return nil
}

func (d decoder) leaf(s setting, n *yaml.Node) *Error {
	if s.value.Kind() == reflect.Slice {
		return d.list(s, n)
	}
	tag := "!!str"
	switch s.value.Interface().(type) {
	case bool:
		tag = "!!bool"
	case int:
		tag = "!!int"
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != tag {
		return wrong(s.path, s.example(), "has the wrong type")
	}
	return s.parse(n.Value)
}

// maxList bounds the items of a list.
const maxList = 100

// sections reads a list of sections; the third item's keys are LIST[2].KEY.
func (d decoder) sections(path string, n *yaml.Node, v reflect.Value) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxList {
		return d.at(n, wrong(path, "write up to 100 items, each with keys and values below a hyphen", "is not a list of sections"))
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if item.Kind == yaml.AliasNode || item.Anchor != "" {
			return d.at(item, wrong(path, "write the value out", "uses a YAML anchor or alias"))
		}
		if err := d.section(fmt.Sprintf("%s[%d].", path, i), item, list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// list reads a list of networks or texts.
func (d decoder) list(s setting, n *yaml.Node) *Error {
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxList {
		return wrong(s.path, s.example(), "has the wrong type")
	}
	texts := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
			return wrong(s.path, s.example(), "holds something that is not text")
		}
		if item.Value != clean(item.Value) {
			return wrong(s.path, s.example(), "holds something that is not printable ASCII")
		}
		texts = append(texts, item.Value)
	}
	if _, networks := s.value.Interface().([]netip.Prefix); networks {
		return s.parsePrefixes(texts)
	}
	s.value.Set(reflect.ValueOf(texts))
	return nil
}

// fieldOf returns the index of the field with the given key, or -1.
func fieldOf(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("yaml"); k != "" && k == key {
			return i
		}
	}
	return -1
}

// didYouMean finds the key that differs from key in case, separators or two
// letters at most.
func didYouMean(t reflect.Type, prefix, key string) string {
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("yaml"); k != "" && len(key) < 64 && distance(fold(k), fold(key)) <= 2 {
			return "did you mean " + prefix + k + "?"
		}
	}
	return "remove it; docs/configuration.md lists the settings"
}

func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance counts the letters to insert, remove or change between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// clean makes text from the file safe to print on a terminal.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}
