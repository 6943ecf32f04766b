package access_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// commanded is a policy with managers of several kinds and those whom they may
// want to act as.
const commanded = `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: root-by-name, subjects: ["user:admin"], repositories: ["**"], actions: [admin]}
  - {name: keys-of-all, subjects: ["user:kim"], repositories: ["**"], actions: [manage-keys]}
  - {name: accounts-of-all, subjects: ["user:acc"], repositories: ["**"], actions: [manage-accounts]}
  - {name: team-a-manager, subjects: ["user:amy", "robot:team-a/clerk"], repositories: ["team-a/**"], actions: [manage-accounts, manage-keys, manage-policy]}
  - {name: team-a-ci, subjects: ["robot:team-a/ci", "robot:team-a/new"], repositories: ["team-a/**"], actions: [pull, push, delete]}
  - {name: shared-base, subjects: ["user:amy", "robot:team-a/base"], repositories: ["base/**"], actions: [pull]}
  - {name: base-writes, subjects: ["robot:team-a/base-writer"], repositories: ["base/**"], actions: [push]}
  - {name: base-image, subjects: ["robot:team-a/image"], repositories: ["base/image"], actions: [pull]}
  - {name: future, subjects: ["robot:team-a/future"], repositories: ["prod/**"], actions: [push]}
  - {name: release, subjects: ["group:team-a/release"], repositories: ["prod/app"], actions: [push]}
  - {name: team-a-devs, subjects: ["group:team-a/dev"], repositories: ["team-a/x/**"], actions: [push]}
  - {name: team-a-keys, subjects: ["robot:team-a/keys"], repositories: ["team-a/**"], actions: [manage-keys]}
  - {name: team-a-audit, subjects: ["robot:team-a/audit"], repositories: ["team-a/**"], actions: [read-audit]}
  - {name: by-night, subjects: ["user:amy", "robot:team-a/night"], repositories: ["night/**"], actions: [push], when: 'now.getHours() < 6'}
  - {name: night-for-good, subjects: ["robot:team-a/day"], repositories: ["night/**"], actions: [push]}
  - {name: by-name, subjects: ["user:amy", "robot:team-a/named"], repositories: ["named/**"], actions: [push], when: 'principal.name == "team-a/named"'}
  - {name: by-tls, subjects: ["user:amy"], repositories: ["tls/**"], actions: [push], when: 'client.tls'}
  - {name: by-tls-too, subjects: ["robot:team-a/tls"], repositories: ["tls/x"], actions: [push], when: 'client.tls'}
  - {name: homes, subjects: [everyone], repositories: ["home/{user}/**"], actions: [push]}
  - {name: public, subjects: [anyone], repositories: ["public/**"], actions: [pull]}
  - {name: incoming, subjects: [everyone], repositories: ["incoming/**"], actions: [push]}
  - {name: by-group, subjects: [everyone], repositories: ["oncall/**"], actions: [push], when: '"team-a/oncall" in principal.groups && client.tls'}
  - {name: by-kind, subjects: [everyone], repositories: ["people/**"], actions: [pull], when: 'principal.kind == "user"'}
  - {name: by-prefix, subjects: [everyone], repositories: ["wild/**"], actions: [pull], when: 'principal.name.startsWith("team-a/wild")'}
  - {name: b-manager, subjects: ["user:bob"], repositories: ["b*"], actions: [manage-accounts]}
  - {name: excepted, subjects: ["user:amy"], repositories: ["big/**"], except: ["big/secret/**"], actions: [pull]}
  - {name: not-excepted, subjects: ["robot:team-a/big"], repositories: ["big/**"], actions: [pull]}
  - {name: big-part, subjects: ["robot:team-a/small"], repositories: ["big/open/**"], actions: [pull]}
  - {name: base-too, subjects: ["user:amy", "robot:team-a/spared"], repositories: ["spared/**"], actions: [push]}
protections:
  - {name: spared-stays, repositories: ["spared/v1"], actions: [move-tag], except-subjects: ["robot:team-a/spared"]}
  - {name: incoming-stays, repositories: ["incoming/**"], actions: [move-tag], except-subjects: ["group:team-a/incoming"]}
  - {name: in-the-part, repositories: ["team-a/x/**"], actions: [move-tag], except-subjects: ["robot:team-a/ci", "group:team-a/dev"]}
`

func grouped(p access.Principal, groups ...string) access.Principal {
	p.Groups = groups
	return p
}

func commander(t *testing.T, who access.Principal) access.Authority {
	return access.Authority{
		Identity: access.Identity{Principal: who}, Policy: policy(t, commanded), Origin: access.Origin{TLS: true}, Now: noon,
	}
}

func TestCommands(t *testing.T) {
	amy, kim, acc, bob := user("amy"), user("kim"), user("acc"), user("bob")
	clerk, root := robot("team-a/clerk"), user("root", "admins")
	for _, c := range []struct {
		who   access.Principal
		right access.Action
		p     access.Principal
		rule  string // that is in the way
	}{
		{root, access.ManageKeys, user("admin"), ""},
		{root, access.ManageAccounts, robot("team-a/future"), ""},
		{kim, access.ManageKeys, user("admin"), "root-by-name"},
		{kim, access.ManageKeys, user("eve", "admins"), "administrators"},
		{kim, access.ManageKeys, robot("team-a/future"), ""},
		{kim, access.ManageKeys, robot("team-a/ci"), ""},
		{kim, access.ManageKeys, robot("team-a/keys"), ""},
		{kim, access.ManageKeys, robot("team-a/audit"), "team-a-audit"},
		{kim, access.ManageKeys, amy, "team-a-manager"},
		{kim, access.ManageKeys, acc, "accounts-of-all"},
		{acc, access.ManageAccounts, kim, "keys-of-all"},
		{acc, access.ManageAccounts, robot("any"), ""},
		{amy, access.ManageKeys, robot("team-a/ci"), ""},
		{amy, access.ManageAccounts, robot("team-a/new"), ""},
		{amy, access.ManageKeys, robot("team-a/base"), ""},
		{amy, access.ManageKeys, robot("team-a/base-writer"), "base-writes"},
		{amy, access.ManageKeys, robot("team-a/image"), ""},
		{amy, access.ManageAccounts, robot("team-a/future"), "future"},
		{amy, access.ManageKeys, grouped(robot("team-a/r"), "team-a/release"), "release"},
		{amy, access.ManageKeys, grouped(robot("team-a/r"), "team-a/dev"), ""},
		{amy, access.ManageKeys, robot("team-a/keys"), ""},
		{amy, access.ManageKeys, clerk, ""},
		{amy, access.ManageKeys, robot("team-a/audit"), "team-a-audit"},
		{amy, access.ManageKeys, robot("team-a/night"), ""},
		{amy, access.ManageKeys, robot("team-a/day"), "night-for-good"},
		{amy, access.ManageKeys, robot("team-a/named"), "by-name"},
		{amy, access.ManageKeys, robot("team-a/tls"), ""},
		{amy, access.ManageKeys, grouped(robot("team-a/r"), "team-a/oncall"), "by-group"},
		{amy, access.ManageKeys, user("team-a/u"), ""},
		{clerk, access.ManageKeys, user("team-a/u"), "by-kind"},
		{amy, access.ManageKeys, robot("team-a/wild"), "by-prefix"},
		{amy, access.ManageKeys, robot("team-a/big"), "not-excepted"},
		{amy, access.ManageKeys, robot("team-a/small"), ""},
		{amy, access.ManageKeys, robot("team-a/spared"), "spared-stays"},
		{amy, access.ManageKeys, grouped(robot("team-a/r"), "team-a/incoming"), "incoming-stays"},
		{bob, access.ManageAccounts, user("bert"), "homes"},
		{bob, access.ManageAccounts, robot("bert"), ""}, // a robot has no home and is no person,
	} {
		err := commander(t, c.who).Commands(c.right, c.p)
		denied, _ := errors.AsType[*access.Denied](err)
		switch {
		case err == nil && c.rule == "":
		case denied == nil || denied.Beyond.Rule != c.rule || denied.Beyond.Who != c.p.String() || denied.Action != c.right:
			t.Errorf("%s, by %s, %s: %v; want %q in the way", c.who, c.right, c.p, err, c.rule)
		}
	}
}

func TestJoins(t *testing.T) {
	amy := user("amy")
	for _, c := range []struct {
		who, p access.Principal
		group  string
		rule   string
	}{
		{user("root", "admins"), user("eve"), "admins", ""},
		{user("acc"), user("eve"), "admins", "administrators"},
		{user("acc"), user("eve"), "team-a/release", ""},
		{amy, amy, "team-a/release", "release"},
		{amy, robot("x"), "team-a/release", "release"},
		{amy, grouped(robot("x"), "team-a/release"), "team-a/release", ""},
		{amy, robot("x"), "team-a/dev", ""},
		{amy, robot("x"), "team-a/unknown", ""},
		{amy, user("admin"), "team-a/dev", ""},
		{amy, user("eve"), "team-a/oncall", "by-group"},
		{amy, user("eve"), "team-a/incoming", "incoming-stays"},
	} {
		err := commander(t, c.who).Joins(access.ManageAccounts, c.p, c.group)
		denied, _ := errors.AsType[*access.Denied](err)
		switch {
		case err == nil && c.rule == "":
		case denied == nil || denied.Beyond.Rule != c.rule || denied.Beyond.Who != "group:"+c.group:
			t.Errorf("%s puts %s into %s: %v; want %q in the way", c.who, c.p, c.group, err, c.rule)
		}
	}
}

// What is told about a rule is for who may see it, and a narrowed credential
// gives no more than it keeps.
func TestCommandsNarrowedAndHidden(t *testing.T) {
	err := commander(t, user("amy")).Commands(access.ManageKeys, robot("team-a/future"))
	if want := "user:amy may not do that: the policy gives robot:team-a/future more than user:amy has or manages"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	err = commander(t, user("amy")).Commands(access.ManageKeys, robot("team-a/audit"))
	if want := "user:amy may not do that: by team-a-audit, the policy gives robot:team-a/audit more than user:amy has or manages"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		repositories []string
		p            access.Principal
		ok           bool
	}{
		{[]string{"team-a/**"}, robot("team-a/base"), false},
		{[]string{"team-a/**"}, robot("team-a/ci"), true},
		{[]string{"team-a/**", "base/**"}, robot("team-a/base"), true},
		{[]string{"team-a/x/**"}, robot("team-a/ci"), false},
	} {
		n, err := access.NewNarrowing(c.repositories, []string{"pull", "manage-keys"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		au := commander(t, user("amy"))
		au.Identity.Narrowing = n
		if err := au.Commands(access.ManageKeys, c.p); (err == nil) != c.ok {
			t.Errorf("narrowed to %s, %s: %v", n, c.p, err)
		}
	}
	n, err := access.NewNarrowing(nil, []string{"pull"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	au := commander(t, user("root", "admins"))
	au.Identity.Narrowing = n
	if au.Commands(access.ManageKeys, robot("team-a/ci")) == nil {
		t.Error("an administrator's credential for pull alone commands a robot")
	}
}

// FuzzCommands: through a credential that a manager can make in one step, or a
// group that it fills, nobody reaches a decision that the manager does not have
// and that does not lie where it has the right it used.
func FuzzCommands(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 9))
		d := randomTwo(r)
		part := []string{"x/**", "a", "**", "*", "b"}[r.IntN(5)]
		who := []access.Principal{user("m"), user("a"), user("b", "g")}[r.IntN(3)]
		d.rules = append(d.rules,
			`name: manager, subjects: ["`+who.String()+`"], repositories: ["`+part+`"], actions: [manage-accounts, manage-keys]`,
			`name: home, subjects: [everyone], repositories: ["{user}/**", "x/{robot}"], actions: [push]`)
		pol := policy(t, d.String())
		reach := func(how string, before, p access.Principal) {
			for _, q := range allQuestions {
				q.Principal, q.Method, q.Time = p, "key", noon
				if !pol.Decide(q).Allowed {
					continue
				}
				q.Principal = before
				gained := before.IsAnonymous() || !pol.Decide(q).Allowed
				q.Principal = who
				inPart := access.Authority{Identity: access.Identity{Principal: who}, Policy: pol, Origin: q.Origin, Now: noon}.MayManage(access.ManageKeys, q.Name)
				data := !slices.Contains([]access.Action{access.ManageKeys, access.Admin}, q.Action)
				if gained && !pol.Decide(q).Allowed && !(data && inPart) {
					t.Fatalf("%s over %s, %s %s: %+v in\n%s", who, part, how, p, q, d)
				}
			}
		}
		au := access.Authority{Identity: access.Identity{Principal: who}, Policy: pol, Origin: access.Origin{TLS: true}, Now: noon}
		if au.MayManage(access.Admin, "") {
			return
		}
		for _, p := range []access.Principal{user("a"), user("b"), user("b", "g"), robot("a"), user("z"), robot("x/y")} {
			if au.Commands(access.ManageKeys, p) == nil {
				reach("has a credential of", access.Principal{}, p)
			}
			if joined := p; !slices.Contains(p.Groups, "g") && au.Joins(access.ManageKeys, p, "g") == nil {
				joined.Groups = []string{"g"}
				reach("fills a group with", p, joined)
			}
		}
	})
}
