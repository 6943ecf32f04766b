package admin

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/client"
)

// A schema is a JSON Schema (draft 2020-12) as OpenAPI 3.1 uses it.
type schema struct {
	Ref         string             `json:"$ref,omitempty"`
	Type        string             `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	Description string             `json:"description,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	// Additional is what fields beside Properties hold: a schema, or false for
	// none. nil: anything, so that answers can grow.
	Additional any `json:"additionalProperties,omitempty"`
}

const schemaPath = "#/components/schemas/"

// schemas collects the schemas of types, under the names of the types.
type schemas map[string]*schema

// formats are the types that JSON writes as a text of some form.
var formats = map[reflect.Type]string{
	reflect.TypeFor[time.Time]():     "date-time",
	reflect.TypeFor[client.Secret](): "password",
}

// of returns the schema of t. Named structs are collected; closed says that
// their fields are all there is, as in a body that is read strictly.
func (all schemas) of(t reflect.Type, closed bool) *schema {
	if format, ok := formats[t]; ok {
		return &schema{Type: "string", Format: format}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return all.of(t.Elem(), closed)
	case reflect.Struct:
		return all.ofStruct(t, closed)
	case reflect.Slice, reflect.Array:
		return &schema{Type: "array", Items: all.of(t.Elem(), closed)}
	case reflect.Map:
		return &schema{Type: "object", Additional: all.of(t.Elem(), closed)}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &schema{Type: "integer", Format: "int64"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Interface:
		return &schema{}
	}
	panic(fmt.Sprintf("no schema for %s: give types of internal/client fields that JSON knows", t))
}

func (all schemas) ofStruct(t reflect.Type, closed bool) *schema {
	name := schemaName(t)
	ref := &schema{Ref: schemaPath + name}
	if old := all[name]; old != nil && (!closed || old.Additional != nil) {
		return ref
	}
	s := &schema{Type: "object", Properties: map[string]*schema{}}
	all[name] = s
	if closed {
		s.Additional = false
	}
	for _, f := range jsonFields(t) {
		p := all.of(f.Type, closed)
		p.Description = f.Tag.Get("doc")
		s.Properties[f.name] = p
		if !f.optional {
			s.Required = append(s.Required, f.name)
		}
	}
	return ref
}

// schemaName returns "AccountPage" for client.Page[client.Account].
func schemaName(t reflect.Type) string {
	outer, inner, generic := strings.Cut(strings.TrimSuffix(t.Name(), "]"), "[")
	if !generic {
		return outer
	}
	return inner[strings.LastIndexByte(inner, '.')+1:] + outer
}

// A jsonField is a field of a struct as JSON has it.
type jsonField struct {
	reflect.StructField
	name     string
	optional bool // may be absent
}

// jsonFields returns the fields of a struct, those of embedded ones among them,
// in order.
func jsonFields(t reflect.Type) []jsonField {
	var out []jsonField
	for _, f := range reflect.VisibleFields(t) {
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out = append(out, jsonField{f, name, tagged && strings.HasPrefix(options, "omit")})
	}
	return out
}
