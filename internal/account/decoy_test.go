package account

import (
	"fmt"
	"math"
	"testing"
)

// Laws of the choice of decoys, over names without accounts: each kind is chosen
// as often as accounts have it; another key chooses otherwise; one account more of a
// kind moves names to that kind alone, one less moves names from it alone.
func TestDecoys(t *testing.T) {
	const names = 10_000
	ours, twelve, ten := kind{argon: today}, kind{bcrypt: 12}, kind{bcrypt: 10}
	choices := func(key string, kinds map[kind]int) (all [names]kind) {
		d := &decoys{key: []byte(key), kinds: kinds}
		for i := range all {
			all[i] = d.of(fmt.Sprint("user", i))
		}
		return all
	}
	for _, kinds := range []map[kind]int{
		nil, {ours: 3}, {twelve: 1}, {ours: 1, twelve: 1}, {ours: 70, twelve: 20, ten: 10}, {ours: 1, twelve: 9_999},
	} {
		total := 0
		for _, n := range kinds {
			total += n
		}
		was, other, same := choices("key", kinds), choices("another key", kinds), 0
		chosen := make(map[kind]int)
		for i, k := range was {
			chosen[k]++
			if other[i] == k {
				same++
			}
		}
		if total == 0 && chosen[ours] != names || len(kinds) > 2 && same > names*6/10 {
			t.Errorf("%v: %v, %d with another key too", kinds, chosen, same)
		}
		for k, n := range kinds {
			if share, want := float64(chosen[k])/names, float64(n)/float64(total); math.Abs(share-want) > 0.02 {
				t.Errorf("%v: %v for %.3f of the names", kinds, k, share)
			}
			kinds[k] = n + 1
			for i, now := range choices("key", kinds) {
				if now != was[i] && now != k {
					t.Fatalf("%v: one more of %v made %v of %v", kinds, k, now, was[i])
				}
			}
			if kinds[k] = n - 1; n == 1 {
				delete(kinds, k)
			}
			for i, now := range choices("key", kinds) {
				if now != was[i] && was[i] != k {
					t.Fatalf("%v: one less of %v made %v of %v", kinds, k, now, was[i])
				}
			}
			kinds[k] = n
		}
	}
}
