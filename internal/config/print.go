package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Effective returns c with what follows from other settings filled in:
// database and service.
func (c Config) Effective() Config {
	if c.Database.IsZero() && c.DatabaseFile == "" {
		c.Database = DatabaseURL{"sqlite:" + filepath.Join(c.Data, "metadata.db")}
	}
	if c.Service == "" {
		c.Service = c.Listen
		if u, err := url.Parse(c.ExternalURL); err == nil && u.Host != "" {
			c.Service = u.Host
		}
	}
	return c
}

// Print writes c as a file that Decode reads, secrets redacted. What is empty
// by default is left away.
func (c Config) Print() ([]byte, error) {
	root := section(reflect.ValueOf(c), reflect.ValueOf(Default()))
	var out bytes.Buffer
	d, err := yaml.NewDumper(&out)
	if err != nil {
		return nil, err
	}
	if err := d.Dump(root); err != nil {
		return nil, err
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func section(v, defaults reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		var value *yaml.Node
		switch {
		case isSection(f.Type):
			value = section(v.Field(i), defaults.Field(i))
		case isList(f.Type):
			value = &yaml.Node{Kind: yaml.SequenceNode}
			for j := range v.Field(i).Len() {
				value.Content = append(value.Content, section(v.Field(i).Index(j), reflect.Zero(f.Type.Elem())))
			}
		case f.Tag.Get("unset") != "" && v.Field(i).IsZero() && defaults.Field(i).IsZero():
			continue
		default:
			value = leaf(setting{path: key, field: f, value: v.Field(i)})
		}
		if value.Kind == yaml.ScalarNode || len(value.Content) > 0 {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
		}
	}
	return n
}

func leaf(s setting) *yaml.Node {
	switch v := s.value.Interface().(type) {
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprint(v)}
	case []netip.Prefix:
		return texts(prefixTexts(v))
	case []string:
		return texts(v)
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.text()}
	}
}

func texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, text := range list {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	}
	return n
}

// Markdown returns the table of all settings for docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Key | Type | Default | Meaning |\n|---|---|---|---|\n")
	c := Default()
	rows(&b, "", reflect.ValueOf(&c).Elem())
	return b.String()
}

// rows writes the settings of v, and those of an item below each list.
func rows(b *strings.Builder, prefix string, v reflect.Value) {
	for s := range settings(v) {
		s.path = prefix + s.path
		kind := s.kind()
		switch kind {
		case "duration":
			least, greatest := s.bounds()
			kind += ", " + shortDuration(least) + " to " + shortDuration(greatest)
		case "number":
			kind += ", " + s.field.Tag.Get("min") + " to " + s.field.Tag.Get("max")
		}
		value := "`" + s.text() + "`"
		switch unset := s.field.Tag.Get("unset"); {
		case !s.value.IsZero():
		case unset != "":
			value = unset
		case prefix != "":
			value = "required"
		}
		doc := s.field.Tag.Get("doc")
		if unset := s.field.Tag.Get("unset"); unset != "" && !s.value.IsZero() {
			empty := "Empty"
			if s.value.Kind() == reflect.Int64 {
				empty = "`0s`"
			}
			doc += " " + empty + ": " + unset + "."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", s.path, kind, value, doc)
		if isList(s.field.Type) {
			rows(b, s.path+"[].", reflect.New(s.field.Type.Elem()).Elem())
		}
	}
}
