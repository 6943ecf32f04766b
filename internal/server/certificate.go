package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how often the certificate files are looked at, at most.
const checkEvery = time.Second

// A certificate is a pair of PEM files that is read again when it changes. What
// cannot be read, or does not fit together, is logged, and the last good pair
// stays. Safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	// renew, if not nil, may write the pair anew before it is looked at.
	renew func(now time.Time) error
	now   func() time.Time
	log   *slog.Logger

	current atomic.Pointer[tls.Certificate]
	checked atomic.Int64 // UnixNano of the last look

	mu     sync.Mutex
	seen   [2]fileState // as they were at the last look
	failed string       // the last failure that was logged
}

// A fileState tells one writing of a file from another.
type fileState struct {
	size     int64
	modified time.Time
	inode    uint64
}

// newCertificate reads the pair for the first time.
func newCertificate(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, now: now, log: log}
	seen, err := c.look()
	if err != nil {
		return nil, cannot("check tls.certificate and tls.key", "read certificate: %w", err)
	}
	pair, err := c.load()
	if err != nil {
		return nil, err
	}
	c.seen = seen
	c.current.Store(pair)
	c.checked.Store(now().UnixNano())
	return c, nil
}

// get serves tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := c.now()
	last := c.checked.Load()
	if now.UnixNano()-last >= int64(checkEvery) && c.checked.CompareAndSwap(last, now.UnixNano()) {
		c.reload(now)
	}
	return c.current.Load(), nil
}

// reload looks at the files and takes a changed pair over.
func (c *certificate) reload(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renew != nil {
		if err := c.renew(now); err != nil {
			c.fail(err)
			return
		}
	}
	seen, err := c.look()
	if err != nil {
		c.fail(err)
		return
	}
	if seen == c.seen {
		return
	}
	pair, err := c.load()
	if err != nil {
		c.fail(err) // and look again: the second file of the pair may follow
		return
	}
	c.seen, c.failed = seen, ""
	c.current.Store(pair)
	c.log.LogAttrs(context.Background(), slog.LevelInfo, "certificate reloaded",
		slog.String("file", c.certFile), slog.Time("expires", pair.Leaf.NotAfter))
}

// fail logs a failure once, not at every handshake.
func (c *certificate) fail(err error) {
	if text := err.Error(); text != c.failed {
		c.failed = text
		c.log.LogAttrs(context.Background(), slog.LevelError, "certificate not reloaded, the last good one stays", slog.Any("err", err))
	}
}

func (c *certificate) look() (seen [2]fileState, err error) {
	for i, name := range [...]string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return seen, err
		}
		seen[i] = fileState{info.Size(), info.ModTime(), inode(info)}
	}
	return seen, nil
}

// load reads both files; a key that does not belong to the certificate, as
// between the writing of the one and the other, is an error.
func (c *certificate) load() (*tls.Certificate, error) {
	f, err := openSecret("tls.key", c.keyFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	key, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read tls.key: %w", err)
	}
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return nil, cannot("check tls.certificate", "tls.certificate: %w", err)
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, cannot("decrypt it: openssl pkey -in KEY -out NEWKEY", "tls.key: %s is encrypted with a passphrase", c.keyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, cannot("give tls.certificate and tls.key one matching pair in PEM form", "certificate %s and key %s cannot be used: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}
