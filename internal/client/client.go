package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// Limits on what a server may do to us.
const (
	maxAnswer = 16 << 20 // bytes of one answer
	patience  = time.Minute
	// A sweep of a large registry takes long; it ends when we leave.
	sweepPatience = 12 * time.Hour
	// An access token is replaced so long before its end.
	tokenMargin = 30 * time.Second
)

// apiScope is what a token must hold to speak to the admin API.
const apiScope = "registry:api:*"

// Options adjust New and LogIn. The zero value works.
type Options struct {
	Now       func() time.Time // nil: time.Now
	UserAgent string           // "": "sallyport"
	// Wait waits, until ctx ends; nil: by the clock.
	Wait func(ctx context.Context, d time.Duration) error
}

// A Client speaks to the admin API of one server with one stored login. It is
// safe for concurrent use.
type Client struct {
	login Login
	wire  wire
	now   func() time.Time

	mu      sync.Mutex
	token   access.Secret // access token, or zero
	expires time.Time
}

// New returns a client that uses l.
func New(l Login, o Options) (*Client, error) {
	if a, err := ParseAddress(string(l.Server)); err != nil || a != l.Server {
		return nil, fmt.Errorf("stored login names a server %q that cannot be", l.Server)
	}
	// The realm was pinned at login; a file that says otherwise was tampered with.
	if _, err := l.Server.pin(l.Realm); err != nil {
		return nil, err
	}
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return nil, err
	}
	return &Client{login: l, wire: w, now: o.now}, nil
}

// Server returns where the client speaks to.
func (c *Client) Server() Address { return c.login.Server }

// Username returns the name that was given at login.
func (c *Client) Username() string { return c.login.Username }

// ErrLoginEnded says that the identity token of the stored login is no longer
// accepted: it ended, was revoked, or its account is disabled.
var ErrLoginEnded = errors.New("the login has ended")

// accessToken returns a token that lives, or asks for one.
func (c *Client) accessToken(ctx context.Context) (access.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.token.IsZero() && c.now().Before(c.expires) {
		return c.token, nil
	}
	if c.login.Token.IsZero() {
		return access.Secret{}, fmt.Errorf("%w at %s", ErrLoginEnded, c.login.Server)
	}
	asked := c.now()
	answer, err := c.wire.refresh(ctx, c.login, apiScope)
	if err != nil {
		return access.Secret{}, err
	}
	c.token = answer.AccessToken.Secret
	c.expires = asked.Add(time.Duration(answer.ExpiresIn)*time.Second - tokenMargin)
	return c.token, nil
}

// forget drops the cached access token.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = access.Secret{}
}

// An ask is one request to the admin API.
type ask struct {
	method string
	path   []string // segments after APIPath; each is escaped, a slash to "~"
	query  url.Values
	header http.Header
	body   any // nil for none; []byte as it is, else JSON
}

// do sends a and decodes the answer into out, unless that is nil. A token that
// the server does not take is replaced once. Errors: *Problem, ErrLoginEnded.
func (c *Client) do(ctx context.Context, a ask, out any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for again := false; ; again = true {
		token, err := c.accessToken(ctx)
		if err != nil {
			return err
		}
		req, err := c.request(ctx, a)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		err = c.wire.answer(req, out)
		var p *Problem
		if !again && errors.As(err, &p) && p.Status == http.StatusUnauthorized {
			c.forget()
			continue
		}
		return err
	}
}

func (c *Client) request(ctx context.Context, a ask) (*http.Request, error) {
	target := string(c.login.Server) + APIPath
	for _, segment := range a.path {
		if segment == "" || segment == "." || segment == ".." {
			return nil, fmt.Errorf("%q is no name", segment)
		}
		target += "/" + url.PathEscape(strings.ReplaceAll(segment, "/", "~"))
	}
	if len(a.query) > 0 {
		target += "?" + a.query.Encode()
	}
	var body io.Reader = http.NoBody
	contentType := ""
	switch b := a.body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		body, contentType = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, a.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	for k, v := range a.header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

// wire is HTTP with our manners: no redirects, bounded answers, and the
// server's own CA beside the system's.
type wire struct {
	http  *http.Client
	agent string
}

func newWire(ca, agent string) (wire, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if ca != "" && !roots.AppendCertsFromPEM([]byte(ca)) {
		return wire{}, errors.New("the CA file holds no certificate in PEM form")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	transport.MaxResponseHeaderBytes = 64 << 10
	if agent == "" {
		agent = "sallyport"
	}
	return wire{agent: agent, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// send returns an answer whose body is bounded; the caller closes it.
func (w wire) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", w.agent)
	resp, err := w.http.Do(req)
	if err != nil {
		var outer *url.Error // its text repeats the whole URL
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, fmt.Errorf("reach %s: %w", req.URL.Host, escapedError{err})
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers with a redirect to %s, which is not followed", req.URL.Host, Printable(resp.Header.Get("Location")))
	}
	return resp, nil
}

// An escapedError may quote the server, such as the names of its certificate.
type escapedError struct{ error }

func (e escapedError) Error() string { return Printable(e.error.Error()) }
func (e escapedError) Unwrap() error { return e.error }

// answer sends req and decodes what comes.
func (w wire) answer(req *http.Request, out any) error {
	resp, err := w.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := readAnswer(resp)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(b, out); err != nil {
			return fmt.Errorf("%s answers with something that is not of the admin API", req.URL.Host)
		}
		return nil
	}
	p := &Problem{}
	if json.Unmarshal(b, p) != nil || p.Title == "" {
		p = &Problem{RequestID: resp.Header.Get("X-Request-Id")}
	}
	p.Status = resp.StatusCode
	return p
}

func readAnswer(resp *http.Response) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return b, nil
}
