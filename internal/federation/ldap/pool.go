package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	maxConns   = 4  // of each pool of a directory
	maxWaiting = 64 // who waits for one of them
	// maxIdle and maxLife bound how long a connection is kept: a server that is back,
	// or comes before another in the list, is used again after that.
	maxIdle = time.Minute
	maxLife = 10 * time.Minute
)

var (
	errNoServer = errors.New("no server answers")
	errClosed   = errors.New("the directory was closed")
)

// A pool is the connections for one purpose: those on which passwords are tried are
// never used to search.
type pool struct {
	d       *Directory
	dial    func(context.Context, *server) (*conn, error)
	slots   chan struct{} // one for each connection that is in use
	waiting atomic.Int64

	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	closed bool
}

func newPool(d *Directory, dial func(context.Context, *server) (*conn, error)) *pool {
	return &pool{d: d, dial: dial, slots: make(chan struct{}, maxConns)}
}

// with lets fn ask a server: one that is connected, or else the first of the list
// that answers. fn may be called again. Errors: access.ErrBusy; what fn returns when
// that is an answer; others when nobody could be asked.
func (p *pool) with(ctx context.Context, fn func(*goldap.Conn) error) error {
	if p.waiting.Add(1) > maxWaiting {
		p.waiting.Add(-1)
		return access.ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		p.waiting.Add(-1)
		defer func() { <-p.slots }()
	case <-ctx.Done():
		p.waiting.Add(-1)
		return ctx.Err()
	}
	last := errNoServer
	for {
		c, err := p.take()
		if err != nil {
			return err
		}
		if c == nil {
			break
		}
		begun := time.Now()
		if err = p.ask(ctx, c, fn); !broken(err) || ctx.Err() != nil {
			return err
		}
		if time.Since(begun) >= p.d.o.Timeout { // it was no connection that had ended meanwhile
			p.d.failed(ctx, c.server, err)
			last = err
		}
	}
	for _, s := range p.d.servers {
		if !s.may(p.d.o.Now()) {
			continue
		}
		c, err := p.dial(ctx, s)
		if err == nil {
			if err = p.ask(ctx, c, fn); !broken(err) {
				p.d.answered(ctx, s)
				return err
			}
		}
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ctx.Err() // the caller has left, which says nothing of the server
		}
		p.d.failed(ctx, s, err)
		last = fmt.Errorf("%s: %w", s.url, err)
	}
	return last
}

// ask lets fn use c, and keeps c for others when it is still good.
func (p *pool) ask(ctx context.Context, c *conn, fn func(*goldap.Conn) error) error {
	err := c.do(ctx, p.d.o.Timeout, fn)
	if broken(err) {
		c.Close()
		return err
	}
	c.used = p.d.o.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxConns
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
	return err
}

// take returns a connection that is open and not old, or nil.
func (p *pool) take() (*conn, error) {
	now := p.d.o.Now()
	var old []*conn
	defer func() {
		for _, c := range old {
			c.Close()
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() && now.Sub(c.used) < maxIdle && now.Sub(c.born) < maxLife {
			return c, nil
		}
		old = append(old, c)
	}
	return nil, nil
}

// close ends the connections; those in use end when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}
