package account_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

const right = "correct horse of hers"

// throttled returns how long err asks to wait, or 0.
func throttled(err error) time.Duration {
	if e, ok := errors.AsType[*access.Throttled](err); ok {
		return e.After
	}
	return 0
}

// I-01: somebody who guesses each second gets at most ten answers in a minute,
// soon one in five minutes; the owner gets in from elsewhere meanwhile.
func TestGuessesSlowDown(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		var hashes []int64
		for minute := range 15 {
			before := f.s.Hashes()
			for second := range 60 {
				f.pass(time.Second)
				_, err := f.loginFrom("192.0.2.1", "alice", fmt.Sprintf("guess %d %d", minute, second))
				if throttled(err) == 0 && !errors.Is(err, access.ErrBadCredential) {
					t.Fatalf("a guess got %v", err)
				}
			}
			hashes = append(hashes, f.s.Hashes()-before)
		}
		total := int64(0)
		for minute, n := range hashes {
			if total += n; n > 10 {
				t.Errorf("%d guesses were checked in minute %d", n, minute)
			}
		}
		if total > 15 {
			t.Errorf("%d guesses were checked in 15 minutes: %v", total, hashes)
		}
		before, queries := f.s.Hashes(), f.db.Queries()
		_, err := f.loginFrom("192.0.2.1", "alice", right)
		wait := throttled(err)
		if wait == 0 || wait > 5*time.Minute {
			t.Errorf("the right password among the guesses: %v", err)
		}
		if h, q := f.s.Hashes()-before, f.db.Queries()-queries; h != 0 || q > 1 {
			t.Errorf("a refusal took %d hashes and %d queries", h, q)
		}
		if _, err := f.loginFrom("192.0.2.2", "alice", right); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		f.pass(wait + time.Second)
		if _, err := f.loginFrom("192.0.2.1", "alice", right); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		if _, err := f.loginFrom("192.0.2.1", "alice", "a typing error"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("a right password ends the wait: %v", err)
		}
	})
}

// What counts as one name and as one network.
func TestWhatCountsAsOne(t *testing.T) {
	defer account.CheapHashes()()
	for _, tt := range []struct {
		name             string
		names, addresses []string
		one              bool
	}{
		{"I-03 spellings of a name", []string{"alice", "Alice", "alice ", "ａlice", "ALICE", "\talice"}, []string{"192.0.2.1"}, true},
		{"names", []string{"alice", "alicia", "alices", "al ice", "a", "b"}, []string{"192.0.2.1"}, false},
		{"IPv4", []string{"alice"}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"}, false},
		{"IPv4 inside IPv6", []string{"alice"}, []string{"192.0.2.1", "::ffff:192.0.2.1"}, true},
		{"one IPv6 /64", []string{"alice"}, []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:1:1", "2001:db8:0:0:f::"}, true},
		{"IPv6 /64s", []string{"alice"}, []string{"2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:0:4::1", "2001:db8:0:5::1"}, false},
		{"from nowhere", []string{"alice"}, []string{""}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, f *fixture) {
				var err error
				for i := range 6 {
					_, err = f.loginFrom(tt.addresses[i%len(tt.addresses)], tt.names[i%len(tt.names)], fmt.Sprint("guess ", i))
				}
				if got := throttled(err) > 0; got != tt.one {
					t.Errorf("the sixth guess got %v", err)
				}
			})
		})
	}
}

// A network is limited over all accounts, whether or not one of them is its own.
func TestSprayIsLimited(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("mallory", right)
		f.user("alice", right)
		before := f.s.Hashes()
		for i := range 100 {
			f.loginFrom("192.0.2.1", fmt.Sprintf("user%d", i), "the password of the year")
			if i%10 == 0 { // a right one does not wipe out the guesses
				f.pass(6 * time.Minute / 10)
				f.loginFrom("192.0.2.1", "mallory", right)
			}
		}
		if n := f.s.Hashes() - before; n > 60 {
			t.Errorf("%d of 100 guesses were checked", n)
		}
		if _, err := f.loginFrom("192.0.2.1", "alice", right); throttled(err) == 0 {
			t.Errorf("somebody new in that network: %v", err)
		}
		if _, err := f.loginFrom("192.0.2.2", "alice", right); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
	})
}

// A flood against one account does not lock out its owner: neither from where
// the owner logged in before, be it before a restart, nor with a key.
func TestFloodDoesNotLockOut(t *testing.T) {
	defer account.CheapHashes()()
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		_, secret := f.key(user("alice"), account.NewKey{})
		const home, office = "203.0.113.7", "2001:db8:1:2::9"
		for _, at := range []string{home, office} {
			_, err := f.loginFrom(at, "alice", right)
			f.ok(err)
			f.pass(time.Second)
		}
		f.s = f.service(account.Options{FailureFloor: floor}) // nothing in memory
		flood := func() {
			for i := range 60 {
				f.loginFrom(fmt.Sprintf("192.0.2.%d", i), "alice", "a guess")
			}
		}
		flood()
		if _, err := f.loginFrom("198.51.100.1", "alice", right); throttled(err) == 0 {
			t.Errorf("from an unknown network under a flood: %v", err)
		}
		for _, at := range []string{home, office} {
			if _, err := f.loginFrom(at, "alice", right); err != nil {
				t.Errorf("from %s under a flood: %v", at, err)
			}
			f.pass(6 * time.Minute)
			flood()
		}
		if _, err := f.present(secret); err != nil {
			t.Errorf("with a key: %v", err)
		}
		_, err := f.loginFrom(home, "alice", "a typing error")
		if wait := throttled(err); wait == 0 || wait > time.Minute {
			t.Errorf("a wrong password from home is answered %v: it tells that the owner was there", err)
		}
		f.pass(91 * 24 * time.Hour)
		flood()
		if _, err := f.loginFrom(home, "alice", right); throttled(err) == 0 {
			t.Errorf("from a network not seen for 90 days: %v", err)
		}
	})
}

// Somebody who guesses in the very network of the owner, behind the same address,
// does not close the account to the owner, gets no more than ten answers a
// minute, and sees no other answers than in a network where nobody ever was.
func TestGuessesBesideTheOwner(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		const home, elsewhere = "203.0.113.7", "203.0.113.8"
		f.user("alice", right)
		_, err := f.loginFrom(home, "alice", right)
		f.ok(err)
		f.pass(account.RememberFor)
		beside := f.service(account.Options{FailureFloor: floor}) // counts for itself
		total := int64(0)
		for minute := range 15 {
			before := f.s.Hashes()
			for second := range 60 {
				f.pass(time.Second)
				guess := fmt.Sprintf("guess %d %d", minute, second)
				f.s, beside = beside, f.s
				_, there := f.loginFrom(elsewhere, "alice", guess)
				f.s, beside = beside, f.s
				if _, here := f.loginFrom(home, "alice", guess); fmt.Sprint(here) != fmt.Sprint(there) {
					t.Fatalf("minute %d: %v, where the owner never was %v", minute, here, there)
				}
			}
			n := f.s.Hashes() - before
			if total += n; n > 10 {
				t.Errorf("%d guesses were checked in minute %d", n, minute)
			}
		}
		if total > 60 {
			t.Errorf("%d guesses were checked in a quarter of an hour", total)
		}
		f.pass(20 * time.Second)
		if _, err := f.loginFrom(home, "alice", right); err != nil {
			t.Errorf("the owner, after a wait of 20 s: %v", err)
		}
		f.s = beside
		if _, err := f.loginFrom(elsewhere, "alice", right); throttled(err) == 0 {
			t.Errorf("where the owner never was: %v", err)
		}
	})
}

// Who sits at the machine itself gets in through a flood from elsewhere, as does
// nobody whom a proxy there speaks for.
func TestFloodDoesNotLockOutTheMachineItself(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		flood := func() {
			for i := range 60 {
				f.loginFrom(fmt.Sprintf("192.0.2.%d", i), "alice", "a guess")
				f.loginFrom(fmt.Sprintf("192.0.2.%d", i), "nobody", "a guess")
			}
		}
		flood()
		proxied := access.Origin{Address: netip.MustParseAddr("127.0.0.1")}
		if _, err := f.s.Passwords().Authenticate(f.ctx(), access.Password{Name: "alice", Secret: access.NewSecret(right), From: proxied}); throttled(err) == 0 {
			t.Errorf("through a proxy on the machine: %v", err)
		}
		var answers [2][]string
		for i, name := range []string{"alice", "nobody"} {
			for range 6 {
				before := f.s.Hashes()
				_, err := f.loginFrom("127.0.0.1", name, "a typing error")
				answers[i] = append(answers[i], fmt.Sprint(err, f.s.Hashes()-before))
			}
		}
		if !reflect.DeepEqual(answers[0], answers[1]) {
			t.Errorf("on the machine alice is answered %v, nobody %v", answers[0], answers[1])
		}
		f.pass(20 * time.Second)
		flood()
		if _, err := f.loginFrom("127.0.0.1", "alice", right); err != nil {
			t.Errorf("on the machine: %v", err)
		}
		// Guesses of the machine itself are bounded all the same.
		f.user("bob", right)
		before := f.s.Hashes()
		for i := range 200 {
			f.loginFrom("::1", fmt.Sprint("user", i), "the password of the year")
		}
		if n := f.s.Hashes() - before; n > 30 {
			t.Errorf("%d of 200 guesses on the machine were checked", n)
		}
	})
}

// I-04, I-05: what is answered, how long one has to wait and what it costs does
// not tell whether there is such an account, while throttled and before.
func TestThrottleDoesNotTellWhoExists(t *testing.T) {
	defer account.CheapHashes()()
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		f.user("dora", right)
		f.ok(f.s.Disable(f.ctx(), user("dora")))
		_, err := f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		type seen struct {
			answer string
			hashes int64
		}
		watch := func(n int, name string) (all []seen, queries int64) {
			f.s = f.service(account.Options{FailureFloor: floor})
			asked := f.db.Queries()
			for i := range 120 {
				before := f.s.Hashes()
				_, err := f.loginFrom(fmt.Sprintf("192.0.2.%d", 10*n+i/40), name, fmt.Sprint("guess ", i))
				all = append(all, seen{fmt.Sprint(err), f.s.Hashes() - before})
			}
			return all, f.db.Queries() - asked
		}
		want, queries := watch(0, "nobody")
		for n, name := range []string{"alice", "dora", "ci", "not a name"} {
			got, asked := watch(n+1, name)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s is answered %v, nobody %v", name, got, want)
			}
			// PostgreSQL is asked for the generation now and then.
			if asked < queries-2 || asked > queries+2 {
				t.Errorf("%s costs %d queries, nobody %d", name, asked, queries)
			}
		}
	})
}

// Many clients with one right password at the same moment are one check.
func TestSamePasswordAtOnceIsOneCheck(t *testing.T) {
	defer account.CheapHashes()()
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		release := f.s.HoldTurn()
		before := f.s.Hashes()
		var logins sync.WaitGroup
		for range 50 {
			logins.Go(func() {
				if _, err := f.loginFrom("192.0.2.1", "alice", right); err != nil {
					t.Errorf("one of many: %v", err)
				}
			})
		}
		for f.s.Waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		release()
		logins.Wait()
		if n := f.s.Hashes() - before; n > 5 {
			t.Errorf("%d hashes for one password", n)
		}
	})
}

// A password change proves the current password under a limit of its own, by
// account: whoever has a stolen token is stopped whatever networks the guesses
// come from, and neither a flood of strangers stops the owner nor guesses with a
// token the owner's login.
func TestChangePasswordIsThrottled(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		f.user("bob", right)
		change := func(name, address, current string) error {
			return f.s.ChangePassword(f.ctx(), name, access.NewSecret(current), access.NewSecret("another horse of hers"), access.Origin{Address: netip.MustParseAddr(address)})
		}
		for i := range 60 {
			f.loginFrom(fmt.Sprintf("192.0.2.%d", i), "alice", "a guess")
		}
		const home = "203.0.113.7"
		before := f.s.Hashes()
		var err error
		for i := range 200 {
			if err = change("alice", fmt.Sprintf("2001:db8:0:%x::1", i), fmt.Sprint("guess ", i)); throttled(err) == 0 && i >= 5 {
				t.Fatalf("guess %d from yet another network got %v", i, err)
			}
		}
		if n := f.s.Hashes() - before; n > 5 {
			t.Errorf("%d guesses of 200 were checked", n)
		}
		if err := change("alice", home, right); throttled(err) == 0 {
			t.Errorf("the right password among the guesses got %v", err)
		}
		f.ok(change("bob", home, right))
		f.pass(2 * time.Minute) // the name is free again
		if _, err := f.loginFrom(home, "alice", right); err != nil {
			t.Errorf("a login after guesses with a token: %v", err)
		}
		f.pass(5 * time.Minute)
		f.ok(change("alice", home, right))
		wantError(t, change("alice", home, right), access.ErrBadCredential) // a right one ended the wait
	})
}

// Who changes a password again and again has one change at a time, and none
// that changes nothing: the turn to hash is for others too.
func TestChangePasswordOneAtATime(t *testing.T) {
	defer account.CheapHashes()()
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.user("alice", right)
		f.user("bob", right)
		change := func(name, next string) error {
			return f.s.ChangePassword(f.ctx(), name, access.NewSecret(right), access.NewSecret(next), access.Origin{})
		}
		before := f.s.Hashes()
		wantInvalid(t, change("alice", right), "same as the current one")
		if n := f.s.Hashes() - before; n != 0 {
			t.Errorf("%d hashes for the same password", n)
		}
		release := f.s.HoldTurn()
		var changes sync.WaitGroup
		for i, name := range []string{"alice", "bob"} {
			changes.Go(func() {
				if err := change(name, "another horse of hers"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			for f.s.Waiting() != i+1 {
				time.Sleep(time.Millisecond)
			}
		}
		for range 10 {
			wantError(t, change("alice", "a third horse of hers"), access.ErrBusy)
		}
		release()
		changes.Wait()
		_, err := f.login("alice", "another horse of hers")
		f.ok(err)
		wantError(t, change("alice", "a third horse of hers"), access.ErrBadCredential)
	})
}
