package admin

import "net/http"

// A Route is a line of the API as tests see it.
type Route struct {
	Method, Pattern string
	ID, Summary     string
	Success         int
	// Decided: it says who may. Admin: for administrators alone. Narrowed: for
	// narrowed credentials too.
	Decided, Admin, Narrowed bool
	Quiet                    bool // leaves no event when it is done
	Open                     bool // for anybody
}

// Routes returns all of the API.
func Routes() []Route {
	var out []Route
	for _, rt := range routes {
		out = append(out, Route{rt.method, rt.pattern, rt.id, rt.summary, rt.success(), rt.who.decided(), rt.who.own == nothing, rt.who.own == everything, !rt.changes(), rt.who.own == open})
	}
	return out
}

// OpenAPI returns the description of the API.
func OpenAPI() []byte { return openAPI() }

// Challenge returns the challenge of an answer to r for a token that lacks the scope.
func Challenge(o Options, r *http.Request, reason string) string {
	c := &call{door: &door{Options: o}, w: header{}, r: r}
	c.challenge("", reason)
	return c.w.Header().Get("WWW-Authenticate")
}

type header http.Header

func (h header) Header() http.Header       { return http.Header(h) }
func (header) Write(b []byte) (int, error) { return len(b), nil }
func (header) WriteHeader(int)             {}

// Decode is the strict reader of bodies.
func Decode(b []byte, out any) error { return decode(b, out) }

// SetStretch is for tests with few events. It returns what restores it.
func SetStretch(n int64) (restore func()) {
	old := stretch
	stretch = n
	return func() { stretch = old }
}
