package access_test

import (
	"errors"
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
