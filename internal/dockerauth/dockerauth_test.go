package dockerauth_test

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/dockerauth"
)

// Each ACL with what it comes to: a rule for each entry that is exact, as
// "number subject repositories actions", and a word of why not for each other.
func TestACL(t *testing.T) {
	const everybody = `users: {alice: {password: x}, "": {}}`
	for name, tt := range map[string]struct {
		users, acl string
		rules      string
		left       string
	}{
		"literal":            {everybody, `[{match: {account: alice, name: team/app}, actions: [pull, push]}]`, "1 user:alice team/app [pull, push]", ""},
		"type repository":    {everybody, `[{match: {account: alice, type: repository, name: a}, actions: [pull]}]`, "1 user:alice a [pull]", ""},
		"star":               {everybody, `[{match: {account: alice, name: "team/*"}, actions: ["*"]}]`, "1 user:alice team/* [pull, push, delete]", ""},
		"two stars are one":  {everybody, `[{match: {account: alice, name: "team/**"}, actions: [pull]}]`, "1 user:alice team/* [pull]", ""},
		"no name":            {everybody, `[{match: {account: alice}, actions: [pull]}]`, "1 user:alice ** [pull]", ""},
		"no match":           {everybody, `[{actions: [pull]}]`, "1 anyone ** [pull]", ""},
		"no account":         {everybody, `[{match: {name: a}, actions: [pull]}]`, "1 anyone a [pull]", ""},
		"no anonymous":       {`users: {alice: {password: x}}`, `[{match: {name: a}, actions: [pull]}]`, "1 everyone a [pull]", ""},
		"anonymous":          {everybody, `[{match: {account: "", name: a}, actions: [pull]}]`, "1 anyone a [pull]", ""},
		"anonymous, nowhere": {`users: {}`, `[{match: {account: "", name: a}, actions: [pull]}]`, "", "no user"},
		"anonymous is null":  {`users: {alice: {password: x}, "": }`, `[{match: {name: a}, actions: [pull]}]`, "1 everyone a [pull]", ""},
		"nobody's password":  {`users: {alice: {password: x}, "": {password: x}}`, `[{match: {name: a}, actions: [pull]}]`, "1 everyone a [pull]", ""},
		"signed in":          {everybody, `[{match: {account: /.+/, name: a}, actions: [pull]}]`, "1 everyone a [pull]", ""},
		"delete":             {everybody, `[{match: {account: alice, name: a}, actions: [delete]}]`, "1 user:alice a [delete]", ""},
		"denied by default":  {everybody, `[{match: {account: alice}, actions: []}]`, "", ""},

		"regexp of names":    {everybody, `[{match: {account: alice, name: "/team.*/"}, actions: [pull]}]`, "", "the name"},
		"regexp of accounts": {everybody, `[{match: {account: "/a.*/"}, actions: [pull]}]`, "", "the account is a pattern"},
		"glob of accounts":   {everybody, `[{match: {account: "a*"}, actions: [pull]}]`, "", "the account is a pattern"},
		"variable":           {everybody, `[{match: {account: /.+/, name: "${account}/*"}, actions: [pull]}]`, "", "the name"},
		"question mark":      {everybody, `[{match: {account: alice, name: "a?"}, actions: [pull]}]`, "", "the name"},
		"class":              {everybody, `[{match: {account: alice, name: "[ab]"}, actions: [pull]}]`, "", "the name"},
		"address":            {everybody, `[{match: {ip: 10.0.0.0/8}, actions: [pull]}]`, "", "more than account"},
		"labels":             {everybody, `[{match: {account: alice, labels: {group: x}}, actions: [pull]}]`, "", "more than account"},
		"anyone may push":    {everybody, `[{match: {name: a}, actions: [pull, push]}]`, "", "more than pull"},
		"catalog":            {everybody, `[{match: {account: alice, type: registry, name: catalog}, actions: ["*"]}]`, "", "catalog needs no rule"},
		"other type":         {everybody, `[{match: {account: alice, type: plugin}, actions: ["*"]}]`, "", "nothing of this type"},
		"other action":       {everybody, `[{match: {account: alice}, actions: [pull, fly]}]`, "", "other than pull"},
		"star beside others": {everybody, `[{match: {account: alice}, actions: ["*", pull]}]`, "", "other than pull"},
		"account in capital": {everybody, `[{match: {account: Alice}, actions: [pull]}]`, "", "the account"},

		"first gives less":          {everybody, `[{match: {account: alice, name: a}, actions: [pull]}, {match: {account: alice}, actions: [pull, push]}]`, "1 user:alice a [pull]", "entry 1 comes first"},
		"first gives as much":       {everybody, `[{match: {account: alice, name: a}, actions: [pull, push]}, {match: {account: alice}, actions: [pull]}]`, "1 user:alice a [pull, push]\n2 user:alice ** [pull]", ""},
		"first denies":              {everybody, `[{match: {account: alice, name: a}, actions: []}, {match: {account: alice}, actions: [pull]}]`, "", "entry 1 comes first"},
		"first denies another":      {everybody, `[{match: {account: bob}, actions: []}, {match: {account: alice}, actions: [pull]}]`, "2 user:alice ** [pull]", ""},
		"first denies anonymous":    {everybody, `[{match: {account: ""}, actions: []}, {match: {account: /.+/}, actions: [pull]}]`, "2 everyone ** [pull]", ""},
		"first denies other names":  {everybody, `[{match: {name: "secret-*"}, actions: []}, {match: {name: "public-*"}, actions: [pull]}]`, "2 anyone public-* [pull]", ""},
		"first may deny these":      {everybody, `[{match: {name: "*/secret"}, actions: []}, {match: {name: "public/*"}, actions: [pull]}]`, "", "entry 1 comes first"},
		"first denies a literal":    {everybody, `[{match: {name: team/x}, actions: []}, {match: {name: "team-*"}, actions: [pull]}]`, "2 anyone team-* [pull]", ""},
		"first unknown, gives less": {everybody, `[{match: {account: "/b.*/"}, actions: []}, {match: {account: alice}, actions: [pull]}]`, "", "entry 1 comes first"},
		"first unknown, gives all":  {everybody, `[{match: {ip: 10.0.0.1}, actions: ["*"]}, {match: {account: alice}, actions: [pull]}]`, "2 user:alice ** [pull]", "more than account"},
		"first of the catalog":      {everybody, `[{match: {type: registry}, actions: []}, {match: {account: alice, type: repository}, actions: [pull]}]`, "2 user:alice ** [pull]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dockerauth.Read([]byte(tt.users + "\nacl: " + tt.acl + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			want := "version: 2\nrules:"
			for _, line := range strings.Split(tt.rules, "\n") {
				if f := strings.SplitN(line, " ", 4); len(f) == 4 {
					want += fmt.Sprintf("\n- name: acl-%s\n  subjects: [%s]\n  repositories: [%s]\n  actions: %s", f[0], f[1], f[2], f[3])
				}
			}
			if tt.rules == "" {
				want += " []"
			}
			plain := strings.NewReplacer("'", "", `"`, "").Replace(strings.TrimSpace(got.Policy))
			if plain != want {
				t.Errorf("policy\n%s\nwant\n%s", plain, want)
			}
			if _, err := access.ParsePolicy([]byte(got.Policy)); err != nil {
				t.Errorf("the policy is not one: %v\n%s", err, got.Policy)
			}
			left := acl(got.Left)
			words := strings.Split(tt.left, "|")
			if tt.left == "" {
				words = nil
			}
			if len(left) != len(words) {
				t.Fatalf("left %q, want %q", left, words)
			}
			for i, w := range words {
				if !strings.Contains(left[i], w) {
					t.Errorf("left %q, want %q", left[i], w)
				}
			}
		})
	}
}

// acl returns what was left of the ACL.
func acl(left []string) []string {
	var out []string
	for _, l := range left {
		if strings.HasPrefix(l, "acl ") {
			out = append(out, l)
		}
	}
	return out
}

func TestUsers(t *testing.T) {
	const hash = "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC"
	got, err := dockerauth.Read([]byte(`
users:
  bob: {password: "` + hash + `"}
  alice: {password: "` + hash + `", labels: {group: [dev]}}
  carol: {}
  dave:
  erin: {password: plain}
  Frank: {password: "` + hash + `"}
  "g:h": {password: "` + hash + `"}
  "": {}
ext_auth: {command: /bin/true}
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "alice:" + hash + "\nbob:" + hash + "\n"; got.Htpasswd != want {
		t.Errorf("htpasswd %q", got.Htpasswd)
	}
	want := []string{"ext_auth", `"Frank"`, `"alice": labels`, `"carol": has no password`, `"dave": has no password`, `"erin": the password is not`, `"g:h"`}
	if len(got.Left) != len(want) {
		t.Fatalf("left %q", got.Left)
	}
	for i, w := range want {
		if !strings.Contains(got.Left[i], w) || strings.Contains(got.Left[i], "plain") {
			t.Errorf("left %q, want %q", got.Left[i], w)
		}
	}
}

func TestNoConfiguration(t *testing.T) {
	for _, text := range []string{"", "[]", "x", "a: b", "users: [", "acl: {a: b}", strings.Repeat("#", dockerauth.MaxFile+1)} {
		if _, err := dockerauth.Read([]byte(text)); err == nil {
			t.Errorf("%.20q was read", text)
		}
	}
}

// Law: what is translated gives to nobody what docker_auth would not have given,
// for every account, repository and action that the file could be about.
func FuzzACL(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 2, 3, 1, 5})
	f.Add([]byte{1, 1, 0, 2, 2, 1, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		accounts := []string{"", "alice", "bob", "/.+/", "-", "/a.*/"}
		names := []string{"-", "a", "a/*", "*", "a/b", "**", "/b/", "a-*"}
		sets := [][]string{{}, {"pull"}, {"pull", "push"}, {"*"}, {"delete"}}
		type entry struct {
			account, name string
			actions       []string
		}
		var entries []entry
		text := "users: {\"\": {}}\nacl:\n"
		for ; len(b) >= 3 && len(entries) < 6; b = b[3:] {
			e := entry{accounts[int(b[0])%len(accounts)], names[int(b[1])%len(names)], sets[int(b[2])%len(sets)]}
			entries = append(entries, e)
			match := ""
			if e.account != "-" {
				match += fmt.Sprintf("account: %q,", e.account)
			}
			if e.name != "-" {
				match += fmt.Sprintf("name: %q", e.name)
			}
			text += fmt.Sprintf("- {match: {%s}, actions: [%s]}\n", match, strings.ReplaceAll(strings.Join(e.actions, ","), "*", `"*"`))
		}
		if len(entries) == 0 {
			return
		}
		got, err := dockerauth.Read([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		pol, err := access.ParsePolicy([]byte(got.Policy))
		if err != nil {
			t.Fatalf("%v\n%s", err, got.Policy)
		}
		gives := func(account, name, action string) bool {
			for _, e := range entries {
				if (e.account == "-" || matches(e.account, account)) && (e.name == "-" || matches(e.name, name)) {
					for _, a := range e.actions {
						if a == "*" || a == action {
							return true
						}
					}
					return false
				}
			}
			return false
		}
		for _, account := range []string{"alice", "bob", "zoe", ""} {
			for _, name := range []string{"a", "b", "a/b", "a/b/c", "a-b"} {
				for _, action := range []string{"pull", "push", "delete"} {
					p := access.Principal{Kind: access.User, ID: access.ID{Name: account}, UID: "uid-" + account}
					if account == "" {
						p = access.Principal{}
					}
					scope, err := access.ParseScopes([]string{"repository:" + name + ":" + action})
					if err != nil {
						t.Fatal(err)
					}
					given := grant(pol, p, scope) != ""
					// Whoever is logged in could as well come without.
					if given && !gives(account, name, action) && !gives("", name, action) {
						t.Errorf("%q gets %s on %s, by\n%s\nof\n%s", account, action, name, got.Policy, text)
					}
				}
			}
		}
	})
}

// matches is how docker_auth matches the patterns of FuzzACL.
func matches(pattern, s string) bool {
	switch pattern {
	case "/.+/":
		return s != ""
	case "/a.*/":
		return strings.Contains(s, "a")
	case "/b/":
		return strings.Contains(s, "b")
	}
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}

func grant(pol *access.Policy, p access.Principal, scope access.Scope) string {
	return pol.Grant(access.Identity{Principal: p}, access.Origin{}, time.Time{}, scope).String()
}
