package access_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
)

// TestPolicyDocs reads every example of docs/policy.md.
func TestPolicyDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	var release *access.Policy
	policies, cases := 0, 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(m[1], "cases:") {
			cases++
			read, err := access.ParsePolicyCases([]byte(m[1]))
			if err != nil {
				t.Error(err)
			}
			for _, r := range release.Test(read) {
				if !r.Passed {
					t.Errorf("%s: %s", r.Case.Name, r.Failure)
				}
			}
			continue
		}
		policies++
		pol, err := access.ParsePolicy([]byte(m[1]))
		if err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
		if strings.Contains(m[1], "releases-come-from-the-pipeline") {
			release = pol
		}
	}
	if policies < 6 || cases == 0 {
		t.Errorf("%d policies and %d files of cases", policies, cases)
	}
}

// TestPolicySchema: the published schema accepts what the parser accepts, and
// refuses what it refuses for its form. What a schema cannot say (unique names,
// conditions, which fields go together) is in the list of exceptions.
func TestPolicySchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	s := schema{root}
	for _, doc := range []string{team, shared, "version: 2\nrules: []\n", manyRules(100, shapes[4].rule), with2("")} {
		if problem := s.check(doc); problem != "" {
			t.Errorf("refused by the schema: %s", problem)
		}
	}
	for seed := range uint64(100) {
		d := randomTwo(newRand(seed))
		if problem := s.check(d.String()); problem != "" {
			t.Errorf("refused by the schema: %s in\n%s", problem, d)
		}
	}
	beyond := []string{
		"outsider, anybody", "S-11 placeholder in a part", "operate on a part", "anyone pushes", "pull by tag",
		"part by condition", "protection of nothing", "protection of pull by tag", "anchors", "many conditions", "F-32 dear conditions",
	}
	for _, c := range refusedTwo {
		refused := s.check(c.doc) != ""
		if refused == slices.Contains(beyond, c.name) {
			t.Errorf("%s: refused by the schema: %t", c.name, refused)
		}
	}
}

func with2(when string) string {
	return fmt.Sprintf("version: 2\nrules:\n- {name: r, subjects: [anyone], repositories: [\"{user}/x/**\"], actions: [pull], when: %q}\n", when+"true")
}

// A schema checks the part of JSON Schema that ours is written in.
type schema struct{ root map[string]any }

func (s schema) check(doc string) string {
	var v any
	if err := yaml.Load([]byte(doc), &v); err != nil {
		return err.Error()
	}
	return s.value(s.root, v, "")
}

func (s schema) value(rule map[string]any, v any, at string) string {
	if ref, ok := rule["$ref"].(string); ok {
		return s.value(s.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), v, at)
	}
	for key, want := range rule {
		ok := true
		switch key {
		case "$schema", "$defs", "title", "description", "properties", "additionalProperties":
		case "const":
			ok = fmt.Sprint(v) == fmt.Sprint(want) && reflect.TypeOf(v).Kind() == reflect.Int
		case "enum":
			ok = slices.Contains(want.([]any), v)
		case "type":
			ok = map[string]reflect.Kind{"object": reflect.Map, "array": reflect.Slice, "string": reflect.String}[want.(string)] == reflect.ValueOf(v).Kind()
		case "anyOf":
			ok = slices.ContainsFunc(want.([]any), func(o any) bool { return s.value(o.(map[string]any), v, at) == "" })
		case "pattern":
			text, is := v.(string)
			ok = !is || regexp.MustCompile(want.(string)).MatchString(text)
		case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
			if k := reflect.ValueOf(v).Kind(); k == reflect.String || k == reflect.Slice || k == reflect.Map {
				n := float64(reflect.ValueOf(v).Len())
				ok = strings.HasPrefix(key, "min") && n >= want.(float64) || strings.HasPrefix(key, "max") && n <= want.(float64)
			}
		case "required":
			m, is := v.(map[string]any)
			ok = !is || !slices.ContainsFunc(want.([]any), func(k any) bool { _, has := m[k.(string)]; return !has })
		case "items":
			items, _ := v.([]any)
			for i, item := range items {
				if problem := s.value(want.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i)); problem != "" {
					return problem
				}
			}
		default:
			return "unknown keyword " + key
		}
		if !ok {
			return fmt.Sprintf("%s: %s", at, key)
		}
	}
	m, _ := v.(map[string]any)
	properties, _ := rule["properties"].(map[string]any)
	for key, value := range m {
		of, known := properties[key].(map[string]any)
		if !known {
			if of, known = rule["additionalProperties"].(map[string]any); !known {
				if rule["additionalProperties"] == nil {
					continue
				}
				return fmt.Sprintf("%s.%s: is not known", at, key)
			}
		}
		if problem := s.value(of, value, at+"."+key); problem != "" {
			return problem
		}
	}
	return ""
}
