package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/token"
)

func newSealer(t *testing.T) *token.Sealer {
	t.Helper()
	kek, err := token.NewKEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSealer(kek)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// what ACME needs rests sealed; what cannot be opened is made anew.
func TestACMECache(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, sealer := t.Context(), newSealer(t)
		cache := server.NewACMECache(db.ACME(), sealer, "https://a.test/dir", time.Now, slog.New(slog.DiscardHandler))
		miss := func(c autocert.Cache, key string) {
			t.Helper()
			if data, err := c.Get(ctx, key); !errors.Is(err, autocert.ErrCacheMiss) {
				t.Errorf("%.40s: %q, %v", key, data, err)
			}
		}
		miss(cache, "host")
		if err := cache.Put(ctx, "host", []byte("PRIVATE KEY")); err != nil {
			t.Fatal(err)
		}
		if data, err := cache.Get(ctx, "host"); err != nil || string(data) != "PRIVATE KEY" {
			t.Errorf("%q, %v", data, err)
		}
		rows := 0
		for _, name := range []string{"host", server.ACMEPrefix(cache) + "host"} {
			if v, err := db.ACME().Find(ctx, name); err == nil {
				rows++
				if bytes.Contains(v.Sealed, []byte("PRIVATE")) || v.KEK != sealer.ID() {
					t.Errorf("%s rests as %q under %s", name, v.Sealed, v.KEK)
				}
				// One row's content does not open in another's place.
				if err := db.ACME().Save(ctx, server.ACMEPrefix(cache)+"moved", v, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rows != 1 {
			t.Errorf("%d rows", rows)
		}
		miss(cache, "moved")
		miss(server.NewACMECache(db.ACME(), sealer, "https://b.test/dir", time.Now, slog.New(slog.DiscardHandler)), "host")
		miss(server.NewACMECache(db.ACME(), newSealer(t), "https://a.test/dir", time.Now, slog.New(slog.DiscardHandler)), "host")
		before := db.Queries()
		miss(cache, strings.Repeat("x", 1000))
		if db.Queries() != before {
			t.Error("a name of a stranger's length was looked up")
		}
		for range 2 {
			if err := cache.Delete(ctx, "host"); err != nil {
				t.Error(err)
			}
		}
		miss(cache, "host")
	})
}

// Strangers get no certificate, and cannot make us ask for one.
func TestACMEHandshakes(t *testing.T) {
	db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
	c := config.Default()
	c.ACME.AcceptTerms, c.ACME.Hosts, c.ACME.Directory = true, []string{"a.test", "b.test"}, "https://127.0.0.1:1/dir"
	log := &lines{}
	get, err := server.NewACME(c, server.NewACMECache(db.ACME(), newSealer(t), "x", time.Now, log.logger()), time.Now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		protos []string
		want   string
	}{
		{"a.test", nil, "there is no certificate yet"},
		{"", nil, "there is no certificate yet"},
		{"A.TEST", []string{"http/1.1"}, "there is no certificate yet"},
		{"c.test", nil, "this host has no certificate here"},
		{"c.test", []string{"acme-tls/1"}, "this host has no certificate here"},
		{"a.test", []string{"acme-tls/1"}, "no token cert"},
		{"a.test", []string{"acme-tls/1", "h2"}, "there is no certificate yet"},
	} {
		before := db.Queries()
		_, err := get(&tls.ClientHelloInfo{ServerName: tt.name, SupportedProtos: tt.protos})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %q: %v", tt.name, tt.protos, err)
		}
		if n := db.Queries() - before; n > 1 {
			t.Errorf("%q %q: %d queries", tt.name, tt.protos, n)
		}
	}
	if strings.Contains(log.String(), "127.0.0.1:1") {
		t.Error("the ACME server was asked")
	}
}

func TestACMEFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("short"), []byte("eA\n"))
	write(t, path("empty.pem"), nil)
	for _, tt := range []struct {
		want   string
		change func(*config.ACME)
	}{
		{"acme.ca_file", func(a *config.ACME) { a.CAFile = path("none") }},
		{"holds no certificate", func(a *config.ACME) { a.CAFile = path("empty.pem") }},
		{"acme.eab_key_file", func(a *config.ACME) { a.EABKeyID, a.EABKeyFile = "x", path("none") }},
		{"holds no such key", func(a *config.ACME) { a.EABKeyID, a.EABKeyFile = "x", path("short") }},
	} {
		c := config.Default()
		c.ACME.AcceptTerms, c.ACME.Hosts = true, []string{"a.test"}
		tt.change(&c.ACME)
		_, err := server.NewACME(c, noCache{}, time.Now, slog.New(slog.DiscardHandler))
		hasHint(t, err, tt.want)
	}
}

type noCache struct{}

func (noCache) Get(context.Context, string) ([]byte, error) { return nil, autocert.ErrCacheMiss }
func (noCache) Put(context.Context, string, []byte) error   { return nil }
func (noCache) Delete(context.Context, string) error        { return nil }
