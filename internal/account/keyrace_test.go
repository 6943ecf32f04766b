package account_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestRotationsAtOnce: however many rotate a key at the same time, on one
// process and on two, one of them does it, and two keys of its line are alive.
func TestRotationsAtOnce(t *testing.T) {
	t.Run("one process", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) { rotateAtOnce(t, f, f.s, f.s) })
	})
	t.Run("two processes", func(t *testing.T) {
		url := metadatatest.Postgres(t)
		one, two := newFixture(t, metadatatest.Open(t, url, metadata.Options{})), newFixture(t, metadatatest.Open(t, url, metadata.Options{}))
		rotateAtOnce(t, one, one.s, two.s)
	})
}

func rotateAtOnce(t *testing.T, f *fixture, services ...*account.Service) {
	f.user("alice", "correct horse battery")
	first, _ := f.key(user("alice"), account.NewKey{Name: "ci"})
	current := first
	for range 5 {
		var done sync.WaitGroup
		var mu sync.Mutex
		var made []account.Key
		for i := range 8 {
			done.Go(func() {
				next, _, err := services[i%len(services)].RotateKey(f.ctx(), current.ID, time.Hour, byAdmin)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made = append(made, next)
				} else if _, ok := errors.AsType[*account.RotatedError](err); !ok {
					t.Errorf("rotating at once: %v", err)
				}
			})
		}
		done.Wait()
		keys, err := f.s.ListKeys(f.ctx(), first.AccountID)
		f.ok(err)
		alive := slices.DeleteFunc(keys, func(k account.Key) bool { return !k.Alive(f.clock()) })
		if len(made) != 1 || len(alive) != 2 {
			t.Fatalf("%d rotated, and %d keys are alive", len(made), len(alive))
		}
		f.ok(f.s.RevokeKey(f.ctx(), current.ID))
		current = made[0]
	}
}

// A midway does something after a service has read a key, and before it writes.
type midway struct {
	account.Directory
	then func()
}

func (m midway) RotateKey(ctx context.Context, id string, next account.Key, end time.Time) (access.Narrowing, error) {
	m.then()
	return m.Directory.RotateKey(ctx, id, next, end)
}

// TestRotatedWhileNarrowed: S-36 the successor of a key that is narrowed at the
// same time is as narrow, and there is none of one that is revoked then.
func TestRotatedWhileNarrowed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		k, _ := f.key(user("alice"), account.NewKey{})
		pull := access.Narrowing{Actions: []access.Action{access.Pull}}
		during := func(then func()) *account.Service {
			s := account.New(midway{f.db.Directory(), then}, f.db, account.Options{Now: f.clock})
			t.Cleanup(func() { s.Close() })
			return s
		}
		narrow := during(func() {
			_, err := f.s.NarrowKey(f.ctx(), k.ID, pull)
			f.ok(err)
		})
		next, secret, err := narrow.RotateKey(f.ctx(), k.ID, time.Hour, byAdmin)
		f.ok(err)
		id, err := f.present(secret)
		if err != nil || !next.Narrowing.Equal(pull) || !id.Narrowing.Equal(pull) {
			t.Errorf("S-36 the successor is narrowed to %q and keeps %q, %v", next.Narrowing, id.Narrowing, err)
		}
		revoke := during(func() { f.ok(f.s.RevokeKey(f.ctx(), next.ID)) })
		_, _, err = revoke.RotateKey(f.ctx(), next.ID, time.Hour, byAdmin)
		wantError(t, err, account.ErrUnknown)
	})
}

// TestRotationUnderLowerMaximum: a successor lives no longer than a new key may
// now, whatever its key did, and its key not longer than before.
func TestRotationUnderLowerMaximum(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", "correct horse battery")
		day := 24 * time.Hour
		k, _ := f.key(user("alice"), account.NewKey{Life: 300 * day})
		strict := f.service(account.Options{MaxKeyLife: 2 * day})
		next, _, err := strict.RotateKey(f.ctx(), k.ID, 400*day, byAdmin)
		f.ok(err)
		if want := f.clock().Add(2 * day); next.Life != 2*day || !next.Expires.Equal(want) {
			t.Errorf("the successor lives for %s until %s, want %s", next.Life, next.Expires, want)
		}
		old, err := f.s.Key(f.ctx(), k.ID)
		if err != nil || old.Expires.After(k.Expires) {
			t.Errorf("the old key ends at %s, %v; before it was %s", old.Expires, err, k.Expires)
		}
	})
}
