package metadata_test

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
)

func TestPostgresTimeouts(t *testing.T) {
	for _, tt := range []struct {
		query     string
		connect   time.Duration
		statement string
	}{
		{"", 5 * time.Second, "30000"},
		{"?connect_timeout=2", 2 * time.Second, "30000"},
		{"?connect_timeout=0", 0, "30000"},
		{"?statement_timeout=1min", 5 * time.Second, "1min"},
		{"?statement_timeout=0", 5 * time.Second, "0"},
		{"?options=-c%20statement_timeout%3D7s", 5 * time.Second, ""},
	} {
		config, err := metadata.PostgresConfig("postgres://u@h/d" + tt.query)
		must(t, err)
		if got := config.RuntimeParams["statement_timeout"]; config.ConnectTimeout != tt.connect || got != tt.statement {
			t.Errorf("%q: connect %s, statement %q", tt.query, config.ConnectTimeout, got)
		}
	}
}

// TestStatementsEnd: D-18, a statement that waits for ever is given up, and the
// client may try again.
func TestStatementsEnd(t *testing.T) {
	url := metadatatest.Postgres(t)
	db, holder := metadatatest.Open(t, url, metadata.Options{}), connect(t, url)
	n, err := db.Number(t.Context(), `SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'`)
	if must(t, err); n != 30_000 {
		t.Errorf("statement_timeout %d ms", n)
	}
	for _, setting := range []string{"&statement_timeout=50ms", "&lock_timeout=50ms"} {
		hasty := metadatatest.Open(t, url+setting, metadata.Options{})
		_, err := holder.Exec(t.Context(), `BEGIN; LOCK TABLE blob`)
		must(t, err)
		wantCode(t, hasty.Catalog().LeaseBlob(context.Background(), blobOf("x").Digest), oci.Unavailable)
		_, err = holder.Exec(t.Context(), `COMMIT`)
		must(t, err)
		must(t, hasty.Catalog().LeaseBlob(t.Context(), blobOf("x").Digest))
	}
}
