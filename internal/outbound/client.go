package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// What bounds one request.
const (
	defaultBody    = 1 << 20
	defaultTimeout = 10 * time.Second
	maxHeader      = 64 << 10 // of an answer, in bytes
	maxConnections = 8        // to one host
	idleFor        = 30 * time.Second
)

// Options of a Client; the zero value works.
type Options struct {
	// CA holds the authorities, in PEM form, that may vouch for the servers.
	// Empty: the machine's.
	CA []byte
	// Allow names the servers that may be at an address inside our network: HOST,
	// or HOST:PORT for that port alone. An address is allowed by writing it here.
	Allow []string
	// MaxBody bounds an answer, in bytes. 0: 1 MiB.
	MaxBody int64
	// Timeout bounds a request, from the look-up of the name to the last byte of
	// the answer. 0: 10 s.
	Timeout time.Duration
}

// A Client asks servers that somebody names. Safe for concurrent use.
type Client struct {
	http     *http.Client
	base     *http.Transport
	allow    map[string]bool // by hostKey, with ":PORT" where one was given
	maxBody  int64
	judge    func(netip.Addr) (reach, string)
	resolver *net.Resolver // nil: the machine's
}

// New returns a client. Errors carry a Hint.
func New(o Options) (*Client, error) {
	c := &Client{allow: map[string]bool{}, maxBody: o.MaxBody, judge: judge}
	if c.maxBody == 0 {
		c.maxBody = defaultBody
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	var roots *x509.CertPool // nil: the machine's
	if len(bytes.TrimSpace(o.CA)) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(o.CA) {
			return nil, refuse("", "give certificates in PEM form", "the authorities hold no certificate")
		}
	}
	for _, name := range o.Allow {
		key, err := allowKey(name)
		if err != nil {
			return nil, err
		}
		c.allow[key] = true
	}
	c.base = &http.Transport{
		Proxy:                  nil, // it would do the look-up, out of our sight
		DialContext:            c.dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    o.Timeout,
		ResponseHeaderTimeout:  o.Timeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        idleFor,
		DisableCompression:     true, // what is unpacked would be bounded by nothing
	}
	c.http = &http.Client{
		Transport: guard{c},
		Timeout:   o.Timeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			return http.ErrUseLastResponse // guard has refused it already
		},
	}
	return c, nil
}

// allowKey reads one entry of Options.Allow.
func allowKey(name string) (string, error) {
	host, port := name, ""
	if h, p, err := net.SplitHostPort(name); err == nil {
		host, port = h, p
		if err := checkPort(name, port); err != nil || port == "" {
			return "", refuse(name, "write HOST or HOST:PORT", "this is not a port")
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if err := checkHost(host); err != nil {
		return "", err
	}
	if port == "" {
		return hostKey(host), nil
	}
	return net.JoinHostPort(hostKey(host), port), nil
}

func (c *Client) allowed(host, port string) bool {
	key := hostKey(host)
	return c.allow[key] || c.allow[net.JoinHostPort(key, port)]
}

// dial looks address up and connects. Each address is judged when it is about to
// be connected to, not before: a second answer of DNS changes nothing.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		Resolver: c.resolver,
		ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return refuse(address, "", "%.100q is not an address", resolved)
			}
			return c.mayReach(host, port, to.Addr())
		},
	}
	conn, err := d.DialContext(ctx, network, address)
	if _, ours := errors.AsType[*Error](err); err == nil || ours {
		return conn, err
	}
	if wrong, ok := errors.AsType[*net.DNSError](err); ok {
		return nil, &Error{Host: host, Reason: "the name is not found", Cure: "see that it is spelled right and that this machine resolves it", Err: errors.New(wrong.Err)}
	}
	return nil, &Error{Host: address, Reason: "no connection", Cure: "see that it runs and that this machine may reach it", Err: err}
}

func (c *Client) mayReach(host, port string, to netip.Addr) error {
	far, name := c.judge(to)
	switch {
	case far == never:
		return refuse(net.JoinHostPort(host, port), "use a server at another address: this one cannot be allowed", "the address %s is %s", to, name)
	case far == inside && !c.allowed(host, port):
		return refuse(net.JoinHostPort(host, port), "if it is meant, allow the name "+host+" to be at such an address", "the address %s is %s", to, name)
	}
	return nil
}

// HTTPClient returns the client for those who make their own requests. It has
// all of the bounds: what is refused is an error, and so is reading on where an
// answer gets too long.
func (c *Client) HTTPClient() *http.Client { return c.http }

// CloseIdle ends connections that nobody uses.
func (c *Client) CloseIdle() { c.base.CloseIdleConnections() }

// Get returns the body of an answer with status 200. Errors are *Error; of what
// the server wrote they hold nothing.
func (c *Client) Get(ctx context.Context, url string) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, url, nil, nil)
}

// GetWith is Get with header.
func (c *Client) GetWith(ctx context.Context, url string, header http.Header) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, url, header, nil)
}

// GetJSON reads the body of an answer with status 200 into v. Fields that v lacks
// are left out; more than one document is an error.
func (c *Client) GetJSON(ctx context.Context, url string, v any) error {
	body, err := c.Get(ctx, url)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &Error{Host: hostOf(url), Reason: "the answer is not the JSON that was expected", Cure: "see that " + url + " is the right address", Err: err}
	}
	return nil
}

// Date returns when the server of url thinks it is, to the second (RFC 9110
// §6.6.1).
func (c *Client) Date(ctx context.Context, url string) (time.Time, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return time.Time{}, refuse(hostOf(url), "", "this request cannot be made")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return time.Time{}, asError(r.URL.Host, err)
	}
	answer.Body.Close()
	return http.ParseTime(answer.Header.Get("Date"))
}

// Post sends body with header and returns the body of an answer with status 200
// or 201.
func (c *Client) Post(ctx context.Context, url string, header http.Header, body []byte) ([]byte, error) {
	return c.ask(ctx, http.MethodPost, url, header, body)
}

func (c *Client) ask(ctx context.Context, method, rawURL string, header http.Header, body []byte) ([]byte, error) {
	if _, err := ParseURL(rawURL); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, rawURL, bytes.NewReader(body))
	if err != nil {
		return nil, refuse(hostOf(rawURL), "", "this request cannot be made")
	}
	r.Header.Set("User-Agent", "sallyport")
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, asError(r.URL.Host, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, asError(r.URL.Host, err)
	}
	if answer.StatusCode != http.StatusOK && (method == http.MethodGet || answer.StatusCode != http.StatusCreated) {
		return nil, &Error{Host: r.URL.Host, Reason: fmt.Sprintf("%s %s answered %d", method, r.URL.EscapedPath(), answer.StatusCode), Cure: "see that the address is right and what that server says about it", Err: Status(answer.StatusCode)}
	}
	return data, nil
}

// A Status is an answer with this status instead of a good one.
type Status int

func (s Status) Error() string { return strings.ToLower(http.StatusText(int(s))) }

// hostOf returns the host of a URL for a message.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// asError finds the Error in err, or makes one.
func asError(host string, err error) error {
	if ours, ok := errors.AsType[*Error](err); ok {
		return ours
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it would repeat method and URL
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return &Error{Host: host, Reason: "no whole answer in time", Cure: "see that it runs and is not slow", Err: err}
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{Host: host, Reason: "its certificate is not trusted", Cure: "give the authority that signed it, or a name that it is for", Err: untrusted.Err}
	}
	return &Error{Host: host, Reason: "no answer", Cure: "see that it runs and speaks HTTPS", Err: err}
}
