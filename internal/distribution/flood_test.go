package distribution_test

import (
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestFlood: ten thousand requests that prove nothing, of one network, leave few
// events, which tell of each of them; what others do leaves one each.
func TestFlood(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		const requests, pulls = 10_000, 500
		r := newRecorded(t, url, distribution.Options{})
		all := token("alice", "repository:team-a/app:pull,push,delete")
		if status := r.ask("PUT", "/v2/team-a/app/manifests/v1", all, emptyIndex); status != 201 {
			t.Fatal(status)
		}
		for i := range requests {
			if status := r.ask("GET", "/v2/", "x", ""); status != 401 {
				t.Fatalf("status %d", status)
			}
			if i%(requests/pulls) == 0 {
				if status := r.ask("GET", "/v2/team-a/app/manifests/v1", all, ""); status != 200 {
					t.Fatalf("status %d", status)
				}
			}
		}
		if err := r.recorder.Close(); err != nil {
			t.Fatal(err)
		}
		chain, refusals, told, pulled := ledger.From(ledger.Link{}), 0, 0, 0
		for _, s := range r.events(0) {
			if err := chain.Add(s); err != nil {
				t.Fatal(err)
			}
			n := 1
			if text := s.Detail["count"]; text != "" {
				var err error
				if n, err = strconv.Atoi(text); err != nil {
					t.Fatal(err)
				}
			}
			switch s.Kind {
			case ledger.Token:
				refusals, told = refusals+1, told+n
			case ledger.Pull:
				pulled++
			}
		}
		// A hundred at first, one more for each second, and counts.
		if told != requests || refusals > 1000 || pulled != pulls {
			t.Errorf("%d events tell of %d refusals, want %d; %d pulls, want %d", refusals, told, requests, pulled, pulls)
		}
	})
}
