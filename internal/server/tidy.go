package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// tidyInterval is how often what has ended long ago is deleted.
const tidyInterval = time.Hour

// A tidier deletes what has ended long ago, and returns how much.
type tidier interface {
	Tidy(ctx context.Context) (int, error)
}

// tidyEvery has each of them tidy up, soon after the start and then every
// interval, each time up to a tenth later, until ctx ends. Replicas do not hinder
// each other.
func tidyEvery(ctx context.Context, interval time.Duration, log *slog.Logger, all ...tidier) {
	for wait := interval / 60; ; wait = interval {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(interval/10)):
		}
		for _, t := range all {
			n, err := t.Tidy(ctx)
			if err != nil && ctx.Err() == nil {
				log.LogAttrs(ctx, slog.LevelError, "ended credentials not deleted", slog.Any("err", err))
			} else if n > 0 {
				log.LogAttrs(ctx, slog.LevelInfo, "ended credentials deleted", slog.Int("rows", n))
			}
		}
	}
}
