package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/token"
)

// maxACMEName bounds the names that are looked up, in bytes: strangers choose
// those of challenges.
const maxACMEName = 300

// An acmeCache implements autocert.Cache: sealed like signing keys, in the
// database, so that any replica can answer the challenge that another has asked for, and all serve
// the same certificate.
type acmeCache struct {
	states metadata.ACMEStates
	sealer *token.Sealer
	prefix string // keeps the accounts and certificates of ACME servers apart
	now    func() time.Time
	log    *slog.Logger
}

func newACMECache(states metadata.ACMEStates, sealer *token.Sealer, directory string, now func() time.Time, log *slog.Logger) *acmeCache {
	sum := sha256.Sum256([]byte(directory))
	return &acmeCache{states, sealer, hex.EncodeToString(sum[:8]) + "/", now, log}
}

// errCache is what strangers may see of a failure.
var errCache = errors.New("the certificate cache cannot be read now")

// Get implements autocert.Cache. What cannot be opened is a miss: another is
// fetched then.
func (c *acmeCache) Get(ctx context.Context, key string) ([]byte, error) {
	if len(key) > maxACMEName {
		return nil, autocert.ErrCacheMiss
	}
	name := c.prefix + key
	v, err := c.states.Find(ctx, name)
	switch {
	case errors.Is(err, metadata.ErrNoState):
		return nil, autocert.ErrCacheMiss
	case err != nil:
		c.log.LogAttrs(ctx, slog.LevelError, "ACME state not read", slog.Any("err", err))
		return nil, errCache
	}
	data, err := c.sealer.Open("acme "+name, v.KEK, v.Sealed)
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelWarn, "ACME state cannot be opened, it is made anew", slog.Any("err", err))
		return nil, autocert.ErrCacheMiss
	}
	return data, nil
}

// Put implements autocert.Cache.
func (c *acmeCache) Put(ctx context.Context, key string, data []byte) error {
	name := c.prefix + key
	return c.states.Save(ctx, name, metadata.ACMEState{KEK: c.sealer.ID(), Sealed: c.sealer.Seal("acme "+name, data)}, c.now())
}

// Delete implements autocert.Cache.
func (c *acmeCache) Delete(ctx context.Context, key string) error {
	return c.states.Remove(ctx, c.prefix+key)
}
