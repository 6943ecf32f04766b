package outbound

import (
	"io"
	"net/http"
)

// guard is the way of every request, whoever makes it.
type guard struct{ c *Client }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkURL(r.URL); err != nil {
		return nil, err
	}
	answer, err := g.c.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := g.check(r, answer); err != nil {
		answer.Body.Close()
		return nil, err
	}
	answer.Body = &bounded{body: answer.Body, left: g.c.maxBody, host: r.URL.Host, limit: g.c.maxBody}
	return answer, nil
}

func (g guard) check(r *http.Request, answer *http.Response) error {
	host := r.URL.Host
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400 && answer.StatusCode != http.StatusNotModified:
		return refuse(host, "name the address where the answer is", "%s %s sends elsewhere (%d), and redirects are not followed", r.Method, r.URL.EscapedPath(), answer.StatusCode)
	case answer.StatusCode == http.StatusSwitchingProtocols:
		return refuse(host, "", "it wants to speak another protocol")
	case answer.Header.Get("Content-Encoding") != "" && answer.Header.Get("Content-Encoding") != "identity":
		return refuse(host, "let that server send answers unpacked", "the answer is packed, which was not asked for")
	case answer.ContentLength > g.c.maxBody:
		return tooLong(host, g.c.maxBody)
	}
	return nil
}

func tooLong(host string, limit int64) *Error {
	return refuse(host, "see that the address is right", "the answer is longer than %d bytes", limit)
}

// bounded is a body that ends in an error where it gets too long.
type bounded struct {
	body  io.ReadCloser
	left  int64
	limit int64
	host  string
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), tooLong(b.host, b.limit)
	}
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }
