package ui

import (
	"context"
	"embed"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/provider"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// Paths that programs know.
const (
	Prefix       = "/oauth/"
	MetadataPath = "/.well-known/oauth-authorization-server"
)

//go:embed pages
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"when": func(t time.Time) string { return t.UTC().Format("15:04 MST on 2 January 2006") },
}).ParseFS(files, "pages/*.html"))

// Accounts are the people who are here, and those whom providers vouch for.
type Accounts interface {
	SignIn(ctx context.Context, o access.Outside) (access.Identity, error)
}

// Deps are the rooms that the pages work with. Ledger may be nil.
type Deps struct {
	Accounts  Accounts
	Passwords access.Authenticator // for access.Password
	Tokens    *token.Service
	Providers []*provider.Provider // in the order in which they are offered
	// Directories are names of those whose people sign in with a password.
	Directories []string
	Sealer      *token.Sealer // of what browsers keep for us
	Ledger      *ledger.Recorder
}

// Options of the pages. Base and Service are required.
type Options struct {
	// Base returns our URL for the answer to a request, without a slash at its end.
	Base    func(*http.Request) string
	Issuer  string // of our tokens
	Service string // what people call this registry
	Now     func() time.Time
	Logger  *slog.Logger
}

// A door serves the pages.
type door struct {
	Deps
	Options
	codes *tries
}

// New returns the handler of everything below Prefix and of MetadataPath.
func New(d Deps, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &door{Deps: d, Options: o, codes: newTries(o.Now)}
	style, err := fs.ReadFile(files, "pages/style.css")
	if err != nil {
		panic(err) // it is part of the program
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+MetadataPath, s.metadata)
	mux.HandleFunc("GET /oauth/authorize", s.authorize)
	mux.HandleFunc("GET /oauth/provider/{name}", s.toProvider)
	mux.HandleFunc("GET "+provider.CallbackPath+"{name}", s.callback)
	mux.HandleFunc("POST /oauth/password", s.form(s.password))
	mux.HandleFunc("GET /oauth/device", s.askUserCode)
	mux.HandleFunc("POST /oauth/device", s.form(s.userCode))
	mux.HandleFunc("POST /oauth/device/confirm", s.form(s.confirm))
	mux.HandleFunc("POST /oauth/device/code", s.beginDevice)
	mux.HandleFunc("POST /oauth/revoke", s.revoke)
	mux.HandleFunc("GET /oauth/style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Write(style)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		mux.ServeHTTP(w, r)
	})
}

// protect lets a page do nothing but show itself and send its forms to us, in no
// frame, and lets nobody keep it.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// With less, browsers would not say where a form comes from.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// maxForm bounds a form, in bytes.
const maxForm = 16 << 10

// form lets a handler see forms that come from a page of ours alone (W-04).
func (s *door) form(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(s.Base(r), "://")
		if origin := r.Header.Values("Origin"); len(origin) != 1 || !strings.EqualFold(origin[0], scheme+"://"+r.Host) {
			s.fail(w, r, http.StatusForbidden, "This form was not sent from a page of this registry.")
			return
		}
		if !s.readForm(w, r) {
			return
		}
		serve(w, r)
	}
}

// readForm reads a body in which no field comes twice into r.PostForm.
func (s *door) readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") || r.ParseForm() != nil || repeats(r.PostForm) {
		s.fail(w, r, http.StatusBadRequest, "The form is not well-formed.")
		return false
	}
	return true
}

// repeats reports whether a field comes twice (RFC 6749, 3.1).
func repeats(fields map[string][]string) bool {
	for _, values := range fields {
		if len(values) > 1 {
			return true
		}
	}
	return false
}

// show answers with a page.
func (s *door) show(w http.ResponseWriter, r *http.Request, status int, page string, data map[string]any) {
	if data == nil {
		data = map[string]any{}
	}
	data["Service"] = s.Service
	var b strings.Builder
	if err := pages.ExecuteTemplate(&b, page, data); err != nil {
		s.Logger.ErrorContext(r.Context(), "page not made", "page", page, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write([]byte(b.String())); err != nil {
		s.Logger.DebugContext(r.Context(), "page not written", "err", err)
	}
}

// fail answers with what went wrong and, where there is one, the cure.
func (s *door) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.show(w, r, status, "failed.html", map[string]any{"Text": text, "Request": w.Header().Get(inbound.RequestIDHeader)})
}

// record leaves an event.
func (s *door) record(r *http.Request, w http.ResponseWriter, e ledger.Event) {
	if s.Ledger == nil {
		return
	}
	e.From(inbound.Origin(r, w.Header()))
	if err := s.Ledger.Record(context.WithoutCancel(r.Context()), e); err != nil {
		s.Logger.ErrorContext(r.Context(), "sign-in not recorded", "err", err)
	}
}
