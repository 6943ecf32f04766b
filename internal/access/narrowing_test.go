package access_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

func TestNarrowing(t *testing.T) {
	for _, c := range []struct {
		name           string
		repos, actions []string
		repo           oci.RepoName
		want           string
		admin          bool
	}{
		{"zero", nil, nil, "a/b", "pull,push,delete", true},
		{"repositories", []string{"a/*", "c"}, nil, "a/b", "pull,push,delete", false},
		{"other repository", []string{"a/*", "c"}, nil, "ab/c", "", false},
		{"S-36 actions", nil, []string{"pull"}, "a/b", "pull", false},
		{"S-36 both", []string{"a/**"}, []string{"pull", "push"}, "a/b", "pull,push", false},
		{"S-36 both, elsewhere", []string{"a/**"}, []string{"pull", "push"}, "b", "", false},
		{"admin", nil, []string{"admin"}, "a/b", "", true},
		{"admin and pull", nil, []string{"pull", "admin"}, "a/b", "pull", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := access.NewNarrowing(c.repos, c.actions, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(made)
			if err != nil {
				t.Fatal(err)
			}
			var stored access.Narrowing
			if err := json.Unmarshal(b, &stored); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(made, stored); diff != "" {
				t.Error(diff)
			}
			byHand := access.Narrowing{Repositories: made.Repositories, Actions: made.Actions}
			for _, n := range []access.Narrowing{made, stored, byHand} {
				if got := left(n, c.repo); got != c.want || n.Allows(access.Admin, "", access.Origin{}) != c.admin {
					t.Errorf("%s leaves %q (admin %t), want %q (%t)", b, got, n.Allows(access.Admin, "", access.Origin{}), c.want, c.admin)
				}
				if n.IsZero() != (c.repos == nil && c.actions == nil) {
					t.Error("IsZero")
				}
			}
		})
	}
}

// TestNarrowingNetworks: S-36 a credential is for the networks it names, and an
// address that is not known is in none.
func TestNarrowingNetworks(t *testing.T) {
	n, err := access.NewNarrowing(nil, nil, []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(n)
	if want := `{"networks":["10.0.0.0/8","2001:db8::/32","192.0.2.7/32"]}`; err != nil || string(b) != want {
		t.Errorf("%s %v", b, err)
	}
	var stored access.Narrowing
	if err := json.Unmarshal(b, &stored); err != nil || !stored.Equal(n) || stored.IsZero() || stored.Equal(access.Narrowing{}) {
		t.Errorf("%+v %v", stored, err)
	}
	pol := policy(t, fixture)
	for address, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "2001:db8::1": true, "2001:db9::1": false, "192.0.2.7": true, "192.0.2.8": false, "": false,
	} {
		from := access.Origin{}
		if address != "" {
			from.Address = netip.MustParseAddr(address)
		}
		for _, n := range []access.Narrowing{n, stored} {
			au := access.Authority{Identity: access.Identity{Principal: user("alice"), Narrowing: n}, Policy: pol, Origin: from}
			if au.May(access.Pull, "team-a/app") != want || n.AllowsFrom(from.Address) != want {
				t.Errorf("from %q: want %t", address, want)
			}
			if au.Identity.Principal = user("root", "admins"); au.MayManage(access.Admin, "") {
				t.Error("a narrowed credential is an administrator's")
			}
		}
	}
	for text, want := range map[string]string{
		"10.0.0.1/8": "write 10.0.0.0/8", "x": "write an address or a network", "10.0.0.0/33": "write an address",
		"::ffff:10.0.0.0/104": "write an IPv4 network as such", "fe80::1%eth0": "write an address", "": "write an address",
	} {
		n, err := access.NewNarrowing(nil, nil, []string{text})
		if err == nil || !strings.Contains(err.Error(), want) || n.AllowsFrom(netip.MustParseAddr("10.0.0.1")) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err := json.Unmarshal([]byte(`{"networks":["`+text+`"]}`), &n); err == nil {
			t.Errorf("decoded %q", text)
		}
	}
	if _, err := access.NewNarrowing(nil, nil, strings.Split(strings.Repeat("10.0.0.0/8,", 100)+"10.0.0.0/8", ",")); err == nil {
		t.Error("101 networks were taken")
	}
}

func left(n access.Narrowing, repo oci.RepoName) string {
	var out []string
	for _, a := range []access.Action{access.Pull, access.Push, access.Delete} {
		if n.Allows(a, string(repo), access.Origin{}) {
			out = append(out, string(a))
		}
	}
	return strings.Join(out, ",")
}

func TestNarrowingRefuses(t *testing.T) {
	for _, c := range []struct {
		name           string
		repos, actions []string
		want           string
	}{
		{"pattern", []string{"a**"}, nil, "must be a whole segment"},
		{"empty pattern", []string{""}, nil, "pattern is empty"},
		{"action", nil, []string{"read"}, `action "read" is unknown`},
		{"star", nil, []string{"*"}, `action "*" is unknown`},
		{"empty action", nil, []string{""}, `action "" is unknown`},
		{"many", strings.Split(strings.Repeat("a,", 101)+"a", ","), nil, "the limit is 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := access.NewNarrowing(c.repos, c.actions, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			checkAllowsNothing(t, n, c.repos != nil)
			b, _ := json.Marshal(map[string]any{"repositories": c.repos, "actions": c.actions})
			if err := json.Unmarshal(b, &n); err == nil {
				t.Errorf("decoded %s", b)
			}
		})
	}
	for _, stored := range []string{`{"repos":["a"]}`, `{"repositories":"a"}`, `["a"]`, `"a"`, `{"repositories":["a"],"action":["pull"]}`} {
		var n access.Narrowing
		if err := json.Unmarshal([]byte(stored), &n); err == nil {
			t.Errorf("decoded %s as %+v", stored, n)
		}
	}
	for _, stored := range []string{`{}`, `null`, `{"repositories":[],"actions":null}`} {
		n := access.Narrowing{}
		if err := json.Unmarshal([]byte(stored), &n); err != nil || !n.IsZero() {
			t.Errorf("%s: %+v, %v", stored, n, err)
		}
	}
}

// checkAllowsNothing: a narrowing that could not be read does not turn into none.
func checkAllowsNothing(t *testing.T, n access.Narrowing, byRepository bool) {
	t.Helper()
	if n.Allows(access.Admin, "", access.Origin{}) && byRepository {
		t.Error("a bad narrowing leaves admin")
	}
	if got := left(n, "b"); got != "" {
		t.Errorf("a bad narrowing leaves %q", got)
	}
	if byHand := (access.Narrowing{Repositories: n.Repositories, Actions: n.Actions}); left(byHand, "b") != "" {
		t.Error("written by hand it leaves something")
	}
}

// TestNarrowingOnlyTakes: S-36 no narrowing gives what policy does not.
func TestNarrowingOnlyTakes(t *testing.T) {
	pol := policy(t, fixture)
	people := []access.Principal{anonymous, user("alice"), user("bob"), user("carol"), user("root", "admins"), robot("ci"), user("mallory")}
	actions := [][]string{nil, {"pull"}, {"push"}, {"delete"}, {"pull", "push"}, {"admin"}}
	for _, who := range people {
		for _, repos := range [][]string{nil, {"**"}, {"team-b/**"}, {"**/app"}} {
			for _, acts := range actions {
				n, err := access.NewNarrowing(repos, acts, nil)
				if err != nil {
					t.Fatal(err)
				}
				wide := access.Authority{Identity: access.Identity{Principal: who}, Policy: pol}
				au := access.Authority{Identity: access.Identity{Principal: who, Narrowing: n}, Policy: pol}
				for _, repo := range []oci.RepoName{"team-a/app", "team-b/secret", "public/base", "app"} {
					for _, a := range []access.Action{access.Pull, access.Push, access.Delete} {
						want := wide.May(a, repo) && n.Allows(a, string(repo), access.Origin{})
						if au.May(a, repo) != want || want && len(acts) > 0 && !strings.Contains(fmt.Sprint(acts), string(a)) {
							t.Errorf("%s narrowed to %v %v may %s %s", who, repos, acts, a, repo)
						}
					}
				}
				if au.MayManage(access.Admin, "") && !wide.MayManage(access.Admin, "") {
					t.Errorf("%s is admin", who)
				}
			}
		}
	}
}
