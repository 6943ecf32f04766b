package metadata_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

var (
	byPassword = access.Proof{Method: "password"}
	byKey      = access.Proof{Method: "key", KeyID: "k1"}
)

// TestSessionOfAnEndedProof is I-19: what was proven before a right was taken
// away begins no session afterwards.
func TestSessionOfAnEndedProof(t *testing.T) {
	disable := func(d account.Directory) error { return d.SetDisabled(context.Background(), "uid-alice", true) }
	reset := func(d account.Directory) error {
		return d.SetPassword(context.Background(), "uid-alice", "new", created)
	}
	revoke := func(d account.Directory) error { return d.RevokeKey(context.Background(), "k1", created) }
	remove := func(d account.Directory) error { return d.RemoveAccount(context.Background(), "uid-alice") }
	for _, tt := range []struct {
		name   string
		proof  access.Proof
		change func(account.Directory) error
		want   error
	}{
		{"password, disabled", byPassword, disable, token.ErrUnknown},
		{"password, replaced", byPassword, reset, token.ErrUnknown},
		{"password, removed", byPassword, remove, token.ErrUnknown},
		{"password, another key revoked", byPassword, revoke, nil},
		{"password of an hour ago", access.Proof{Method: "password", PasswordSet: created}, revoke, token.ErrUnknown},
		{"password, the new one", access.Proof{Method: "password", PasswordSet: created}, reset, nil},
		{"key, disabled", byKey, disable, token.ErrUnknown},
		{"key, revoked", byKey, revoke, token.ErrUnknown},
		{"key, removed", byKey, remove, token.ErrUnknown},
		{"key, password replaced", byKey, reset, nil},
		{"key of another", access.Proof{Method: "key", KeyID: "k2"}, revoke, token.ErrUnknown},
	} {
		prepare := func(t *testing.T, db *metadata.DB) (save func() error) {
			d := db.Directory()
			must(t, d.AddAccounts(t.Context(), accountOf("alice"), accountOf("bob")))
			must(t, d.AddKey(t.Context(), keyOf("k1", "uid-alice")))
			must(t, d.AddKey(t.Context(), keyOf("k2", "uid-bob")))
			return func() error {
				return db.Tokens().SaveSession(context.Background(), sessionOf("s1", "uid-alice", tt.proof.KeyID), tt.proof, token.Room{})
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
				save := prepare(t, db)
				must(t, tt.change(db.Directory()))
				want(t, save(), tt.want)
			})
		})
		t.Run(tt.name+" at the same moment", func(t *testing.T) {
			metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
				save := prepare(t, db)
				errs := make([]error, 2)
				together(2, func(i int) bool {
					if i == 0 {
						errs[i] = save()
					} else {
						errs[i] = tt.change(db.Directory())
					}
					return true
				})
				must(t, errs[1])
				if errs[0] != nil && !errors.Is(errs[0], token.ErrUnknown) {
					t.Errorf("save: %v", errs[0])
				}
				got, err := db.Tokens().SessionByID(t.Context(), "s1")
				dead := errors.Is(err, token.ErrUnknown) || err == nil && !got.Revoked.IsZero()
				a, err := db.Directory().AccountByUID(t.Context(), "uid-alice")
				if tt.want != nil && !dead && !(err == nil && a.Disabled) {
					t.Errorf("session %+v lives", got)
				}
			})
		})
	}
}

// TestSessionWaits: on PostgreSQL a session that is begun while its right is
// being taken away waits, and is refused; one that came first is ended.
func TestSessionWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		proof access.Proof
		first string
	}{
		"password replaced": {byPassword, `UPDATE account SET password_set = 1`},
		"account disabled":  {byPassword, `UPDATE account SET disabled = true`},
		"key revoked":       {byKey, `UPDATE access_key SET revoked = 1`},
	} {
		t.Run(name, func(t *testing.T) {
			url := metadatatest.Postgres(t)
			db := metadatatest.Open(t, url, metadata.Options{})
			must(t, db.Directory().AddAccounts(t.Context(), accountOf("alice")))
			must(t, db.Directory().AddKey(t.Context(), keyOf("k1", "uid-alice")))
			mine, watch := connect(t, url), connect(t, url)
			_, err := mine.Exec(t.Context(), `BEGIN`)
			must(t, err)
			_, err = mine.Exec(t.Context(), tt.first)
			must(t, err)
			done := make(chan error, 1)
			go func() {
				done <- db.Tokens().SaveSession(context.Background(), sessionOf("s1", "uid-alice", tt.proof.KeyID), tt.proof, token.Room{})
			}()
			blocked(t, watch)
			_, err = mine.Exec(t.Context(), `COMMIT`)
			must(t, err)
			want(t, <-done, token.ErrUnknown)
		})
	}
}

// TestAddAccounts adds all or none.
func TestAddAccounts(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, d := t.Context(), db.Directory()
		must(t, d.AddAccounts(ctx, accountOf("bob")))
		want(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("bob"), accountOf("carol")), account.ErrExists)
		for _, name := range []string{"alice", "carol"} {
			_, err := d.AccountByName(ctx, name)
			want(t, err, account.ErrUnknown)
		}
		before, err := db.Generation(ctx)
		must(t, err)
		must(t, d.AddAccounts(ctx, accountOf("alice"), accountOf("carol")))
		for _, name := range []string{"alice", "carol"} {
			a, err := d.AccountByName(ctx, name)
			if must(t, err); a.Name != name || !a.PasswordSet.Equal(time.Time{}) {
				t.Errorf("account %+v", a)
			}
		}
		if after, err := db.Generation(ctx); err != nil || after == before {
			t.Errorf("generation %d after %d, %v", after, before, err)
		}
	})
}
