package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// TestRoom: the sessions of an account are bounded, each way to begin one by
// itself: who has a key, however narrow, logs nobody out who has the password or
// another key. What was ended for a login is in its event.
func TestRoom(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := ledger.NewRecorder(f.db.Ledger(), ledger.RecorderOptions{Now: f.clock})
		t.Cleanup(func() { r.Close() })
		f.s = f.service(token.Options{Ledger: r})
		own := f.do(get("offline_token=true", "alice:"+password("alice"))).RefreshToken
		_, other := f.key(user("alice"), account.NewKey{Life: time.Hour})
		ofOther := f.do(get("offline_token=true", "any:"+other)).RefreshToken
		stolen, secret := f.key(user("alice"), account.NewKey{Life: time.Hour})
		for range 105 {
			f.pass(time.Second)
			if a := f.do(get("offline_token=true", "any:"+secret)); a.status != 200 || a.RefreshToken == "" {
				t.Fatalf("status %d", a.status)
			}
		}
		for what, identity := range map[string]string{"the password": own, "another key": ofOther} {
			if a := f.do(post(refreshForm(identity))); a.status != 200 {
				t.Errorf("the session of %s is gone (status %d)", what, a.status)
			}
		}
		alice, err := f.accounts.Find(f.ctx(), user("alice"))
		f.ok(err)
		sessions, err := f.s.Sessions(f.ctx(), alice.UID, token.Place{}, 1000)
		f.ok(err)
		live, ended := 0, map[string]bool{}
		for _, s := range sessions {
			switch {
			case !s.Revoked.IsZero():
				ended[s.ID] = true
			case s.KeyID == stolen.ID:
				live++
			}
		}
		if live > 100 || live+len(ended) != 105 {
			t.Errorf("%d sessions of the key live, %d have ended", live, len(ended))
		}
		f.ok(r.Flush(f.ctx()))
		page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{Kind: ledger.Login, Limit: 1000})
		f.ok(err)
		told := 0
		for _, e := range page.Events {
			for _, id := range strings.Fields(e.Detail["evicted"]) {
				told++
				if !ended[id] {
					t.Errorf("event %d says that %s has ended", e.Seq, id)
				}
			}
		}
		if told != len(ended) {
			t.Errorf("the record tells of %d sessions that were ended, %d were", told, len(ended))
		}
	})
}
