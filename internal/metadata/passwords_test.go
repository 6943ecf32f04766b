package metadata_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// resetOf returns a one-time code that lives for an hour.
func resetOf(uid, code string) account.Reset {
	return account.Reset{AccountID: uid, Sum: sha256.Sum256([]byte(code)), Name: strings.TrimPrefix(uid, "uid-"), Expires: created.Add(time.Hour)}
}

// TestResets: a code is used once, within its time, and is gone when there is
// another, when the password changes or the account is disabled or removed. Then
// neither it nor what it would have done leaves a trace.
func TestResets(t *testing.T) {
	first, second := resetOf("uid-alice", "1"), resetOf("uid-alice", "2")
	none := func(context.Context, account.Directory) error { return nil }
	for _, tt := range []struct {
		name   string
		change func(context.Context, account.Directory) error
		redeem account.Reset
		at     time.Time
		want   error
	}{
		{"in time", none, first, created.Add(time.Hour - 1000), nil},
		{"too late", none, first, created.Add(time.Hour), account.ErrUnknown},
		{"unknown", none, second, created, account.ErrUnknown},
		{"of another account", none, func() account.Reset { r := first; r.AccountID = "uid-bob"; return r }(), created, account.ErrUnknown},
		{"used", func(ctx context.Context, d account.Directory) error { return d.Redeem(ctx, first, "used", created) }, first, created, account.ErrUnknown},
		{"replaced", func(ctx context.Context, d account.Directory) error { return d.SaveReset(ctx, second) }, first, created, account.ErrUnknown},
		{"the one that replaced it", func(ctx context.Context, d account.Directory) error { return d.SaveReset(ctx, second) }, second, created, nil},
		{"password set", func(ctx context.Context, d account.Directory) error {
			return d.SetPassword(ctx, "uid-alice", "set", created)
		}, first, created, account.ErrUnknown},
		{"password changed", func(ctx context.Context, d account.Directory) error {
			return d.ChangePassword(ctx, "uid-alice", time.Time{}, "changed", created)
		}, first, created, account.ErrUnknown},
		{"password rehashed", func(ctx context.Context, d account.Directory) error {
			return d.Rehash(ctx, "uid-alice", accountOf("alice").PasswordHash, "rehashed")
		}, first, created, nil},
		{"disabled", func(ctx context.Context, d account.Directory) error { return d.SetDisabled(ctx, "uid-alice", true) }, first, created, account.ErrUnknown},
		{"disabled and enabled", func(ctx context.Context, d account.Directory) error {
			return errors.Join(d.SetDisabled(ctx, "uid-alice", true), d.SetDisabled(ctx, "uid-alice", false))
		}, first, created, account.ErrUnknown},
		{"removed", func(ctx context.Context, d account.Directory) error { return d.RemoveAccount(ctx, "uid-alice") }, first, created, account.ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
				ctx, d, s := t.Context(), db.Directory(), db.Tokens()
				must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob")))
				must(t, d.SaveReset(ctx, first))
				must(t, tt.change(ctx, d))
				before, err := d.AccountByUID(ctx, "uid-alice")
				if err == nil && !before.Disabled {
					must(t, s.SaveSession(ctx, sessionOf("s1", "uid-alice", ""), access.Proof{Method: "password", PasswordSet: before.PasswordSet}, token.Room{}))
				}
				want(t, d.Redeem(ctx, tt.redeem, "redeemed", tt.at), tt.want)
				after, err := d.AccountByUID(ctx, "uid-alice")
				if tt.want != nil {
					if err == nil && !cmp.Equal(after, before) {
						t.Errorf("a refused code changed %+v to %+v", before, after)
					}
					return
				}
				if must(t, err); after.PasswordHash != "redeemed" || !after.PasswordSet.After(before.PasswordSet) {
					t.Errorf("redeemed: %+v", after)
				}
				if v, err := s.SessionByID(ctx, "s1"); err != nil || v.Revoked.IsZero() {
					t.Errorf("a session lives on: %+v, %v", v, err)
				}
				_, err = d.ResetBySum(ctx, tt.redeem.Sum)
				want(t, err, account.ErrUnknown)
			})
		})
	}
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		must(t, d.AddAccounts(ctx, accountOf("alice")))
		want(t, d.SaveReset(ctx, resetOf("none", "1")), account.ErrUnknown)
		must(t, d.SaveReset(ctx, first))
		got, err := d.ResetBySum(ctx, first.Sum)
		if must(t, err); !cmp.Equal(got, first) {
			t.Errorf("found %+v", got)
		}
		must(t, d.SetDisabled(ctx, "uid-alice", true))
		want(t, d.SaveReset(ctx, first), account.ErrUnknown)
		want(t, d.ChangePassword(ctx, "uid-alice", time.Time{}, "x", created), account.ErrUnknown)
	})
}

// TestRedeemTogether: of those who redeem a code at the same moment, on two
// processes, one sets the password.
func TestRedeemTogether(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		one := metadatatest.Open(t, url, metadata.Options{})
		dbs := []*metadata.DB{one, one}
		if strings.HasPrefix(url, "postgres") { // SQLite has one process
			dbs[1] = metadatatest.Open(t, url, metadata.Options{})
		}
		must(t, one.Directory().AddAccounts(t.Context(), accountOf("alice")))
		for round := range 10 {
			r := resetOf("uid-alice", fmt.Sprint(round))
			must(t, one.Directory().SaveReset(t.Context(), r))
			errs := make([]error, 8)
			together(len(errs), func(i int) bool {
				errs[i] = dbs[i%2].Directory().Redeem(context.Background(), r, fmt.Sprint("hash ", i), created)
				return true
			})
			won := -1
			for i, err := range errs {
				switch {
				case err == nil && won < 0:
					won = i
				case !errors.Is(err, account.ErrUnknown):
					t.Errorf("round %d: %d after %d: %v", round, i, won, err)
				}
			}
			a, err := one.Directory().AccountByUID(t.Context(), "uid-alice")
			if must(t, err); won < 0 || a.PasswordHash != fmt.Sprint("hash ", won) {
				t.Errorf("round %d: %d won, and the hash is %q", round, won, a.PasswordHash)
			}
		}
	})
}

func TestNetworks(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob")))
		names := func(network string, since time.Time, limit int, want ...string) {
			t.Helper()
			got, err := d.NamesAt(ctx, network, since, limit)
			must(t, err)
			if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, want) {
				t.Errorf("at %s: %v, want %v", network, list, want)
			}
		}
		network := func(i int) string { return fmt.Sprintf("192.0.2.%d/32", i) }
		names(network(0), created, 10)
		for i := range 4 {
			must(t, d.NoteNetwork(ctx, "uid-alice", network(i), created.Add(time.Duration(i)*time.Minute), 3))
		}
		must(t, d.NoteNetwork(ctx, "uid-bob", network(2), created, 3))
		must(t, d.NoteNetwork(ctx, "nobody", network(2), created, 3)) // removed meanwhile
		names(network(0), created, 10)                                // the oldest went
		names(network(1), created, 10, "alice")
		names(network(2), created, 10, "alice", "bob")
		names(network(2), created, 1, "alice") // the newest
		names(network(2), created.Add(time.Second), 10, "alice")
		names(network(3), created.Add(time.Hour), 10)
		names("nul\x00", created, 10)

		later := created.Add(time.Hour)
		must(t, d.NoteNetwork(ctx, "uid-alice", network(1), later, 3)) // again: no new row
		got, err := d.NamesAt(ctx, network(1), created, 10)
		if must(t, err); !got["alice"].Equal(later) {
			t.Errorf("noted %v", got)
		}
		names(network(2), created, 10, "alice", "bob")
		must(t, d.RemoveAccount(ctx, "uid-alice"))
		names(network(1), created, 10)
	})
}

func TestDecoys(t *testing.T) {
	var keys []string
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		key, err := d.DecoyKey(ctx)
		must(t, err)
		if len(key) != 32 || slices.Contains(keys, string(key)) {
			t.Errorf("key %x", key)
		}
		keys = append(keys, string(key))
		if again, err := d.DecoyKey(ctx); err != nil || string(again) != string(key) {
			t.Errorf("the key becomes %x, %v", again, err)
		}
		bot := accountOf("ci")
		bot.PasswordHash = ""
		must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob"), bot))
		var hashes []string
		must(t, d.EachPasswordHash(ctx, func(hash string) { hashes = append(hashes, hash) }))
		if slices.Sort(hashes); !slices.Equal(hashes, []string{"$argon2id$alice", "$argon2id$bob"}) {
			t.Errorf("hashes %q", hashes)
		}
	})
}
