package access_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// vouched is a policy with operators, and rules for what comes from issuers.
const vouched = `version: 2
rules:
  - {name: root, subjects: ["user:root"], repositories: ["**"], actions: [admin]}
  - {name: operators, subjects: ["user:op", "user:op-plus"], repositories: ["**"], actions: [operate]}
  - {name: audits, subjects: ["user:op-plus"], repositories: ["**"], actions: [read-audit]}
  - {name: home, subjects: [everyone], repositories: ["home/{user}/**"], actions: [push]}
  - {name: public, subjects: [anyone], repositories: ["public/**"], actions: [pull]}
  - {name: pushes, subjects: [{issuer: "https://push.test", name: "**"}], repositories: ["**"], actions: [pull, push, delete]}
  - {name: manages, subjects: [{issuer: "https://manage.test", claims: {team: "a"}}], repositories: ["a/**"], actions: [manage-keys]}
  - {name: reads, subjects: [{issuer: "https://read.test", claims: {team: "a"}}], repositories: ["a/**"], actions: [read-audit]}
`

// TestVouches: who says how an issuer's principals are proven gains nothing by it.
func TestVouches(t *testing.T) {
	for _, c := range []struct{ who, issuer, more, rule string }{
		{"root", "https://manage.test", "", ""},
		{"op", "https://push.test", "", ""},
		{"op", "https://other.test", "", ""},
		{"op", "https://manage.test", "", "manages"},
		{"op", "https://read.test", "", "reads"},
		{"op-plus", "https://read.test", "", ""},
		{"op-plus", "https://manage.test", "", "manages"},
		{"op", "https://other.test", `  - {name: by-claim, subjects: [everyone], repositories: ["a/**"], actions: [manage-keys], when: 'claims.team == "a"'}`, "by-claim"},
		{"op", "https://other.test", `  - {name: by-issuer, subjects: [everyone], repositories: ["a/**"], actions: [manage-policy], when: 'principal.issuer == "https://other.test"'}`, "by-issuer"},
		{"nobody", "https://push.test", "", "pushes"},
	} {
		au := access.Authority{
			Identity: access.Identity{Principal: user(c.who)}, Policy: policy(t, vouched+c.more), Origin: access.Origin{TLS: true}, Now: noon,
		}
		err := au.Vouches(access.Operate, c.issuer)
		denied, _ := errors.AsType[*access.Denied](err)
		switch {
		case err == nil && c.rule == "":
		case denied == nil || denied.Beyond.Rule != c.rule || denied.Beyond.Who != "principals of "+c.issuer || denied.Action != access.Operate:
			t.Errorf("%s vouches for %s: %v; want %q in the way", c.who, c.issuer, err, c.rule)
		}
	}
}

// FuzzVouches: no principal of an issuer that an operator may vouch for reaches an
// administrative decision that the operator does not have.
func FuzzVouches(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 11))
		d := randomTwo(r)
		who := []access.Principal{user("op"), user("a"), user("b", "g")}[r.IntN(3)]
		d.rules = append(d.rules,
			`name: operator, subjects: ["`+who.String()+`"], repositories: ["**"], actions: [operate]`,
			`name: managers, subjects: [everyone], repositories: ["x/**"], actions: [manage-keys], when: 'claims.k == "1"'`)
		if r.IntN(2) == 0 {
			d.rules = d.rules[:len(d.rules)-1]
		}
		pol := policy(t, d.String())
		au := access.Authority{Identity: access.Identity{Principal: who}, Policy: pol, Origin: access.Origin{TLS: true}, Now: noon}
		if au.MayManage(access.Admin, "") || au.Vouches(access.Operate, "i") != nil {
			return
		}
		for _, q := range allQuestions {
			if !slices.Contains([]access.Action{access.ManageKeys, access.Admin}, q.Action) {
				continue
			}
			for _, p := range []access.Principal{access.ExternalPrincipal("i", "a", nil), access.ExternalPrincipal("i", "z", map[string]string{"k": "1"})} {
				q.Principal, q.Method, q.Time = p, "id-token", noon
				its := pol.Decide(q).Allowed
				q.Principal = who
				if its && !pol.Decide(q).Allowed {
					t.Fatalf("%s vouches for %s: %+v in\n%s", who, p, q, d)
				}
			}
		}
	})
}
