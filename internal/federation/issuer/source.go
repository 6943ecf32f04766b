package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/outbound"
)

// maxFile bounds the files that a definition names, in bytes.
const maxFileBytes = 1 << 20

// A line is the way to one issuer's servers, with authorities that may come from
// a file that changes.
type line struct {
	pem, file string
	allow     []string

	mu     sync.Mutex
	client *outbound.Client
	of     string // the authorities it was made with
}

func (l *line) open() (*outbound.Client, error) {
	authorities := l.pem
	if l.file != "" {
		data, err := readFile(l.file)
		if err != nil {
			return nil, err
		}
		authorities = string(data)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && l.of == authorities {
		return l.client, nil
	}
	c, err := outbound.New(outbound.Options{CA: []byte(authorities), Allow: l.allow, Timeout: maxFetch})
	if err != nil {
		return nil, err
	}
	if l.client != nil {
		l.client.CloseIdle()
	}
	l.client, l.of = c, authorities
	return c, nil
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.CloseIdle()
	}
}

// fetchKeys gets the JWKS document of a definition that is expanded.
func (d Definition) fetchKeys(ctx context.Context, l *line) ([]byte, error) {
	switch k := d.JWKS; {
	case k == nil:
	case k.Keys != "":
		return []byte(k.Keys), nil
	case k.File != "":
		return readFile(k.File)
	default:
		return d.getKeys(ctx, l, k.URL, k.TokenFile)
	}
	_, uri, err := d.discover(ctx, l)
	if err != nil {
		return nil, err
	}
	return d.getKeys(ctx, l, uri, "")
}

func (d Definition) getKeys(ctx context.Context, l *line, uri, tokenFile string) ([]byte, error) {
	client, err := l.open()
	if err != nil {
		return nil, err
	}
	if tokenFile == "" {
		return client.Get(ctx, uri)
	}
	token, err := readFile(tokenFile)
	if err != nil {
		return nil, err
	}
	return client.GetWith(ctx, uri, bearer(token))
}

// bearer is the header that presents the token of a file.
func bearer(file []byte) map[string][]string {
	return map[string][]string{"Authorization": {"Bearer " + strings.TrimSpace(string(file))}}
}

// discoveryURL is where the discovery document is (OpenID Connect Discovery §4).
func (d Definition) discoveryURL() string {
	if d.Issuer.DiscoveryURL != "" {
		return d.Issuer.DiscoveryURL
	}
	return strings.TrimSuffix(d.Issuer.URL, "/") + "/.well-known/openid-configuration"
}

// discover returns where the keys are. The document has to be of this issuer, as
// one of another would bring the other's keys (F-03). Where the keys are is the
// issuer's business: Google and Azure have them on other hosts. What they name
// inside our network is not asked.
func (d Definition) discover(ctx context.Context, l *line) (from, uri string, err error) {
	client, err := l.open()
	if err != nil {
		return "", "", err
	}
	from = d.discoveryURL()
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	body, err := client.Get(ctx, from)
	if err != nil {
		return from, "", err
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return from, "", refuse("see that issuer.url is right, or write discoveryURL", "%s is no discovery document", from)
	}
	if document.Issuer != d.Issuer.URL {
		return from, "", refuse("write into issuer.url what it says, if that is the issuer you mean", "%s is the document of the issuer %.200q, not of %s", from, document.Issuer, d.Issuer.URL)
	}
	if _, err := outbound.ParseURL(document.JWKSURI); err != nil {
		return from, "", refuse("write jwks instead, with the keys or with their address", "%s has a jwks_uri that is not asked: %v", from, err)
	}
	return from, document.JWKSURI, nil
}

// readFile reads a file that a definition of the configured file names.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return data, err
}
