package account_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// I-05: the turn to hash is one for all, so that others see how much is computed
// for a name. It is the same for every wrong password of a name, in every process,
// and for names without accounts as often as much as for accounts.
func TestWorkDoesNotTellWhoExists(t *testing.T) {
	work, restore := account.CountWork()
	defer restore()
	each(t, func(t *testing.T, f *fixture) {
		const legacy, half = 12, 24
		imported := func(from, to int, cost string) string {
			var b strings.Builder
			for i := from; i < to; i++ {
				fmt.Fprintf(&b, "user%d:$2y$%s$%s\n", i, cost, strings.Repeat("a", 53))
			}
			return b.String()
		}
		_, err := f.login("nobody", "before there is any account") // so that something old could be used
		wantError(t, err, access.ErrBadCredential)
		_, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader(imported(0, 6, "12")+imported(6, legacy, "10")), anybody)
		f.ok(err)
		for i := legacy; i < half; i++ {
			f.user(fmt.Sprint("user", i), right)
		}
		f.ok(f.s.Disable(f.ctx(), user("user0")))
		f.ok(f.s.Disable(f.ctx(), user("user20")))
		_, err = f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)

		wrong := []string{"a guess", "", strings.Repeat("x", 73), strings.Repeat("x", 1025), "with\x00a NUL", right}
		cost := func(name, password string) int64 {
			t.Helper()
			before := work.Load()
			if _, err := f.login(name, password); !errors.Is(err, access.ErrBadCredential) {
				t.Fatalf("%s: %v", name, err)
			}
			return work.Load() - before
		}
		cost("nobody", "a guess")
		queries := f.db.Queries()
		absent := make(map[string]int64)
		kinds := make(map[int64]int)
		for i := range 250 {
			name := fmt.Sprint("absent", i)
			absent[name] = cost(name, "a guess")
			kinds[absent[name]]++
		}
		// PostgreSQL is asked for the generation now and then.
		if n := f.db.Queries() - queries; n > 2*250+2 {
			t.Errorf("%d queries for 250 logins", n)
		}
		for i, want := range map[int]int{0: 62, 6: 62, 19: 125} {
			of := cost(fmt.Sprint("user", i), "a guess")
			if n := kinds[of]; n < want-45 || n > want+45 {
				t.Errorf("%d of 250 absent names cost as much as user%d, want about %d", n, i, want)
			}
		}
		if len(kinds) != 3 {
			t.Errorf("absent names cost %v", kinds)
		}
		for _, name := range []string{"user0", "user1", "user7", "user20", "user21", "ci", "absent1", "absent2", "absent3", "not a name"} {
			for _, password := range wrong {
				if password == right && name == "user21" {
					continue
				}
				if got, want := cost(name, password), cost(name, "another guess"); got != want {
					t.Errorf("%s costs %d with %.20q, %d otherwise", name, got, password, want)
				}
			}
		}

		f.s = f.service(account.Options{FailureFloor: floor}) // a restart, or another process
		for _, name := range slices.Sorted(maps.Keys(absent))[:50] {
			if got := cost(" "+strings.ToUpper(name), "a guess"); got != absent[name] {
				t.Errorf("%s costs %d, and %d after a restart", name, absent[name], got)
			}
		}
		for i := range legacy {
			f.ok(f.s.Remove(f.ctx(), user(fmt.Sprint("user", i))))
		}
		f.pass(6 * time.Minute)
		want := cost("user19", "yet another guess")
		for name := range absent {
			if got := cost(name, "yet another guess"); got != want {
				t.Errorf("%s costs %d when all accounts cost %d", name, got, want)
				break
			}
		}
	})
}
