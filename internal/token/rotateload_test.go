package token_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// T-26: keys change while tokens are issued and used, on one process and on two
// that share a database, and no request fails.
func TestRotationUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: keys change by the real clock")
	}
	t.Run("one process", func(t *testing.T) {
		db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
		rotateUnderLoad(t, newFixture(t, db), db)
	})
	t.Run("two processes", func(t *testing.T) {
		url := metadatatest.Postgres(t)
		f := newFixture(t, metadatatest.Open(t, url, metadata.Options{}))
		rotateUnderLoad(t, f, f.db, metadatatest.Open(t, url, metadata.Options{}))
	})
}

func rotateUnderLoad(t *testing.T, f *fixture, dbs ...*metadata.DB) {
	const rotations = 3
	var processes []*token.Service
	for _, db := range dbs {
		s, err := token.New(f.ctx(), token.Deps{
			Store: db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: db,
			Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: f.sealer,
		}, token.Options{Issuer: issuer, Service: service, KeyAhead: 1500 * time.Millisecond})
		f.ok(err)
		t.Cleanup(func() { s.Close() })
		processes = append(processes, s)
	}
	var stop atomic.Bool
	var requests, failed atomic.Int64
	var seen sync.Map
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for !stop.Load() {
				issuing := processes[i%len(processes)]
				a := f.doOn(issuing, get("scope=repository:public/x:pull", ""))
				if a.Token == "" {
					failed.Add(1)
					t.Errorf("T-26: no token: %d %s", a.status, a.raw)
					return
				}
				seen.Store(kidOf(t, a.Token), true)
				for _, s := range processes {
					requests.Add(1)
					if _, err := s.Authorize(f.ctx(), a.Token); err != nil {
						failed.Add(1)
						t.Errorf("T-26: a token was refused: %v", err)
						return
					}
				}
				time.Sleep(time.Millisecond) // a pace that leaves room for others
			}
		})
	}
	for range rotations {
		next, err := processes[len(processes)-1].RotateSigningKeyNow(f.ctx())
		f.ok(err)
		for state := next.State; state != token.Active; time.Sleep(10 * time.Millisecond) {
			keys, err := processes[0].SigningKeys(f.ctx())
			f.ok(err)
			for _, k := range keys {
				if k.ID == next.ID {
					state = k.State
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop.Store(true)
	all.Wait()
	signed := 0
	seen.Range(func(any, any) bool { signed++; return true })
	if signed != rotations+1 || failed.Load() > 0 {
		t.Errorf("%d keys signed, %d of %d requests failed", signed, failed.Load(), requests.Load())
	}
	t.Logf("%d requests across %d rotations", requests.Load(), rotations)
}
