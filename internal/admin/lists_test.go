package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
)

// TestLongLists: R-15 a list of more than fills a page says so.
func TestLongLists(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	const many = 1003
	var accounts []account.Account
	for i := range many {
		for _, kind := range []access.Kind{access.User, access.Robot} {
			name := fmt.Sprintf("%s-%04d", kind, i)
			accounts = append(accounts, account.Account{UID: name, Name: name, Kind: kind, Created: f.clock()})
		}
	}
	dir := f.db.Directory()
	f.ok(dir.AddAccounts(t.Context(), accounts...))
	for i := range many {
		f.ok(dir.AddMember(t.Context(), fmt.Sprintf("group-%04d", i), accounts[i].UID))
		_, _, err := f.accounts.CreateKey(t.Context(), robot(fmt.Sprintf("robot-%04d", i)), account.NewKey{})
		f.ok(err)
	}
	for _, path := range []string{"/users?", "/robots?", "/groups?", "/keys?owner=all&"} {
		seen := map[string]bool{}
		pages := 0
		for after := ""; ; pages++ {
			p := names(t, f.want(b, 200, req{method: "GET", path: path + "after=" + after}).Body.Bytes())
			for _, name := range p.items {
				seen[name] = true
			}
			if after = p.next; after == "" {
				break
			}
		}
		if len(seen) < many || pages != 1 {
			t.Errorf("%s: %d in %d pages", path, len(seen), pages+1)
		}
	}
}

// L1: a list says nothing of accounts outside of the caller's part, by what it
// holds or by where it goes on.
func TestListsOfAPart(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	f.want(root, 200, req{method: "PUT", path: "/policy", body: `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [admin]}
  - {name: part, subjects: ["user:alice"], repositories: ["team-m/**", "b", "z*"], except: ["team-m/secret/**"], actions: [manage-accounts]}
`, contentType: "application/yaml", ifMatch: `"2"`})
	var mine []string
	for _, name := range []string{"a", "b", "b0", "ba", "secret-project-x", "team-m-x", "team-m/a", "team-m/b", "team-m/secret/a", "team-m/z", "team-m0", "team-z/a", "z", "z1"} {
		f.want(root, 201, req{method: "POST", path: "/robots", body: body(`{"name":%q}`, name)})
		if name == "b" || name[0] == 'z' || strings.HasPrefix(name, "team-m/") && name != "team-m/secret/a" {
			mine = append(mine, name)
		}
	}
	alice := f.as("alice")
	for n := 1; n <= len(mine)+1; n++ {
		var got []string
		for after := ""; ; {
			p := read[client.Page[client.Account]](f, alice, 200, req{method: "GET", path: fmt.Sprintf("/robots?n=%d&after=%s", n, after)})
			for _, a := range p.Items {
				got = append(got, a.Name)
			}
			if after = p.Next; after == "" {
				break
			}
			if len(p.Items) != n || after != p.Items[n-1].Name {
				t.Fatalf("n=%d: a page of %d goes on at %s", n, len(p.Items), after)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(mine) {
			t.Errorf("n=%d: %v, want %v", n, got, mine)
		}
	}
	if p := read[client.Page[client.Account]](f, alice, 200, req{method: "GET", path: "/users?n=1"}); len(p.Items) != 0 || p.Next != "" {
		t.Errorf("no person is hers: %+v", p)
	}
}

// An account is in 1,000 groups at most, whoever puts it there.
func TestTooManyGroups(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		a, err := f.accounts.Find(t.Context(), robot("ci"))
		f.ok(err)
		for i := range account.MaxGroups {
			f.ok(f.db.Directory().AddMember(t.Context(), fmt.Sprintf("group-%04d", i), a.UID))
		}
		p := f.refused(b, 409, req{method: "PUT", path: "/groups/one-more/members/robot:ci"})
		if !strings.Contains(p.Detail, "1,000 groups") || !strings.HasSuffix(p.Type, ":too-many-groups") {
			t.Errorf("%+v", p)
		}
		f.want(b, 204, req{method: "PUT", path: "/groups/group-0007/members/robot:ci"})
		f.want(b, 204, req{method: "DELETE", path: "/groups/group-0007/members/robot:ci"})
		f.want(b, 204, req{method: "PUT", path: "/groups/one-more/members/robot:ci"})
	})
}
