package metadata_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestAuditReadIsBounded: who asks for one event does not have the server read
// thousands.
func TestAuditReadIsBounded(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		const batches, each = 6, 2000
		now := time.Now()
		for range batches {
			events := make([]ledger.Event, each)
			for i := range events {
				events[i] = pull(fmt.Sprintf("user:u%d", i), "r", now)
			}
			must(t, db.Ledger().Append(t.Context(), events))
		}
		for name, c := range map[string]struct {
			q     ledger.Query
			first int64 // the event that is wanted, or 0
			read  int   // how many may be read for it
		}{
			"newest":          {ledger.Query{Limit: 1}, batches * each, 10},
			"newest pull":     {ledger.Query{Kind: ledger.Pull, Limit: 1}, batches * each, 10},
			"oldest":          {ledger.Query{After: ledger.Seq{Given: true}, Limit: 1}, 1, 10},
			"of one":          {ledger.Query{Principal: "user:u1999", Limit: 1}, batches * each, 10},
			"nearly of all":   {ledger.Query{Principal: "user:u", Limit: 1}, 0, 3 * each},
			"nearly, forward": {ledger.Query{After: ledger.Seq{Given: true}, Principal: "user:u", Limit: 1}, 0, 3 * each},
		} {
			t.Run(name, func(t *testing.T) {
				var page ledger.Page
				allocations := testing.AllocsPerRun(1, func() {
					var err error
					page, err = db.Ledger().Read(t.Context(), c.q)
					must(t, err)
				})
				if c.first > 0 && (len(page.Events) != 1 || page.Events[0].Seq != c.first) {
					t.Errorf("%d events", len(page.Events))
				}
				if c.first == 0 && (len(page.Events) > 0 || !page.Next.Given) {
					t.Errorf("%d events, and %+v", len(page.Events), page.Next)
				}
				if allocations > float64(3000+c.read*60) {
					t.Errorf("%.0f allocations", allocations)
				}
			})
		}
	})
}

// TestAuditStatements: many events, as refusals are, take few statements while
// the end of the chain is locked.
func TestAuditStatements(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		total := 0
		for _, n := range []int{1, 2, 3, 100, 255, 256, 1000, 2048} {
			events := make([]ledger.Event, n)
			for i := range events {
				events[i] = ledger.Event{Kind: ledger.Login, Decision: ledger.Denied, Principal: fmt.Sprint("user:u", i)}
			}
			before := db.Queries()
			must(t, db.Ledger().Append(t.Context(), events))
			// One finds the end of the chain, one moves it.
			if sent := db.Queries() - before; sent > 2+8+8 {
				t.Errorf("%d events took %d statements", n, sent)
			}
			total += n
		}
		if got := record(t, db, ledger.Query{Limit: 1000}); len(got) != total {
			t.Errorf("%d events, want %d", len(got), total)
		}
	})
}
