package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a readiness check.
const (
	readyFor     = time.Second     // how long an answer is reused
	readyTimeout = 2 * time.Second // how long a part may take to answer
)

// A probe asks one part whether it works.
type probe struct {
	name string
	ask  func(context.Context) error
}

// health answers /healthz, which says that the process serves HTTP, and
// /readyz, which says that every part answers. What is wrong stands in the log,
// only the part's name in the answer. /metrics is there too. Safe for concurrent
// use.
type health struct {
	probes   []probe
	metrics  http.Handler
	log      *slog.Logger
	now      func() time.Time
	stopping atomic.Bool

	mu     sync.Mutex
	asked  time.Time
	failed string // the part that did not answer, or ""
}

func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if failed := h.check(); failed != "" {
			reply(w, http.StatusServiceUnavailable, "not ready: "+failed)
			return
		}
		reply(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", h.metrics)
	return mux
}

func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // a prober that went away needs no answer
}

// check returns the name of a part that does not answer, or "". Callers at the
// same time share one round of questions.
func (h *health) check() string {
	if h.stopping.Load() {
		return "stopping"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now().Sub(h.asked) < readyFor {
		return h.failed
	}
	// Not the prober's context: its impatience is no failure of a part.
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	failed := ""
	for _, p := range h.probes {
		if err := p.ask(ctx); err != nil {
			failed = p.name
			h.log.LogAttrs(ctx, slog.LevelError, "not ready", slog.String("part", p.name), slog.Any("err", err))
			break
		}
	}
	h.asked, h.failed = h.now(), failed
	return failed
}
