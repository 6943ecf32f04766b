package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// A Probe is what a server shows to whoever comes, before any credential is sent.
type Probe struct {
	Certificates []*x509.Certificate // verified; the server's first; none over plain HTTP
	Skew         time.Duration       // how far its clock is ahead of ours; 0 when it shows none
	Realm        string              // its token service, pinned; "" when it names none of its own
	Service      string
	// Err says what is wrong with that: ErrForeignRealm, or that it asks for no
	// bearer token, or with a Realm that the token service does not answer.
	Err error
}

// ErrPlainHTTP says that a server speaks plain HTTP where HTTPS was meant.
var ErrPlainHTTP = http.ErrSchemeMismatch

// Examine asks a server what it wants to see, and its token service for nothing.
// ca is PEM beside the system's CAs, or "". Errors: it was not reached.
func Examine(ctx context.Context, a Address, ca string, o Options) (Probe, error) {
	w, err := newWire(ca, o.UserAgent)
	if err != nil {
		return Probe{}, err
	}
	defer w.http.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(a)+"/v2/", http.NoBody)
	if err != nil {
		return Probe{}, fmt.Errorf("ask %s: %w", a, err)
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	asked := now()
	resp, err := w.send(req)
	if err != nil {
		return Probe{}, err
	}
	resp.Body.Close()
	p := Probe{Skew: skew(resp.Header.Get("Date"), asked, now())}
	if resp.TLS != nil {
		p.Certificates = resp.TLS.PeerCertificates
	}
	ch, err := challengeOf(resp)
	if err == nil {
		p.Realm, err = a.pin(ch.Realm)
	}
	if err != nil {
		p.Err = err
		return p, nil
	}
	p.Service = ch.Service
	p.Err = w.askNothing(ctx, p.Realm, p.Service)
	return p, nil
}

// askNothing asks the token service without a scope and without a credential.
func (w wire) askNothing(ctx context.Context, realm, service string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm+"?"+url.Values{"service": {service}}.Encode(), http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the token service: %w", err)
	}
	resp, err := w.send(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the token service answered %d", resp.StatusCode)
	}
	return nil
}

// skew compares a Date, which is cut to seconds, with the middle of when it was
// written.
func skew(date string, from, to time.Time) time.Duration {
	at, err := http.ParseTime(date)
	if err != nil {
		return 0
	}
	return at.Add(time.Second / 2).Sub(from.Add(to.Sub(from) / 2))
}
