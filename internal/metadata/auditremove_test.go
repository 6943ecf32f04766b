package metadata_test

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestAuditRemoveTogether: of two processes that remove at the same time, the
// one with the earlier end does not move the beginning back (L-05).
func TestAuditRemoveTogether(t *testing.T) {
	url := metadatatest.Postgres(t)
	db := metadatatest.Open(t, url, metadata.Options{})
	base := time.Now().Add(-100 * time.Hour)
	for i := range 12 {
		must(t, db.Ledger().Append(t.Context(), []ledger.Event{{Time: base.Add(time.Duration(i) * time.Hour), Kind: ledger.Login}}))
	}
	other, watch := connect(t, url), connect(t, url)
	for _, text := range []string{
		`BEGIN`,
		`UPDATE audit_link SET seq = 6, hash = (SELECT hash FROM audit_event WHERE seq = 6) WHERE id = 0`,
		`DELETE FROM audit_event WHERE seq <= 6`,
	} {
		_, err := other.Exec(t.Context(), text)
		must(t, err)
	}
	type result struct {
		removed int64
		err     error
	}
	done := make(chan result, 1)
	go func() {
		n, err := db.Ledger().Remove(context.Background(), base.Add(3*time.Hour), 1000)
		done <- result{n, err}
	}()
	blocked(t, watch)
	_, err := other.Exec(t.Context(), `COMMIT`)
	must(t, err)
	if r := <-done; r.err != nil || r.removed != 0 {
		t.Errorf("%d removed, %v", r.removed, r.err)
	}
	anchor, _, err := db.Ledger().Ends(t.Context())
	must(t, err)
	if anchor.Seq != 6 {
		t.Errorf("the record begins after event %d, want 6", anchor.Seq)
	}
	record(t, db, ledger.Query{Limit: 10}) // is whole, though the other left no event of its removal
}
