package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestWhatMovesTheGeneration has a row for every method that decides, and for
// those that must not disturb.
func TestWhatMovesTheGeneration(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		d, s := db.Directory(), db.Tokens()
		steps := []struct {
			name  string
			moves bool
			do    func(ctx context.Context) error
		}{
			{"add account", true, func(ctx context.Context) error { return d.AddAccounts(ctx, accountOf("alice")) }},
			{"add it again", false, func(ctx context.Context) error { _ = d.AddAccounts(ctx, accountOf("alice")); return nil }},
			{"add member", true, func(ctx context.Context) error { return d.AddMember(ctx, "ops", "uid-alice") }},
			{"remove member", true, func(ctx context.Context) error { return d.RemoveMember(ctx, "ops", "uid-alice") }},
			{"disable", true, func(ctx context.Context) error { return d.SetDisabled(ctx, "uid-alice", true) }},
			{"enable", true, func(ctx context.Context) error { return d.SetDisabled(ctx, "uid-alice", false) }},
			{"rehash", false, func(ctx context.Context) error {
				return d.Rehash(ctx, "uid-alice", accountOf("alice").PasswordHash, "x")
			}},
			{"password", true, func(ctx context.Context) error { return d.SetPassword(ctx, "uid-alice", "y", created) }},
			{"password by who knows it", true, func(ctx context.Context) error {
				a, err := d.AccountByUID(ctx, "uid-alice")
				return errors.Join(err, d.ChangePassword(ctx, "uid-alice", a.PasswordSet, "z", created))
			}},
			{"one-time code", false, func(ctx context.Context) error { return d.SaveReset(ctx, resetOf("uid-alice", "1")) }},
			{"password by the code", true, func(ctx context.Context) error { return d.Redeem(ctx, resetOf("uid-alice", "1"), "z", created) }},
			{"add key", true, func(ctx context.Context) error { return d.AddKey(ctx, keyOf("k1", "uid-alice")) }},
			{"touch key", false, func(ctx context.Context) error { return d.TouchKeys(ctx, uses(created, "k1")) }},
			{"save session", false, func(ctx context.Context) error {
				return s.SaveSession(ctx, sessionOf("s1", "uid-alice", "k1"), byKey, token.Room{})
			}},
			{"touch session", false, func(ctx context.Context) error {
				return s.TouchSessions(ctx, uses(created, "s1"))
			}},
			{"revoke session", true, func(ctx context.Context) error { return s.RevokeSession(ctx, "s1", created) }},
			{"revoke key", true, func(ctx context.Context) error { return d.RevokeKey(ctx, "k1", created) }},
			{"policy", true, func(ctx context.Context) error {
				_, err := d.SavePolicy(ctx, account.PolicyVersion{Document: "x"}, 0)
				return err
			}},
			{"change signing keys", true, func(ctx context.Context) error {
				return s.ChangeSigningKeys(ctx, func([]token.SigningKey) ([]token.SigningKey, error) {
					return []token.SigningKey{{ID: "k", Private: []byte{1}}}, nil
				})
			}},
			{"push", false, func(ctx context.Context) error { return push(ctx, db.Catalog(), "a", blobOf("x")) }},
			{"remove account", true, func(ctx context.Context) error { return d.RemoveAccount(ctx, "uid-alice") }},
		}
		last, err := db.Generation(t.Context())
		must(t, err)
		for _, step := range steps {
			must(t, step.do(t.Context()))
			now, err := db.Generation(t.Context())
			must(t, err)
			if (now > last) != step.moves || now < last {
				t.Errorf("%s: generation %d after %d", step.name, now, last)
			}
			last = now
		}
	})
}
