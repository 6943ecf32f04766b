package token_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// keyEvents returns the events about signing keys, oldest first.
func (f *fixture) keyEvents() []ledger.Sealed {
	f.t.Helper()
	page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{Kind: ledger.SigningKey, After: ledger.Seq{Given: true}, Limit: 1000})
	f.ok(err)
	return page.Events
}

// TestSigningKeyEvents: L-03, what becomes of signing keys by itself leaves an
// event each, of the server itself, however many processes look after them.
func TestSigningKeyEvents(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const rotation = 48 * time.Hour
		o := token.Options{KeyRotation: rotation, KeyAhead: 12 * time.Hour}
		replicas := []*token.Service{f.service(o), f.service(o), f.service(o)}
		ids := func() (out []string) {
			keys, err := replicas[0].SigningKeys(f.ctx())
			f.ok(err)
			for _, k := range keys {
				out = append(out, k.ID)
			}
			return out
		}
		first := ids()[0]
		var second string
		for _, step := range []struct {
			name string
			wait time.Duration
			want func() string // "" for nothing
		}{
			{"the first key", 0, func() string { return fmt.Sprint("add next=", first) }},
			{"nothing is due", rotation / 2, nil},
			{"the next one is published", rotation / 4, func() string {
				second = ids()[1]
				return fmt.Sprint("add next=", second)
			}},
			{"it begins to sign: said before", rotation / 4, nil},
			{"the first one is gone", 2 * time.Hour, func() string { return fmt.Sprint("remove removed=", first) }},
		} {
			before := len(f.keyEvents())
			if step.name == "the first key" {
				before = 0
			}
			f.pass(step.wait)
			var all sync.WaitGroup
			for _, s := range replicas {
				all.Go(func() {
					if err := s.KeepSigningKeys(f.ctx()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			got := f.keyEvents()[before:]
			if step.want == nil {
				if len(got) != 0 {
					t.Errorf("L-03 %s: %s", step.name, got[0].Line())
				}
				continue
			}
			action, detail, _ := strings.Cut(step.want(), " ")
			name, value, _ := strings.Cut(detail, "=")
			if len(got) != 1 || got[0].Action != action || got[0].Detail[name] != value || got[0].Principal != ledger.System || got[0].Decision != ledger.Allowed {
				t.Errorf("L-03 %s: %d events %+v, want %s", step.name, len(got), got, step.want())
				continue
			}
			if signs, err := time.Parse(time.RFC3339, got[0].Detail["signs"]); action == "add" && (err != nil || signs.Before(f.clock())) {
				t.Errorf("%s: it signs %q", step.name, got[0].Detail["signs"])
			}
		}
	})
}

// TestUnrecordedSigningKeys: L-04, what becomes of signing keys by itself waits
// until it can be recorded.
func TestUnrecordedSigningKeys(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		f := newFixture(t, metadatatest.Open(t, url, metadata.Options{}))
		s := f.service(token.Options{KeyRotation: 48 * time.Hour, KeyAhead: 12 * time.Hour})
		f.pass(40 * time.Hour)
		count := func() int {
			keys, err := f.db.Tokens().ListSigningKeys(f.ctx())
			f.ok(err)
			return len(keys)
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_event RENAME TO audit_gone`)
		if err := s.KeepSigningKeys(f.ctx()); err == nil || count() != 1 {
			t.Errorf("L-04: %d keys (%v)", count(), err)
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_gone RENAME TO audit_event`)
		f.ok(s.KeepSigningKeys(f.ctx()))
		if count() != 2 {
			t.Errorf("%d keys", count())
		}
	})
}
