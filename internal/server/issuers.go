package server

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

const (
	// issuersInterval is the time between two looks at the file of issuers.
	issuersInterval = 500 * time.Millisecond
	maxIssuerSeries = 200
)

// openIssuers reads the file of trusted issuers, if there is one, and those that
// were added.
func (s *Server) openIssuers() error {
	s.issuersFile = &issuersFile{path: s.config.Federation.IssuersFile, log: s.log}
	fixed, _, err := s.issuersFile.read()
	if err != nil {
		return err
	}
	s.rooms.issuers, err = issuer.New(issuer.Deps{Store: s.rooms.db.Issuers(), Changes: s.rooms.db, Fixed: fixed}, issuer.Options{
		Now: s.now, Logger: s.log, Audience: s.service, MaxSessions: s.config.Tokens.JobSession,
	})
	if err != nil {
		return fmt.Errorf("federation: %w", err)
	}
	return nil
}

// An issuersFile is the configured file of trusted issuers.
type issuersFile struct {
	path string // "": there is none
	log  *slog.Logger
	info fs.FileInfo // when it was last taken over, or found to be wrong
	said string      // the last complaint
}

// read returns the definitions in the file, and what it was before it was read.
func (f *issuersFile) read() ([]issuer.Definition, fs.FileInfo, error) {
	if f.path == "" {
		return nil, nil, nil
	}
	const cure = "give federation.issuers_file an AuthenticationConfiguration as docs/federation.md shows it"
	opened, err := os.Open(f.path)
	if err != nil {
		return nil, nil, cannot(cure, "federation.issuers_file: %w", err)
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, nil, cannot(cure, "federation.issuers_file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(opened, issuer.MaxFile+1))
	if err != nil {
		return nil, info, cannot(cure, "federation.issuers_file: %w", err)
	}
	list, err := issuer.ParseFile(text)
	if err != nil {
		return nil, info, fmt.Errorf("federation.issuers_file: %s: %w", f.path, err)
	}
	f.info = info
	return list, info, nil
}

// follow takes the file over whenever it has changed, until ctx ends. One that is
// wrong changes nothing: the last good one counts.
func (f *issuersFile) follow(ctx context.Context, set *issuer.Set) {
	for f.path != "" {
		select {
		case <-ctx.Done():
			return
		case <-time.After(issuersInterval):
		}
		f.look(ctx, set)
	}
}

// look takes the file over if it is another one than at the last look, or could
// not be then.
func (f *issuersFile) look(ctx context.Context, set *issuer.Set) {
	if now, err := os.Stat(f.path); err == nil && f.info != nil && sameFile(now, f.info) {
		return
	}
	list, info, err := f.read()
	later := false
	if err == nil {
		later, err = set.SetFixed(ctx, list)
	}
	if f.info = info; later {
		f.info = nil
	}
	if err != nil {
		if f.said != err.Error() {
			f.log.LogAttrs(ctx, slog.LevelError, "issuers_file not taken over, the last good one counts", slog.Any("err", err))
		}
		f.said = err.Error()
		return
	}
	f.said = ""
	f.log.LogAttrs(ctx, slog.LevelInfo, "issuers_file taken over", slog.String("file", f.path), slog.Int("issuers", len(list)))
}

func sameFile(now, before fs.FileInfo) bool {
	return os.SameFile(now, before) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime())
}

// checkIssuersFile is for CheckFiles.
func checkIssuersFile(c config.Config) error {
	_, _, err := (&issuersFile{path: c.Federation.IssuersFile}).read()
	return err
}

// issuerKeys shows how old the keys of trusted issuers are, and how often they
// could not be had.
type issuerKeys struct {
	set *issuer.Set
	now func() time.Time
}

var (
	issuerAgeDesc = prometheus.NewDesc("sallyport_issuer_keys_age_seconds",
		"Time since the keys of a trusted issuer were fetched; those whose keys nobody has needed yet are not shown.", []string{"issuer"}, nil)
	issuerFailuresDesc = prometheus.NewDesc("sallyport_issuer_keys_failures",
		"How often in a row the keys of a trusted issuer could not be fetched.", []string{"issuer"}, nil)
)

// Describe implements prometheus.Collector.
func (c *issuerKeys) Describe(ch chan<- *prometheus.Desc) {
	ch <- issuerAgeDesc
	ch <- issuerFailuresDesc
}

// Collect implements prometheus.Collector.
func (c *issuerKeys) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.set.Stats(maxIssuerSeries) {
		if !s.Fetched.IsZero() {
			ch <- prometheus.MustNewConstMetric(issuerAgeDesc, prometheus.GaugeValue, c.now().Sub(s.Fetched).Seconds(), s.Name)
		}
		ch <- prometheus.MustNewConstMetric(issuerFailuresDesc, prometheus.GaugeValue, float64(s.Failures), s.Name)
	}
}
