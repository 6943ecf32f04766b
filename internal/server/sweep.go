package server

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
)

// sweepEvery sweeps until ctx ends, interval after the last sweep of any
// process on the same database, each time up to a tenth later, so that replicas
// do not all begin at once.
func sweepEvery(ctx context.Context, s *gc.Sweeper, interval time.Duration, now func() time.Time, log *slog.Logger) {
	for {
		wait := interval
		if status, err := s.Status(ctx); err == nil && status.Last != nil {
			wait = max(0, min(interval, status.Last.Started.Add(interval).Sub(now())))
		}
		wait += rand.N(interval/10 + 1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if status, err := s.Status(ctx); err == nil && status.Last != nil && now().Sub(status.Last.Started) < interval {
			continue // another process did
		}
		sweepOnce(ctx, s, log)
	}
}

func sweepOnce(ctx context.Context, s *gc.Sweeper, log *slog.Logger) {
	e := &ledger.Event{Kind: ledger.Sweep, Action: "run", Decision: ledger.Allowed, Principal: ledger.System}
	report, err := s.Sweep(ledger.With(ctx, e))
	switch {
	case errors.Is(err, gc.ErrRunning), ctx.Err() != nil:
		return
	case err != nil:
		log.LogAttrs(ctx, slog.LevelError, "sweep ended early", slog.Any("err", err))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "sweep finished",
		slog.Int64("uploads", report.Uploads), slog.Int64("links", report.Links),
		slog.Int64("blobs", report.Blobs), slog.Int64("bytes", report.Bytes),
		slog.Duration("took", report.Finished.Sub(report.Started)))
}
