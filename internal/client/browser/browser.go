// Package browser shows people a page in their browser, and hears on loopback what
// the browser brings back (RFC 8252).
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	callbackPath = "/callback"
	maxHeader    = 16 << 10 // bytes
	goodbye      = time.Second
)

// A Listener waits for one answer. Only the browser that was sent with the request
// can know its state; whatever else comes is turned away, and changes nothing.
type Listener struct {
	host   string // 127.0.0.1:PORT
	socket net.Listener
	server *http.Server
	isMine func(url.Values) bool
	answer chan url.Values
}

// Listen begins to wait, at an address that nobody off this machine reaches.
func Listen(ctx context.Context) (*Listener, error) {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("wait for the browser: %w", err)
	}
	l := &Listener{host: socket.Addr().String(), socket: socket, answer: make(chan url.Values, 1)}
	l.server = &http.Server{
		Handler: l, ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
	l.server.SetKeepAlivesEnabled(false)
	return l, nil
}

// Redirect returns where the browser is to bring the answer.
func (l *Listener) Redirect() string { return "http://" + l.host + callbackPath }

// Wait serves until the first answer that isMine knows, and returns that. It is for
// one call.
func (l *Listener) Wait(ctx context.Context, isMine func(url.Values) bool) (url.Values, error) {
	l.isMine = isMine
	failed := make(chan error, 1)
	go func() { failed <- l.server.Serve(l.socket) }()
	select {
	case answer := <-l.answer:
		return answer, nil
	case err := <-failed:
		return nil, fmt.Errorf("wait for the browser: %w", err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops waiting, and lets what we answered reach the browser.
func (l *Listener) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	err := l.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = l.server.Close()
	}
	if gone := l.socket.Close(); !errors.Is(gone, net.ErrClosed) {
		err = errors.Join(err, gone)
	}
	return err
}

const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sallyport</title></head>
<body><h1>%s</h1><p>%s</p></body></html>
`

// ServeHTTP takes GET /callback, sent to our very address: another host name would
// be one that somebody has pointed at this machine (DNS rebinding).
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address of this page has the code
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case r.Host != l.host:
		say(w, http.StatusMisdirectedRequest, "Not here", "This is the wrong address.")
	case r.URL.Path != callbackPath:
		say(w, http.StatusNotFound, "Not here", "There is no such page.")
	case r.Method != http.MethodGet:
		say(w, http.StatusMethodNotAllowed, "Not so", "Only GET is served.")
	case err != nil || !l.isMine(query):
		say(w, http.StatusForbidden, "That is no answer", "This is not the answer to the sign-in that sallyport waits for.")
	default:
		select {
		case l.answer <- query:
			say(w, http.StatusOK, "Back to the terminal", "It says how the login went. You can close this window.")
		default:
			say(w, http.StatusGone, "Answered already", "The sign-in was answered before. You can close this window.")
		}
	}
}

func say(w http.ResponseWriter, status int, title, text string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, page, title, text)
}
