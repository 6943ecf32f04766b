package server

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ledger"
)

const (
	// forgetEvery is the time between two searches for events that are too old.
	forgetEvery = time.Hour
	// forgetAtOnce bounds the events that one transaction removes, about, and
	// forgetPause is the time that others get after each.
	forgetAtOnce = 1000
	forgetPause  = 200 * time.Millisecond
)

// openSinks opens what the audit events go to beside the database. What is open
// when it fails, the caller closes.
func openSinks(c config.Audit, out io.Writer, log *slog.Logger) (sinks []*ledger.Sink, err error) {
	if c.Stdout {
		sinks = append(sinks, ledger.NewSink("stdout", ledger.Lines{W: out}, log))
	}
	if c.File != "" {
		f, err := ledger.OpenFile(c.File)
		if err != nil {
			return sinks, cannot("give the directory of audit.file to the user that runs sallyport, or choose another file", "audit.file: %w", err)
		}
		sinks = append(sinks, ledger.NewSink("file", f, log))
	}
	if c.Syslog != "" {
		s, err := ledger.NewSyslog(c.Syslog)
		if err != nil {
			return sinks, cannot("write unix:/dev/log, udp:HOST:PORT or tcp:HOST:PORT", "audit.syslog: %w", err)
		}
		sinks = append(sinks, ledger.NewSink("syslog", s, log))
	}
	return sinks, nil
}

// toSinks returns what hands committed events on.
func toSinks(sinks []*ledger.Sink) func([]ledger.Sealed) {
	if len(sinks) == 0 {
		return nil
	}
	return func(events []ledger.Sealed) {
		for _, s := range sinks {
			s.Take(events)
		}
	}
}

// recordStart leaves an event about how the record is kept from now on. A
// server whose record cannot be written does not start.
func (r *rooms) recordStart(ctx context.Context, c config.Audit) error {
	var to []string
	for name, on := range map[string]bool{"stdout": c.Stdout, "file": c.File != "", "syslog": c.Syslog != ""} {
		if on {
			to = append(to, name)
		}
	}
	e := ledger.Event{Kind: ledger.Audit, Action: "start", Decision: ledger.Allowed, Principal: ledger.System}
	e.Set("pulls", strconv.FormatBool(c.Pulls))
	e.Set("retention", c.Retention.String())
	e.Set("sinks", strings.Join(to, " "))
	if err := r.ledger.Record(ctx, e); err != nil {
		return err
	}
	return r.ledger.Flush(ctx)
}

// forgetEvents removes events older than keep until ctx ends, a few at a time.
func forgetEvents(ctx context.Context, b ledger.Book, keep time.Duration, now func() time.Time, log *slog.Logger) {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		n, err := b.Remove(ctx, now().Add(-keep), forgetAtOnce)
		if wait = forgetEvery; n > 0 {
			wait = forgetPause
		}
		if err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "old audit events not removed; tried again later", slog.Any("err", err))
		}
	}
}
