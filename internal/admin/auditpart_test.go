package admin_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// TestAuditOfPart: L-06, who reads a part of the record gets the same answer for
// what happened elsewhere and for what never happened, whatever is asked, and
// all that is of the own part.
func TestAuditOfPart(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.otherPart()
		a := f.as("manager-a")
		var events []ledger.Event
		want := 0
		for i := range 120 {
			e := ledger.Event{Kind: ledger.Push, Action: "push", Decision: ledger.Allowed, Principal: "user:carol", Repository: fmt.Sprintf("team-b/app%d", i%4), RequestID: fmt.Sprint("r", i)}
			switch i % 10 {
			case 0:
				e.Repository, e.Principal = "team-a/web", "user:alice"
				want++
			case 5:
				e = ledger.Event{Kind: ledger.Pull, Action: "manifest", Decision: ledger.Allowed, Principal: "user:dave", Repository: "team-b/app1"}
			}
			events = append(events, e)
		}
		f.ok(f.db.Ledger().Append(t.Context(), events))
		f.head()
		ask := func(query string) client.AuditPage {
			return read[client.AuditPage](f, a, 200, req{method: "GET", path: "/audit?" + query})
		}
		for _, order := range []string{"", "&after=0", "&after=50", "&before=60"} {
			none := ask("n=1&where=team-b/none" + order)
			for _, there := range []string{"where=team-b/app1", "where=team-b/**", "who=user:carol", "who=user:dave", "what=sweep", "request=r3", "where=team-b/app1&what=pull"} {
				got := ask("n=1&" + there + order)
				if len(got.Items) > 0 || got.Next != none.Next || got.Through != none.Through {
					t.Errorf("L-06 %s%s: %+v; of what is not there: %+v", there, order, got, none)
				}
			}
		}
		for _, n := range []int{1, 5, 1000} {
			for _, query := range []string{"", "who=user:alice&", "where=team-a/**&"} {
				for _, order := range []string{"before", "after"} {
					seen, at := 0, int64(0)
					next := "0"
					if order == "before" {
						next = "1000000"
					}
					for next != "" {
						page := ask(query + fmt.Sprintf("n=%d&%s=%s", n, order, next))
						for _, e := range page.Items {
							if e.Repository == "team-a/web" {
								seen++
							}
							if at != 0 && (e.Seq > at) != (order == "after") {
								t.Fatalf("event %d after %d", e.Seq, at)
							}
							at = e.Seq
						}
						next = page.Next
					}
					if seen != want {
						t.Errorf("%s%d at a time, %s: %d events, want %d", query, n, order, seen, want)
					}
				}
			}
		}
		// Going on from there is going on after all that happened.
		page := ask("after=0&where=team-b/none")
		if head := f.head(); page.Through == 0 || page.Through > head || len(ask("after="+strconv.FormatInt(page.Through, 10)).Items) != 0 {
			t.Errorf("through %d, the last is %d", page.Through, head)
		}
	})
}
