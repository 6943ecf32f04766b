package metadata_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/token"
)

// deviceOf returns what waits for an approval until an hour has passed.
func deviceOf(code string) token.Grant {
	return token.Grant{Sum: sha256.Sum256([]byte(code)), UserSum: sha256.Sum256([]byte("typed " + code)), Created: created, Expires: created.Add(time.Hour)}
}

func decided(g token.Grant, uid string, denied bool) token.Grant {
	g.AccountID, g.Denied = uid, denied
	return g
}

// TestGrantServesOnce: O-05 where it is decided. One session comes of a code, for
// who gave it, whatever was read of it before.
func TestGrantServesOnce(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		must(t, db.Directory().AddAccounts(ctx, accountOf("alice"), accountOf("bob")))
		good := decided(deviceOf("good"), "uid-alice", false)
		for _, g := range []token.Grant{good, deviceOf("waits"), decided(deviceOf("denied"), "uid-alice", true)} {
			must(t, s.SaveGrant(ctx, g, 0, 0))
		}
		save := func(id, uid, code string) error {
			v := sessionOf(id, uid, "")
			v.Grant = sha256.Sum256([]byte(code))
			return s.SaveSession(ctx, v, access.Proof{}, token.Room{})
		}
		refused := func(id, uid, code string) {
			t.Helper()
			want(t, save(id, uid, code), token.ErrUnknown)
			_, err := s.SessionByID(ctx, id)
			want(t, err, token.ErrUnknown)
		}
		refused("s0", "uid-bob", "good")
		refused("s0", "uid-alice", "waits")
		refused("s0", "uid-alice", "denied")
		refused("s0", "uid-alice", "none")
		must(t, save("s1", "uid-alice", "good"))
		refused("s2", "uid-alice", "good")
		good.SessionID = "s1"
		got, err := s.GrantBySum(ctx, good.Sum)
		must(t, err)
		if diff := cmp.Diff(good, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestGrantIsDecidedOnce: O-12 and O-15 where they are decided. What was decided
// stays, and what has ended is decided no more, whatever was read of it before.
func TestGrantIsDecidedOnce(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, s := t.Context(), db.Tokens()
		for _, tt := range []struct {
			name          string
			first, second token.Grant // zero: nobody
			at            time.Time   // of the second
		}{
			{"another approves", token.Grant{AccountID: "uid-alice"}, token.Grant{AccountID: "uid-bob"}, created},
			{"denied after an approval", token.Grant{AccountID: "uid-alice"}, token.Grant{Denied: true}, created},
			{"approved after a denial", token.Grant{Denied: true}, token.Grant{AccountID: "uid-alice"}, created},
			{"approved at its end", token.Grant{}, token.Grant{AccountID: "uid-alice"}, created.Add(time.Hour)},
			{"denied after its end", token.Grant{}, token.Grant{Denied: true}, created.Add(2 * time.Hour)},
		} {
			g := deviceOf(tt.name)
			must(t, s.SaveGrant(ctx, g, 0, 0))
			if tt.first.AccountID != "" || tt.first.Denied {
				g = decided(g, tt.first.AccountID, tt.first.Denied)
				must(t, s.DecideGrant(ctx, g, created))
			}
			want(t, s.DecideGrant(ctx, decided(g, tt.second.AccountID, tt.second.Denied), tt.at), token.ErrUnknownGrant)
			got, err := s.GrantByUserSum(ctx, g.UserSum)
			must(t, err)
			if diff := cmp.Diff(g, got); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
		}
		late := deviceOf("just in time")
		must(t, s.SaveGrant(ctx, late, 0, 0))
		must(t, s.DecideGrant(ctx, decided(late, "uid-alice", false), late.Expires.Add(-time.Second)))
	})
}
