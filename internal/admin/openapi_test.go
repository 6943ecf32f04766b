package admin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

// TestOpenAPIDocs: docs/openapi.json is what the server serves.
func TestOpenAPIDocs(t *testing.T) {
	const file = "../../docs/openapi.json"
	want := admin.OpenAPI()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says (%v): go test ./internal/admin -run OpenAPIDocs -update", file, err)
	}
}

// A description is an OpenAPI document as a tool reads it.
type description struct {
	OpenAPI string
	Info    struct{ Title, Version string }
	Servers []struct{ URL string }
	Paths   map[string]map[string]struct {
		OperationID, Summary, Description string
		Parameters                        []struct {
			Name, In, Description string
			Required              bool
			Schema                map[string]any
		}
		RequestBody struct {
			Content map[string]struct{ Schema map[string]any }
		}
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]struct{ Schema map[string]any }
		}
	}
	Components struct {
		Responses map[string]any
		Schemas   map[string]map[string]any
	}
}

func readDescription(t *testing.T) description {
	t.Helper()
	var d description
	if err := json.Unmarshal(admin.OpenAPI(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPI: the document has every route, once, with all its parameters, and
// what it refers to is there.
func TestOpenAPI(t *testing.T) {
	d := readDescription(t)
	if d.OpenAPI != "3.1.0" || d.Info.Title == "" || d.Info.Version != "v1" || len(d.Servers) != 1 || d.Servers[0].URL != client.APIPath {
		t.Errorf("the document begins with %+v", d)
	}
	operations := 0
	for _, of := range d.Paths {
		operations += len(of)
	}
	if operations != len(admin.Routes()) {
		t.Errorf("%d operations for %d routes", operations, len(admin.Routes()))
	}
	braces := regexp.MustCompile(`\{(\w+)\}`)
	for _, rt := range admin.Routes() {
		op, ok := d.Paths[rt.Pattern][strings.ToLower(rt.Method)]
		if !ok || op.OperationID != rt.ID || op.Summary == "" || op.Description == "" {
			t.Errorf("%s %s is %+v", rt.Method, rt.Pattern, op)
		}
		var named []string
		for _, p := range op.Parameters {
			if p.Description == "" || p.Schema["type"] == nil {
				t.Errorf("%s: parameter %+v is not described", rt.ID, p)
			}
			if p.In == "path" {
				named = append(named, p.Name)
			}
		}
		var want []string
		for _, m := range braces.FindAllStringSubmatch(rt.Pattern, -1) {
			want = append(want, m[1])
		}
		if !slices.Equal(named, want) {
			t.Errorf("%s: path parameters %q, want %q", rt.ID, named, want)
		}
		if op.Responses["default"].Ref == "" || len(op.Responses) < 2 {
			t.Errorf("%s: responses are %v", rt.ID, op.Responses)
		}
	}
	var whole any
	if err := json.Unmarshal(admin.OpenAPI(), &whole); err != nil {
		t.Fatal(err)
	}
	for _, ref := range references(whole) {
		at := whole
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[step]
		}
		if at == nil {
			t.Errorf("%s is not there", ref)
		}
	}
}

// references returns all values of $ref.
func references(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if text, ok := inner.(string); ok && k == "$ref" {
				out = append(out, text)
			}
			out = append(out, references(inner)...)
		}
	case []any:
		for _, inner := range v {
			out = append(out, references(inner)...)
		}
	}
	return out
}

// TestOpenAPIHolds: what the samples send and what they get is of the schemas
// that the document has for it, and so are the errors.
func TestOpenAPIHolds(t *testing.T) {
	f := onSQLite(t)
	d := readDescription(t)
	b := f.as("admin")
	for _, rt := range admin.Routes() {
		s := samples[rt.Method+" "+rt.Pattern]
		s.method = rt.Method
		op := d.Paths[rt.Pattern][strings.ToLower(rt.Method)]
		if s.body != "" && s.contentType == "" {
			media := op.RequestBody.Content["application/json"]
			if err := d.holds(media.Schema, []byte(s.body)); err != nil {
				t.Errorf("%s: the body of the sample: %v", rt.ID, err)
			}
		} else if s.body != "" && op.RequestBody.Content[s.contentType].Schema == nil {
			t.Errorf("%s: a body of type %s is not described", rt.ID, s.contentType)
		}
		w := f.do(b, s.req)
		answer := op.Responses[fmt.Sprint(w.Code)]
		content, mediaType := answer.Content, w.Header().Get("Content-Type")
		switch {
		case w.Code >= 400:
			if err := d.holds(map[string]any{"$ref": "#/components/schemas/Problem"}, w.Body.Bytes()); err != nil {
				t.Errorf("%s: the error: %v", rt.ID, err)
			}
		case w.Code != rt.Success:
			t.Errorf("%s: answer %d is not the one described, %d", rt.ID, w.Code, rt.Success)
		case w.Body.Len() == 0 && len(content) == 0:
		case content[mediaType].Schema == nil:
			t.Errorf("%s: an answer of type %q is not described", rt.ID, mediaType)
		default:
			if err := d.holds(content[mediaType].Schema, w.Body.Bytes()); err != nil {
				t.Errorf("%s: the answer %s: %v", rt.ID, w.Body, err)
			}
		}
	}
}

// holds reports what of text is not as s says.
func (d description) holds(s map[string]any, text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return d.match("$", s, v)
}

func (d description) match(at string, s map[string]any, v any) error {
	if ref, ok := s["$ref"].(string); ok {
		return d.match(at, d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")], v)
	}
	ok := true
	switch s["type"] {
	case "string":
		var text string
		if text, ok = v.(string); ok && s["format"] == "date-time" {
			_, err := time.Parse(time.RFC3339, text)
			ok = err == nil
		}
	case "integer":
		var n float64
		n, ok = v.(float64)
		ok = ok && n == float64(int64(n))
	case "number":
		_, ok = v.(float64)
	case "boolean":
		_, ok = v.(bool)
	case "array":
		var items []any
		items, ok = v.([]any)
		for i, item := range items {
			if err := d.match(fmt.Sprintf("%s[%d]", at, i), s["items"].(map[string]any), item); err != nil {
				return err
			}
		}
	case "object":
		var fields map[string]any
		if fields, ok = v.(map[string]any); ok {
			return d.matchFields(at, s, fields)
		}
	}
	if !ok {
		return fmt.Errorf("%s: %v is no %v", at, v, s["type"])
	}
	return nil
}

func (d description) matchFields(at string, s map[string]any, fields map[string]any) error {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := fields[name.(string)]; !there {
			return fmt.Errorf("%s: %q is required and not there", at, name)
		}
	}
	for name, v := range fields {
		p, described := properties[name].(map[string]any)
		if others, ok := s["additionalProperties"].(map[string]any); ok && !described {
			p, described = others, true
		}
		// Ours hold nothing that is not described, even where they may grow.
		if !described {
			return fmt.Errorf("%s: %q is not described", at, name)
		}
		if err := d.match(at+"."+name, p, v); err != nil {
			return err
		}
	}
	return nil
}
