package ui

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// askUserCode asks for what a program shows. A link may bring it along, but
// nothing happens by a link.
func (s *door) askUserCode(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "device.html", map[string]any{"Code": inbound.Printable(r.URL.Query().Get("user_code"), 20)})
}

// userCode finds the program that shows what was typed, and begins a sign-in.
func (s *door) userCode(w http.ResponseWriter, r *http.Request) {
	from := inbound.Origin(r, w.Header())
	notWrong, ok := s.codes.try(from.Address)
	if !ok {
		w.Header().Set("Retry-After", "600")
		s.fail(w, r, http.StatusTooManyRequests, "Too many wrong codes: wait 10 minutes, then begin again with a new one.")
		return
	}
	typed := r.PostForm.Get("user_code")
	g, err := s.Tokens.WaitingDevice(r.Context(), typed)
	if !errors.Is(err, token.ErrUnknownGrant) {
		notWrong()
	}
	switch {
	case errors.Is(err, token.ErrUnknownGrant):
		s.record(r, w, ledger.Event{Kind: ledger.Login, Action: "user-code", Decision: ledger.Denied, Reason: ledger.BadProof, Method: "code"})
		s.show(w, r, http.StatusForbidden, "device.html", map[string]any{"Wrong": "No program waits with this code: look at it again. It lives for 10 minutes."})
		return
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "device code not found", "err", err)
		s.fail(w, r, http.StatusInternalServerError, "The registry could not look for the code. Its log says why.")
		return
	}
	s.offer(w, r, s.begin(w, flow{Device: g.Sum[:]}), g, "")
}

// waiting returns the program that a flow is about; the zero one for a flow of a
// program on the same machine.
func (s *door) waiting(w http.ResponseWriter, r *http.Request, f flow) (token.Grant, bool) {
	if f.Device == nil {
		return token.Grant{}, true
	}
	g, err := s.Tokens.DeviceBySum(r.Context(), [32]byte(f.Device))
	if err != nil {
		s.fail(w, r, http.StatusGone, "The program waits no more. Begin again there.")
		return token.Grant{}, false
	}
	return g, true
}

// confirm approves or denies what was shown to who has just signed in.
func (s *door) confirm(w http.ResponseWriter, r *http.Request) {
	f, ok := s.of(w, r, r.PostForm.Get("flow"))
	if !ok {
		return
	}
	if f.Device == nil || f.Person == nil {
		s.fail(w, r, http.StatusForbidden, "Nobody has signed in to approve this.")
		return
	}
	id, sum := f.Person.identity(), [32]byte(f.Device)
	e := ledger.Event{Kind: ledger.Login, Action: "approve", Decision: ledger.Allowed}
	var err error
	text := "The program is logged in. You can close this page."
	switch r.PostForm.Get("decision") {
	case "approve":
		err = s.Tokens.ApproveDevice(s.eventOf(w, r, &e, id), sum, id)
	case "deny":
		e.Action, text = "deny", "The program gets nothing. You can close this page."
		err = s.Tokens.DenyDevice(s.eventOf(w, r, &e, id), sum)
	default:
		s.fail(w, r, http.StatusBadRequest, "The form says neither yes nor no.")
		return
	}
	s.end(w)
	switch {
	case errors.Is(err, token.ErrUnknownGrant):
		s.fail(w, r, http.StatusGone, "The program waits no more: its time is over, or somebody has decided already. Begin again there.")
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "device code not decided", "err", err)
		s.fail(w, r, http.StatusInternalServerError, "The registry could not do that. Its log says why.")
	default:
		s.show(w, r, http.StatusOK, "decided.html", map[string]any{"Text": text})
	}
}

// beginDevice is for programs (RFC 8628, 3.1).
func (s *door) beginDevice(w http.ResponseWriter, r *http.Request) {
	if !s.readForm(w, r) {
		return
	}
	if r.PostForm.Get("client_id") != token.ClientID {
		s.json(w, r, http.StatusBadRequest, map[string]any{"error": "invalid_client", "error_description": "client_id is not " + token.ClientID})
		return
	}
	d, err := s.Tokens.BeginDevice(r.Context(), inbound.Origin(r, w.Header()))
	switch {
	case errors.Is(err, token.ErrManyGrants):
		w.Header().Set("Retry-After", "600")
		s.json(w, r, http.StatusTooManyRequests, map[string]any{"error": "temporarily_unavailable", "error_description": "too many programs wait for an approval: come again in 10 minutes, or log in with a browser on this machine"})
		return
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "device code not made", "err", err)
		s.json(w, r, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	page := s.Base(r) + "/oauth/device"
	s.json(w, r, http.StatusOK, map[string]any{
		"device_code": d.Code.Reveal(), "user_code": d.UserCode, "verification_uri": page, "verification_uri_complete": page + "?user_code=" + d.UserCode,
		"expires_in": int(token.DeviceLife / time.Second), "interval": int(token.DeviceInterval / time.Second),
	})
}

func (s *door) json(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.Logger.ErrorContext(r.Context(), "answer not marshalled", "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.Logger.DebugContext(r.Context(), "answer not written", "err", err)
	}
}

// Limits on wrong user codes, within the life of one.
const (
	maxTries, maxTriesOfNetwork = 1000, 5
	maxNetworks                 = 10_000
)

// tries counts wrong user codes. What cannot be counted by its network counts
// among all.
type tries struct {
	now func() time.Time

	mu    sync.Mutex
	since time.Time
	all   int
	of    map[netip.Prefix]int
}

func newTries(now func() time.Time) *tries { return &tries{now: now, of: map[netip.Prefix]int{}} }

// try reports whether one more code may be tried from there, and counts it as a
// wrong one until notWrong is called: those that are tried at the same moment
// would otherwise all be tried before the first is counted.
func (t *tries) try(from netip.Addr) (notWrong func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.since) >= token.DeviceLife {
		t.since, t.all = now, 0
		clear(t.of)
	}
	network, since := access.Network(from), t.since
	if t.all >= maxTries || t.of[network] >= maxTriesOfNetwork {
		return nil, false
	}
	t.all++
	counted := t.of[network] > 0 || len(t.of) < maxNetworks
	if counted {
		t.of[network]++
	}
	return func() { t.takeBack(network, counted, since) }, true
}

// takeBack undoes what try counted, unless counting has begun anew since.
func (t *tries) takeBack(network netip.Prefix, counted bool, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.since.Equal(since) {
		return
	}
	t.all--
	if !counted {
		return
	}
	if t.of[network]--; t.of[network] == 0 {
		delete(t.of, network)
	}
}
