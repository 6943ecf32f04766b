package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/client"
)

// The parts of an OpenAPI 3.1 document that ours has.
type (
	apiDocument struct {
		OpenAPI    string                             `json:"openapi"`
		Info       map[string]string                  `json:"info"`
		Servers    []map[string]string                `json:"servers"`
		Security   []map[string][]string              `json:"security"`
		Paths      map[string]map[string]apiOperation `json:"paths"`
		Components apiComponents                      `json:"components"`
	}
	apiComponents struct {
		SecuritySchemes map[string]map[string]string `json:"securitySchemes"`
		Responses       map[string]apiResponse       `json:"responses"`
		Schemas         schemas                      `json:"schemas"`
	}
	apiOperation struct {
		ID          string                 `json:"operationId"`
		Summary     string                 `json:"summary"`
		Description string                 `json:"description"`
		Tags        []string               `json:"tags"`
		Parameters  []apiParameter         `json:"parameters,omitempty"`
		RequestBody *apiBody               `json:"requestBody,omitempty"`
		Responses   map[string]apiResponse `json:"responses"`
		Right       string                 `json:"x-sallyport-right,omitempty"`
		Security    *[]map[string][]string `json:"security,omitempty"` // nil: the document's
	}
	apiParameter struct {
		Name        string  `json:"name"`
		In          string  `json:"in"`
		Required    bool    `json:"required,omitempty"`
		Description string  `json:"description"`
		Schema      *schema `json:"schema"`
	}
	apiBody struct {
		Required bool                `json:"required"`
		Content  map[string]apiMedia `json:"content"`
	}
	apiResponse struct {
		Ref         string              `json:"$ref,omitempty"`
		Description string              `json:"description,omitempty"`
		Content     map[string]apiMedia `json:"content,omitempty"`
	}
	apiMedia struct {
		Schema *schema `json:"schema"`
	}
)

// openAPI returns the description of the API in OpenAPI 3.1, made of the routes.
func openAPI() []byte {
	all := schemas{}
	doc := apiDocument{
		OpenAPI: "3.1.0",
		Info: map[string]string{
			"title":   "Sallyport admin API",
			"version": strings.TrimPrefix(client.APIPath, "/api/"),
			"description": "Everything that the sallyport command does. Ask the token endpoint, /token, for an access token with the scope " + apiScope +
				" and send it as a bearer token. What an answer holds may grow; a body that is sent must hold the fields described here and no others.",
		},
		Servers:  []map[string]string{{"url": client.APIPath}},
		Security: []map[string][]string{{"bearer": {}}},
		Paths:    map[string]map[string]apiOperation{},
	}
	for _, rt := range routes {
		if doc.Paths[rt.pattern] == nil {
			doc.Paths[rt.pattern] = map[string]apiOperation{}
		}
		doc.Paths[rt.pattern][strings.ToLower(rt.method)] = operation(rt, all)
	}
	doc.Components = apiComponents{
		SecuritySchemes: map[string]map[string]string{"bearer": {
			"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token of /token with the scope " + apiScope + ".",
		}},
		Responses: map[string]apiResponse{"Problem": {
			Description: "What is wrong, as problem details (RFC 9457). 401: log in, or ask for a token with the scope that WWW-Authenticate names. 403: it takes a right that you do not have.",
			Content:     map[string]apiMedia{client.ProblemType: {all.of(reflect.TypeFor[client.Problem](), false)}},
		}},
		Schemas: all,
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("describe the API: %v", err)) // texts, maps and structs: a mistake of ours
	}
	return append(out, '\n')
}

func (c *call) describeAPI() error {
	c.write(http.StatusOK, "application/json", c.door.description())
	return nil
}

func operation(rt route, all schemas) apiOperation {
	tag, _, _ := strings.Cut(rt.pattern[1:], "/")
	op := apiOperation{
		ID: rt.id, Summary: rt.summary, Description: rt.who.String(), Tags: []string{tag}, Right: string(rt.who.right),
		Responses: map[string]apiResponse{"default": {Ref: "#/components/responses/Problem"}},
	}
	if rt.who.own == open {
		op.Security = &[]map[string][]string{}
	}
	for _, name := range pathParameters(rt.pattern) {
		op.Parameters = append(op.Parameters, parameterOf(name, "path"))
	}
	for _, name := range strings.Fields(rt.query) {
		op.Parameters = append(op.Parameters, parameterOf(name, "query"))
	}
	for _, name := range strings.Fields(rt.header) {
		op.Parameters = append(op.Parameters, parameterOf(name, "header"))
	}
	if rt.in != nil {
		op.RequestBody = &apiBody{Required: true, Content: content(rt.in, all, true)}
	}
	success := apiResponse{Description: http.StatusText(rt.success()), Content: content(rt.out, all, false)}
	op.Responses[strconv.Itoa(rt.success())] = success
	if rt.again {
		success.Description = "It was there already, just so"
		op.Responses[strconv.Itoa(http.StatusOK)] = success
	}
	return op
}

// success returns the status of an answer that is no problem.
func (rt route) success() int {
	switch {
	case rt.status != 0:
		return rt.status
	case rt.out == nil:
		return http.StatusNoContent
	}
	return http.StatusOK
}

func content(body any, all schemas, closed bool) map[string]apiMedia {
	if body == nil {
		return nil
	}
	types, ok := body.(document)
	if !ok {
		return map[string]apiMedia{"application/json": {all.of(reflect.TypeOf(body), closed)}}
	}
	out := map[string]apiMedia{}
	for _, t := range types {
		out[t] = apiMedia{&schema{}}
	}
	return out
}

// pathParameters returns the names in braces.
func pathParameters(pattern string) []string {
	var out []string
	for _, part := range strings.Split(pattern, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		out = append(out, name)
	}
	return out
}

// parameters describes what stands in paths, queries and headers; a name means
// the same everywhere.
var parameters = map[string]struct{ kind, text string }{
	"name":       {"string", "The account's name; its slashes are written \"~\"."},
	"group":      {"string", "The group's name; its slashes are written \"~\"."},
	"member":     {"string", "An account, user:NAME or robot:NAME; the slashes of its name are written \"~\"."},
	"issuer":     {"string", "The name of a trusted issuer; of an identity, the issuer URL of its provider."},
	"preset":     {"string", "The name of a preset."},
	"id":         {"string", "The id that a listing shows."},
	"version":    {"integer", "The number of a version, from 1."},
	"n":          {"integer", fmt.Sprintf("How many items at most, from 1 to %d, which is the default.", maxPage)},
	"after":      {"string", "What \"next\" of the part before said; without it the list begins. Of the record: events after the one with this number, the oldest first."},
	"owner":      {"string", fmt.Sprintf("Whose to show, user:NAME or robot:NAME, or %q for everybody's; without it the caller's own.", client.Everybody)},
	"action":     {"string", "What is to be done: pull, push, create-tag, move-tag, delete, or an administrative right."},
	"repository": {"string", "The repository, or for an administrative right any name in the tree."},
	"tag":        {"string", "The tag; without it, any."},
	"sum":        {"string", "The SHA-256 of a key's secret, in hexadecimal: only that key, if the caller may see it."},
	"subject":    {"string", "What the provider calls the person for ever (\"sub\")."},
	"reason":     {"string", "Why, for the history."},
	"If-Match":   {"string", "The version that the change is based on, in quotes, as ETag gave it."},
	"before":     {"integer", "Events before the one with this number, the newest first: what \"next\" of the part before said. Without it and \"after\" from the end."},
	"who":        {"string", "Events of this principal, such as user:alice."},
	"what":       {"string", "Events of this kind, such as push."},
	"where":      {"string", "Events of this repository, or with /** at its end of all below it too."},
	"request":    {"string", "Events of the request with this id."},
	"since":      {"string", "Events since this time (RFC 3339)."},
	"until":      {"string", "Events before this time (RFC 3339)."},
	"denied":     {"boolean", "Only what was denied or failed."},
}

func parameterOf(name, in string) apiParameter {
	p, known := parameters[name]
	if !known {
		panic(fmt.Sprintf("parameter %q of a route is not described", name))
	}
	return apiParameter{
		Name: name, In: in, Required: in == "path" || name == "If-Match",
		Description: p.text, Schema: &schema{Type: p.kind},
	}
}

// String says who may, for the description of a route.
func (w who) String() string {
	right := fmt.Sprintf("the right %s", w.right)
	switch w.over {
	case registry:
		right += " over the whole registry"
	case anywhere:
		right += " over the part of the tree of names that this is about"
	default:
		right += fmt.Sprintf(" over {%s}", w.over)
	}
	switch {
	case w.own == open:
		return "For anybody, without a token: the body holds what proves it."
	case w.own == everything && w.right != "":
		return "For the credential itself, and for what is the caller's own with one that is not narrowed; for others' it takes " + right + "."
	case w.own == everything:
		return "For whoever is logged in, about what is their own."
	case w.own == things:
		return "For what is the caller's own, with a credential that is not narrowed; for others' it takes " + right + "."
	case w.own == named:
		return "For the account that the path names, with a credential that is not narrowed; for others it takes " + right + "."
	}
	return "It takes " + right + "."
}
