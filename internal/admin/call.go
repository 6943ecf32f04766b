package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// maxOpenBody bounds the body of a request that anybody may send, in bytes.
const maxOpenBody = 8 << 10

// maxPage is the most that one part of a list holds, and the default.
const maxPage = 1000

// A call is one request with all that a handler may use to answer it. A handler
// returns an error before it has written anything, or writes the answer.
type call struct {
	door      *door
	w         http.ResponseWriter
	r         *http.Request
	route     route // zero where there is none
	authority access.Authority
	query     url.Values
	event     *ledger.Event // of a route that changes something, once it is entered
}

func (c *call) principal() access.Principal { return c.authority.Identity.Principal }
func (c *call) requestID() string           { return c.w.Header().Get("X-Request-Id") }

// readQuery takes the parameters that the route knows, each once.
func (c *call) readQuery(known string) error {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badRequest("the query is not well-formed")
	}
	for name, given := range values {
		if !slices.Contains(strings.Fields(known), name) {
			return badRequest("query parameter %.40q is not known here", name)
		}
		if len(given) > 1 {
			return badRequest("query parameter %q is given %d times", name, len(given))
		}
	}
	c.query = values
	return nil
}

// page returns the parameters n and after.
func (c *call) page() (n int, after string, err error) {
	n = maxPage
	if text := c.query.Get("n"); c.query.Has("n") {
		n, err = strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return 0, "", badRequest("query parameter n: want a number from 1 to %d", maxPage)
		}
	}
	after = c.query.Get("after")
	if len(after) > access.MaxName {
		return 0, "", badRequest("query parameter after: want what \"next\" said")
	}
	return n, after, nil
}

// cut returns the part of all, which is in order, that follows the item called
// after, and at most n of it.
func cut[T any](all []T, n int, after string, name func(T) string) (client.Page[T], error) {
	if after != "" {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == after })
		if i < 0 {
			return client.Page[T]{}, badRequest("query parameter after: nothing in the list is called that any more; begin again")
		}
		all = all[i+1:]
	}
	page := client.Page[T]{Items: all[:min(n, len(all))]}
	if len(page.Items) < len(all) {
		page.Next = name(page.Items[len(page.Items)-1])
	}
	return page, nil
}

// readBody returns a body of one of the given media types, at most
// client.MaxBody bytes of it (maxOpenBody before anything is proven), and enters again: there is no other way to a body,
// so nothing is done with one by an authority from before it.
func (c *call) readBody(types ...string) ([]byte, error) {
	given, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, given) {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "Content-Type must be %s", strings.Join(types, " or "))
	}
	if set := params["charset"]; set != "" && !strings.EqualFold(set, "utf-8") {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "Content-Type: the charset must be utf-8")
	}
	if c.r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "Content-Encoding: send the body as it is")
	}
	limit := int64(client.MaxBody)
	if c.route.who.own == open {
		limit = maxOpenBody
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, refuse(http.StatusRequestEntityTooLarge, "too-large", "the body is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, badRequest("the body could not be read to its end")
	}
	return b, c.enterAgain()
}

// readJSON reads a body that is one JSON object with fields of out, none of
// them twice, and nothing else.
func (c *call) readJSON(out any) error {
	b, err := c.readBody("application/json")
	if err != nil {
		return err
	}
	return decode(b, out)
}

// decode is strict where encoding/json is not: it would take "Password" and
// "paſſword" for "password", the last of two, and anything after the end.
func decode(b []byte, out any) error {
	var fields []string
	for _, f := range jsonFields(reflect.TypeOf(out).Elem()) {
		fields = append(fields, f.name)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return badRequest("the body must be a JSON object")
	}
	values := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return notJSON(err)
		}
		name := key.(string) // the decoder takes nothing else here
		if !slices.Contains(fields, name) {
			return badRequest("field %.40q is not known: use %s", name, strings.Join(fields, ", "))
		}
		if _, twice := values[name]; twice {
			return badRequest("field %q is there twice", name)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return notJSON(err)
		}
		values[name] = v
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body goes on after the JSON object")
	}
	for name, v := range values {
		if string(v) == "null" {
			return badRequest("field %q is null: leave it out instead", name)
		}
	}
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields() // of objects inside
	if err := strict.Decode(out); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return badRequest("field %q: want %s, not %s", e.Field, e.Type, e.Value)
		}
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return badRequest("field %.40s is not known", name)
		}
		return notJSON(err)
	}
	return nil
}

func notJSON(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badRequest("the body is not valid JSON: %s at byte %d", e, e.Offset)
	}
	return badRequest("the body is not valid JSON")
}

// json answers with v.
func (c *call) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	c.write(status, "application/json", append(body, '\n'))
	return nil
}

// done answers that there is nothing to say.
func (c *call) done() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) write(status int, mediaType string, body []byte) {
	c.w.Header().Set("Content-Type", mediaType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		c.w.Write(body) // a client that has gone away needs no answer
	}
}

// parseName reads "user:alice" or "robot:ci".
func parseName(field, s string) (account.Name, error) {
	kind, name, _ := strings.Cut(s, ":")
	n := account.Name{Kind: access.Kind(kind), Name: name}
	if n.Kind != access.User && n.Kind != access.Robot || access.ValidName(name) != nil {
		return n, badRequest("%s: %.80q is no account: use user:NAME or robot:NAME", field, s)
	}
	return n, nil
}

// own returns the caller's name.
func (c *call) own() account.Name {
	return account.Name{Kind: c.principal().Kind, Name: c.principal().Name}
}
