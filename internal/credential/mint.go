package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/ambient"
)

// Variables with which a job says that its identity is for a registry.
const (
	registriesVariable = "SALLYPORT_REGISTRIES" // host[:port], with commas between
	identityVariable   = "SALLYPORT_IDENTITY"   // as --ambient; not set: auto
	caVariable         = "SALLYPORT_CA_FILE"    // PEM, beside the system's CAs
)

// A Minter makes credentials of the environment's own identity, for the hosts
// that somebody named and for no other: an outside token proves who it is to
// whoever sees it.
type Minter struct {
	Store   client.Store
	Find    ambient.Finder
	Options client.Options
	Notes   io.Writer // what people may read
}

// Configured returns how the identity for a host is to be found, if there is to
// be one: what "sallyport helper install --ambient" said, or the environment.
func (m Minter) Configured(host string) (client.Ambient, bool, error) {
	a, ok, err := m.Store.Ambient(host)
	if err != nil || ok {
		return a, ok, err
	}
	if !slices.Contains(strings.Split(os.Getenv(registriesVariable), ","), host) {
		return a, false, nil
	}
	a.Identity = os.Getenv(identityVariable)
	if a.Identity == "" {
		a.Identity = ambient.Auto
	}
	a.CA, err = ReadCA(os.Getenv(caVariable))
	return a, true, err
}

// ReadCA reads a file of certificates; "" is none.
func ReadCA(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := read(f)
	return string(text), err
}

// Prove asks the host for its token service and for the audience that it wants,
// and gets a token of the environment's identity for that. ok is false for a host
// that nobody named. Errors: ambient.ErrNone.
func (m Minter) Prove(ctx context.Context, host string) (l client.Login, outside client.Secret, ok bool, err error) {
	a, ok, err := m.Configured(host)
	if err != nil || !ok {
		return l, outside, false, err
	}
	server, err := client.ServerOf(host)
	if err != nil {
		return l, outside, true, err
	}
	if l, err = client.Introduce(ctx, server, a.CA, m.Options); err != nil {
		return l, outside, true, err
	}
	outside, err = m.Find.Token(ctx, a.Identity, l.Service)
	if err != nil {
		err = fmt.Errorf("%s is to be shown the identity %q: %w", host, a.Identity, err)
	}
	return l, outside, true, err
}

// Identity is the Mint of Helper. Where there is no identity there is none to
// show, and the client goes on as a stranger.
func (m Minter) Identity(ctx context.Context, host string) (client.Secret, bool, error) {
	l, outside, ok, err := m.Prove(ctx, host)
	if errors.Is(err, ambient.ErrNone) {
		fmt.Fprintf(m.Notes, "%s: %s\n", HelperName, client.Printable(err.Error()))
		return client.Secret{}, false, nil
	}
	if err != nil || !ok {
		return client.Secret{}, ok, err
	}
	grant, err := client.ExchangeForIdentity(ctx, l, outside, m.Options)
	if errors.Is(err, client.ErrOnlyAccess) {
		err = fmt.Errorf("%w: use sallyport token", err)
	}
	return grant.Token, true, err
}
