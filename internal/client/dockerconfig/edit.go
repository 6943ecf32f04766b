package dockerconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Document is an object of JSON that is being changed. What nobody changes stays
// as it is, and where it is.
type Document struct{ members []member }

// Edit changes the file at path, and replaces it at once: readers meet the old or
// the new one, of mode 0600. As docker does, it follows a link that the file is. A
// file that is damaged, or that change refuses, stays as it is; one that need not
// change is not written.
func Edit(path string, change func(*Document) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	text, err := ReadText(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if to, link := os.Readlink(path); link == nil {
		return fmt.Errorf("%s is a link to %s, which is not there: make that file, or remove the link", path, to)
	}
	d, err := parseDocument(text)
	if err != nil {
		return fmt.Errorf("%s: %w: mend it first", path, err)
	}
	before := d.text()
	if err := change(d); err != nil {
		return fmt.Errorf("%s: %w: mend it first", path, err)
	}
	after := d.text()
	if bytes.Equal(before, after) {
		return nil
	}
	var out bytes.Buffer
	if err := json.Indent(&out, after, "", "\t"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, append(out.Bytes(), '\n'))
}

// parseDocument takes an object of JSON and nothing after it; an empty file is an
// empty one. Errors tell the line.
func parseDocument(text []byte) (*Document, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return &Document{}, nil
	}
	var whole json.RawMessage
	err := json.Unmarshal(text, &whole)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		end := min(int(max(syntax.Offset, 0)), len(text))
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:end], []byte("\n")), ErrNotJSON)
	}
	if err != nil {
		return nil, ErrNotJSON
	}
	m, err := members(whole)
	if err != nil {
		return nil, err
	}
	return &Document{m}, nil
}

// Within changes the object that a field of the document is. Names of fields may be
// in any case, as for the clients. A field that becomes empty goes.
func (d *Document) Within(field string, change func(*Document)) error {
	at := -1
	for i, m := range d.members {
		if !strings.EqualFold(m.name, field) {
			continue
		}
		if at >= 0 {
			return fmt.Errorf("%s stands there twice", field)
		}
		at = i
	}
	inner := &Document{}
	if at >= 0 && string(d.members[at].value) != "null" {
		m, err := members(d.members[at].value)
		if err != nil {
			return fmt.Errorf("%s is not an object", field)
		}
		inner.members = m
	}
	before := inner.text()
	change(inner)
	after := inner.text()
	switch {
	case bytes.Equal(before, after):
	case len(inner.members) == 0:
		d.members = slices.Delete(d.members, at, at+1)
	case at < 0:
		d.members = append(d.members, member{field, after})
	default:
		d.members[at].value = after
	}
	return nil
}

// Get returns a member, or nil. Of two of one name clients take the last.
func (d *Document) Get(name string) json.RawMessage {
	var out json.RawMessage
	for _, m := range d.members {
		if m.name == name {
			out = m.value
		}
	}
	return out
}

// Names returns the names of all members.
func (d *Document) Names() []string {
	var out []string
	for _, m := range d.members {
		out = append(out, m.name)
	}
	return out
}

// Set sets a member, in its place or at the end.
func (d *Document) Set(name string, value json.RawMessage) {
	at := slices.IndexFunc(d.members, func(m member) bool { return m.name == name })
	if at < 0 {
		d.members = append(d.members, member{name, value})
		return
	}
	d.members[at].value = value
	rest := slices.DeleteFunc(d.members[at+1:], func(m member) bool { return m.name == name })
	d.members = d.members[:at+1+len(rest)]
}

// Remove takes a member away.
func (d *Document) Remove(name string) {
	d.members = slices.DeleteFunc(d.members, func(m member) bool { return m.name == name })
}

// text writes the object, without more blanks than its members have.
func (d *Document) text() []byte {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range d.members {
		if i > 0 {
			out.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // a string
		out.Write(name)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return out.Bytes()
}

func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
