package ui

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/provider"
)

const (
	// cookieName begins so that no other host, and no plain connection, can set it.
	cookieName = "__Host-sallyport"
	flowLife   = 10 * time.Minute
	sealedFor  = "sign-in cookie"
)

// A flow is a sign-in that is going on. The browser keeps it for us, sealed, so
// that every replica can go on with it; there is one at a time.
type flow struct {
	ID   string `json:"i"` // in every form and link of it
	Ends int64  `json:"e"` // Unix seconds

	// Of a program on the same machine.
	Redirect  string `json:"r,omitempty"`
	State     string `json:"s,omitempty"`
	Challenge string `json:"c,omitempty"`
	// Device is the sum of the device code of a program elsewhere.
	Device []byte `json:"d,omitempty"`

	Attempt *provider.Attempt `json:"a,omitempty"`
	Person  *person           `json:"p,omitempty"` // who has signed in and is yet to approve
}

// A person is what is kept of an identity.
type person struct {
	UID, Name       string
	Method          string
	Set, Ends       time.Time
	Issuer, Subject string
}

func personOf(id access.Identity) *person {
	p := id.Proof
	return &person{id.Principal.UID, id.Principal.String(), p.Method, p.PasswordSet, id.Expires, p.Issuer, p.Subject}
}

func (p *person) identity() access.Identity {
	kind, name, _ := strings.Cut(p.Name, ":")
	return access.Identity{
		Principal: access.Principal{ID: access.ID{Name: name}, Kind: access.Kind(kind), UID: p.UID},
		Proof:     access.Proof{Method: p.Method, PasswordSet: p.Set, Issuer: p.Issuer, Subject: p.Subject},
		Expires:   p.Ends,
	}
}

// begin gives the browser a new flow in place of any other: nothing of before
// counts in it (W-06).
func (s *door) begin(w http.ResponseWriter, f flow) flow {
	f.ID, f.Ends = rand.Text(), s.Now().Add(flowLife).Unix()
	s.keep(w, f)
	return f
}

// keep lets the browser keep what f has become.
func (s *door) keep(w http.ResponseWriter, f flow) {
	plain, _ := json.Marshal(f) // strings and numbers alone
	sealed := s.Sealer.Seal(sealedFor, plain)
	s.setCookie(w, s.Sealer.ID()+"."+base64.RawURLEncoding.EncodeToString(sealed), int(flowLife/time.Second))
}

// end lets the browser forget.
func (s *door) end(w http.ResponseWriter) { s.setCookie(w, "", -1) }

func (s *door) setCookie(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: age,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, // Lax: it is needed when a provider sends people back
	})
}

// flow returns the one that the browser keeps.
func (s *door) flow(r *http.Request) (flow, bool) {
	cookies := r.CookiesNamed(cookieName)
	if len(cookies) != 1 {
		return flow{}, false
	}
	kek, text, _ := strings.Cut(cookies[0].Value, ".")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return flow{}, false
	}
	plain, err := s.Sealer.Open(sealedFor, kek, sealed)
	if err != nil {
		return flow{}, false
	}
	var f flow
	if json.Unmarshal(plain, &f) != nil || f.ID == "" || s.Now().Unix() >= f.Ends {
		return flow{}, false
	}
	return f, true
}

// of is flow for a form or a link that names it.
func (s *door) of(w http.ResponseWriter, r *http.Request, id string) (flow, bool) {
	f, ok := s.flow(r)
	if !ok || id != f.ID {
		s.fail(w, r, http.StatusBadRequest, "This sign-in is over, or another one was begun in this browser since. Begin again where you began it, and allow cookies.")
		return flow{}, false
	}
	return f, true
}
