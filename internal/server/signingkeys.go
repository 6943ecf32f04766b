package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

// keysInterval is the time between two looks at what is due for signing keys.
const keysInterval = time.Minute

// keepSigningKeys makes signing keys and forgets them in time, until ctx ends.
func keepSigningKeys(ctx context.Context, tokens *token.Service, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(keysInterval):
		}
		if err := tokens.KeepSigningKeys(ctx); err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "signing keys not kept up; trying again in a minute", slog.Any("err", err))
		}
	}
}
