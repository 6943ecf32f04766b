package federation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// lookEvery is how often the files are looked at, at most: what is taken out of
// them ends within a second.
const lookEvery = 500 * time.Millisecond

// An authority is a ClientAuthority with its files as they are now.
type authority struct {
	ClientAuthority
	log *slog.Logger

	current atomic.Pointer[trust]
	checked atomic.Int64 // UnixNano of the last look

	mu      sync.Mutex
	ca, crl os.FileInfo       // as they were when they were last taken over
	said    map[string]string // the last complaint about each file
}

// openAuthority reads the files for the first time.
func openAuthority(a ClientAuthority, now time.Time, log *slog.Logger) (*authority, error) {
	opened := &authority{ClientAuthority: a, log: log, said: map[string]string{}}
	opened.current.Store(noTrust())
	opened.mu.Lock()
	defer opened.mu.Unlock()
	if err := opened.takeCA(); err != nil {
		return nil, cannot("give tls.client_authorities the PEM file with the certificates of the authority", "client authority %s: ca: %w", a.Name, err)
	}
	if err := opened.takeCRL(now); err != nil {
		return nil, cannot("fetch the authority's current revocation list again", "client authority %s: crl: %w", a.Name, err)
	}
	opened.checked.Store(now.UnixNano())
	opened.complainStale(now)
	return opened, nil
}

// trusted returns what is trusted now, after a look at the files if the last one
// is half a second ago.
func (a *authority) trusted(now time.Time) *trust {
	last := a.checked.Load()
	since := now.UnixNano() - last
	// A clock that was set back must not stop the looking.
	if (since < 0 || since >= int64(lookEvery)) && a.checked.CompareAndSwap(last, now.UnixNano()) {
		a.look(now)
	}
	return a.current.Load()
}

// look takes changed files over. Without a good CA file nothing is trusted.
// Without a good CRL the last lists count until they end.
func (a *authority) look(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.ca
	if err := a.takeCA(); err != nil {
		a.ca = nil
		a.current.Store(&trust{roots: x509.NewCertPool(), inner: x509.NewCertPool(), lists: a.current.Load().lists})
		a.complain("ca", "client authority not read, its certificates are refused", err)
		return
	} else if a.complain("ca", "", nil); before != a.ca {
		a.crl = nil // what it is signed with may be gone
		a.log.LogAttrs(context.Background(), slog.LevelInfo, "client authority read",
			slog.String("authority", a.Name), slog.String("file", a.CA), slog.Int("certificates", len(a.current.Load().all)))
	}
	if err := a.takeCRL(now); err != nil {
		a.complain("crl", "revocation lists not read, the last good ones count until they end", err)
		return
	}
	a.complainStale(now)
}

// takeCA reads the CA file if it is another one than before.
func (a *authority) takeCA() error {
	info, err := os.Stat(a.CA)
	if err != nil || same(info, a.ca) {
		return err
	}
	t, err := readCA(a.CA)
	if err != nil {
		return err
	}
	t.lists = a.current.Load().lists
	a.ca = info
	a.current.Store(t)
	return nil
}

// takeCRL reads the CRL file if it is another one than before.
func (a *authority) takeCRL(now time.Time) error {
	if a.CRL == "" {
		return nil
	}
	info, err := os.Stat(a.CRL)
	if err != nil || same(info, a.crl) {
		return err
	}
	t := *a.current.Load()
	if t.lists, err = readCRL(a.CRL, &t, now); err != nil {
		return err
	}
	a.crl = info
	a.current.Store(&t)
	return nil
}

// same reports whether a file was not written since before.
func same(now, before os.FileInfo) bool {
	return before != nil && os.SameFile(now, before) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime())
}

// complainStale tells that lists are past their end, once.
func (a *authority) complainStale(now time.Time) {
	var err error
	for _, l := range a.current.Load().lists {
		if !now.Before(l.until) {
			err = fmt.Errorf("a list in %s was to be replaced by %s: fetch the current one", a.CRL, l.until.UTC().Format(time.RFC3339))
		}
	}
	a.complain("crl", "revocation list out of date, the certificates it is about are refused", err)
}

// complain logs a failure once, not at every look; nil ends it.
func (a *authority) complain(about, message string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if a.said[about] == text {
		return
	}
	if a.said[about] = text; err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelError, message, slog.String("authority", a.Name), slog.Any("err", err))
	}
}

// prove verifies a chain and finds the one name in its leaf. Errors: *revocation
// when the chain is good but for what the lists say.
func (a *authority) prove(chain []*x509.Certificate, now time.Time) (access.Identity, error) {
	t, leaf := a.trusted(now), chain[0]
	inner := t.inner.Clone()
	for _, c := range chain[1:] {
		inner.AddCert(c)
	}
	// Roots must not be nil: that would be the machine's.
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: inner, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return access.Identity{}, err
	}
	var refused error = errors.New("no path to the authority")
	for _, path := range paths {
		e := t.evidenceOf(path)
		if refused = t.checkRevoked(e, now); refused != nil {
			continue
		}
		name, err := a.Identity.nameOf(leaf)
		if err != nil {
			return access.Identity{}, err
		}
		e.identity = a.Identity
		return access.Identity{
			Principal: access.ExternalPrincipal(issuerPrefix+a.Name, name, nil),
			Proof:     access.Proof{Method: Method, Certificate: fingerprint(leaf), Trust: e.String()},
			Expires:   e.expires,
		}, nil
	}
	return access.Identity{}, refused
}
