package account_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// I-04, I-05, I-06, I-08, I-15: every failure is the same error and costs
// exactly one hash and two queries: one about the network, one about the name.
func TestPasswordFailures(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		f.user("dora", "dora keeps a horse")
		f.ok(f.s.Disable(f.ctx(), user("dora")))
		_, err := f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		hash, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("b", 72)), bcrypt.MinCost)
		f.ok(err)
		_, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader("bert:"+string(hash)), anybody)
		f.ok(err)
		_, err = f.login("nobody", "so that the kinds of hashes are known")
		wantError(t, err, access.ErrBadCredential)
		for _, tt := range []struct{ name, user, password string }{
			{"I-04 wrong password", "alice", "bob keeps a horse"},
			{"I-04 unknown user", "nobody", "alice keeps a horse"},
			{"I-04 disabled", "dora", "dora keeps a horse"},
			{"I-04 disabled, wrong password", "dora", "a wrong horse"},
			{"I-04 robot without password", "ci", "anything at all"},
			{"I-04 robot, empty password", "ci", ""},
			{"I-06 password of 1 MiB", "alice", strings.Repeat("a", 1<<20)},
			{"I-06 password of 1025 bytes", "alice", strings.Repeat("a", 1025)},
			{"I-07 bcrypt, right 72 bytes and more", "bert", strings.Repeat("b", 72) + "c"},
			{"bcrypt, wrong password", "bert", "bbbb"},
			{"I-08 empty password", "alice", ""},
			{"I-08 null", "alice", "null"},
			{"I-08 leading space", "alice", " alice keeps a horse"},
			{"I-08 trailing space", "alice", "alice keeps a horse "},
			{"I-08 NUL inside", "alice", "alice keeps\x00a horse"},
			{"I-08 NUL behind", "alice", "alice keeps a horse\x00"},
			{"I-15 empty name", "", "alice keeps a horse"},
			{"I-15 name with a colon", "alice:", "alice keeps a horse"},
			{"I-15 name with a line feed", "alice\n", "alice keeps a horse"},
			{"I-15 name with a NUL", "alice\x00", "alice keeps a horse"},
			{"I-15 name that is not UTF-8", "\xff\xfe", "alice keeps a horse"},
			{"I-15 name of 300 bytes", strings.Repeat("a", 300), "alice keeps a horse"},
			{"I-15 name with a slash and a quote", `a/"lice`, "alice keeps a horse"},
			{"I-15 right-to-left mark", "\u200falice", "alice keeps a horse"},
			{"I-12 capitals", "Alice", "alice keeps a horse"},
			{"I-12 full width", "ａlice", "alice keeps a horse"},
			{"S-11 wildcard", "*", "alice keeps a horse"},
			{"D-16 SQL wildcard", "alic_", "alice keeps a horse"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before, queries := f.s.Hashes(), f.db.Queries()
				id, err := f.login(tt.user, tt.password)
				if n := f.db.Queries() - queries; n != 2 {
					t.Errorf("%d queries, want 2", n)
				}
				if !errors.Is(err, access.ErrBadCredential) || !id.Principal.IsAnonymous() {
					t.Errorf("login = %v, %v", id, err)
				}
				if n := f.s.Hashes() - before; n != 1 {
					t.Errorf("%d hashes, want 1", n)
				}
			})
		}
		if log := f.log.String(); strings.Contains(log, "password") {
			t.Errorf("L-01: the log says %s", log)
		}
	})
}

func TestPasswordIsRemembered(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a := f.user("alice", "alice keeps a horse")
		hashes := func(want int64, what string) {
			t.Helper()
			before := f.s.Hashes()
			id, err := f.login("alice", "alice keeps a horse")
			if err != nil || id.Principal.UID != a.UID || id.Proof.Method != "password" {
				t.Fatalf("%s: %v, %v", what, id, err)
			}
			if n := f.s.Hashes() - before; n != want {
				t.Errorf("%s: %d hashes, want %d", what, n, want)
			}
		}
		hashes(1, "first login")
		hashes(0, "second login")
		f.pass(6 * time.Minute)
		hashes(1, "after a while")
		hashes(0, "and again")

		f.ok(f.s.Disable(f.ctx(), user("alice")))
		if _, err := f.login("alice", "alice keeps a horse"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("I-19 disabled, remembered: %v", err)
		}
		f.ok(f.s.Enable(f.ctx(), user("alice")))
		f.ok(f.s.SetPassword(f.ctx(), "alice", access.NewSecret("another good horse")))
		if _, err := f.login("alice", "alice keeps a horse"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("old password, remembered: %v", err)
		}
		if _, err := f.login("alice", "another good horse"); err != nil {
			t.Errorf("new password: %v", err)
		}
	})
}

// A password that was right moments ago does not wait for those who guess.
func TestRememberedPasswordDoesNotQueue(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		_, secret := f.key(user("alice"), account.NewKey{})
		_, err := f.login("alice", "alice keeps a horse")
		f.ok(err)

		release := f.s.HoldTurn()
		ctx, cancel := context.WithCancel(t.Context())
		var guesses sync.WaitGroup
		busy := make(chan struct{}, 200)
		for i := range 200 {
			guesses.Go(func() {
				name, from := fmt.Sprintf("guess%d", i), access.Origin{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}
				_, err := f.s.Passwords().Authenticate(ctx, access.Password{Name: name, Secret: access.NewSecret("a guess"), From: from})
				switch {
				case errors.Is(err, access.ErrBusy):
					busy <- struct{}{}
				case !errors.Is(err, context.Canceled):
					t.Errorf("a waiting guess got %v", err)
				}
			})
		}
		for range 200 - account.MaxWaiting {
			<-busy // I-06: the queue is bounded
		}
		before := f.s.Hashes()
		if _, err := f.login("alice", "alice keeps a horse"); err != nil {
			t.Errorf("remembered password: %v", err)
		}
		if _, err := f.present(secret); err != nil {
			t.Errorf("access key: %v", err)
		}
		if _, err := f.login("bob", "somebody else"); !errors.Is(err, access.ErrBusy) {
			t.Errorf("one more guess: %v, want ErrBusy", err)
		}
		cancel()
		guesses.Wait()
		if n := f.s.Hashes() - before; n != 0 {
			t.Errorf("%d hashes while the turn was held", n)
		}
		release()
	})
}

// An account that changes while its password waits to be hashed is judged as it
// is afterwards.
func TestAccountChangesWhileItWaits(t *testing.T) {
	for name, change := range map[string]func(f *fixture) error{
		"I-19 disabled": func(f *fixture) error { return f.s.Disable(f.ctx(), user("alice")) },
		"I-16 removed":  func(f *fixture) error { return f.s.Remove(f.ctx(), user("alice")) },
		"another password": func(f *fixture) error {
			return f.db.Directory().SetPassword(f.ctx(), f.uid("alice"), "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg", f.clock())
		},
	} {
		t.Run(name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, f *fixture) {
				f.user("alice", "alice keeps a horse")
				release := f.s.HoldTurn()
				done := make(chan error)
				go func() {
					_, err := f.login("alice", "alice keeps a horse")
					done <- err
				}()
				for f.s.Waiting() == 0 {
					time.Sleep(time.Millisecond)
				}
				f.ok(change(f))
				release()
				wantError(t, <-done, access.ErrBadCredential)
			})
		})
	}
}

// A failure ends no sooner than the floor, and does not hold the turn to hash
// meanwhile.
func TestFailureFloorLetsOthersHash(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		slow := f.service(account.Options{FailureFloor: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := slow.Passwords().Authenticate(ctx, access.Password{Name: "alice", Secret: access.NewSecret("a guess")})
			done <- err
		}()
		for slow.Hashes() == 0 {
			time.Sleep(time.Millisecond)
		}
		if _, err := slow.Passwords().Authenticate(t.Context(), access.Password{Name: "alice", Secret: access.NewSecret("alice keeps a horse")}); err != nil {
			t.Errorf("right password while a guess sits out its floor: %v", err)
		}
		select {
		case err := <-done:
			t.Errorf("the failure ended before its floor: %v", err)
		default:
		}
		cancel()
		wantError(t, <-done, context.Canceled)
	})
}

func TestBcryptIsUpgraded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		hash, err := bcrypt.GenerateFromPassword([]byte("bert"), bcrypt.MinCost)
		f.ok(err)
		file := "# ours\n\nbert:" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\r\n"
		names, err := f.s.ImportHtpasswd(f.ctx(), strings.NewReader(file), anybody)
		if err != nil || len(names) != 1 || names[0] != "bert" {
			t.Fatalf("import = %v, %v", names, err)
		}
		var logins sync.WaitGroup
		for range 8 { // all at once: each is right, whoever upgrades
			logins.Go(func() {
				if _, err := f.login("bert", "bert"); err != nil {
					t.Errorf("login: %v", err)
				}
			})
		}
		logins.Wait()
		a, err := f.db.Directory().AccountByName(f.ctx(), "bert")
		if err != nil || !strings.HasPrefix(a.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("stored %q, %v", a.PasswordHash, err)
		}
		f.pass(time.Hour)
		before := f.s.Hashes()
		if _, err := f.login("bert", "bert"); err != nil || f.s.Hashes()-before != 1 {
			t.Errorf("after the upgrade: %v, %d hashes", err, f.s.Hashes()-before)
		}
	})
}

func TestNewPasswordRules(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.s = f.service(account.Options{FailureFloor: floor, Hosts: []string{"registry.example.com:5000"}})
		key, err := access.KeySecret.New(rand.Reader)
		f.ok(err)
		const nearly = "well-known"
		for _, tt := range []struct{ password, want string }{
			{"", "at least 12"}, {"elf letters", "at least 12"}, {"ééééééééééé", "has 11 characters"}, {strings.Repeat("x", 1025), "at most 1024"},
			{"with a \x00 a NUL", "NUL"}, {"with\na line break", "line break"},
			{key.Reveal(), "access key"}, {"sallyport_idt_mine", "access key"}, {"sallyport_rst_mine", "a code"}, {"eyJhbGci.eyJpc3Mi.abc", "token"},
			{"Sunshine1234", nearly}, {"$unsh1ne2026!", nearly}, {"Dragon-Dragon", nearly}, {"12345letmein12345", nearly}, {"abcabcabcabc", nearly},
			{"Alice-2026-Alice", nearly}, {"alice.example.com", nearly}, {"registry.example.com", nearly}, {"Password2026!", nearly}, {"P@ssw0rd-1234", nearly},
			{"alice's password", nearly}, {"sallyport-admin", nearly}, {"qwertyuiop[]asdf", nearly}, {"0987654321098", nearly}, {"zzzzzzzzzzzzzz", nearly},
			{"abcdefghijklmnop", nearly}, {"1qaz2wsx3edc", nearly}, {"739184635201", nearly}, {"112233445566", nearly}, {"love20262026", nearly},
			{"Dragon12Dragon12", nearly}, {"ｐａｓｓｗｏｒｄ２０２６", nearly}, {"4l1c3-2026-4l1c3", nearly}, {"aliceiloveyou", nearly}, {"AliceDragon2026", nearly},
			{"r3g1stry.3x4mpl3#1", nearly}, {"Example-Alice-17", nearly}, {"$$$$$$######", nearly},
		} {
			_, err := f.s.AddUser(f.ctx(), "alice", access.NewSecret(tt.password))
			if err == nil {
				t.Fatalf("%q was taken", tt.password)
			}
			wantInvalid(t, err, tt.want)
			if tt.password != "" && strings.Contains(err.Error(), tt.password) {
				t.Errorf("L-01: the error shows the password: %v", err)
			}
		}
		for _, password := range []string{
			"correct horse battery staple", "Tr0ub4dor&3-plus", "twelve birds", strings.Repeat("xylophone ", 2) + "z",
			"pässwörd \u202e e\u0301 long", "k3v9x-2mq7p-tz4hw", "the name is alice and more",
		} {
			a := f.user("alice", password)
			if _, err := f.login("alice", password); err != nil {
				t.Errorf("login with %.20q: %v", password, err)
			}
			f.ok(f.s.Remove(f.ctx(), user(a.Name)))
		}
		longer := f.service(account.Options{MinPassword: 20})
		wantInvalid(t, longer.CheckPassword("alice", access.NewSecret("twelve birds")), "at least 20")
	})
}

func TestChangePassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		change := func(current, next string) error {
			return f.s.ChangePassword(f.ctx(), "alice", access.NewSecret(current), access.NewSecret(next), access.Origin{})
		}
		wantError(t, change("a wrong horse", "another good horse"), access.ErrBadCredential)
		wantInvalid(t, change("alice keeps a horse", "short"), "at least 12")
		f.ok(change("alice keeps a horse", "another good horse"))
		_, err := f.login("alice", "another good horse")
		f.ok(err)
	})
}

func TestRandomPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		p, err := account.RandomPassword(rand.Reader)
		if err != nil || len(p.Reveal()) != 30 || strings.Trim(p.Reveal(), "abcdefghijkmnpqrstuvwxyz23456789-") != "" {
			t.Fatalf("RandomPassword = %q, %v", p.Reveal(), err)
		}
		if seen[p.Reveal()] {
			t.Errorf("%q came twice", p.Reveal())
		}
		seen[p.Reveal()] = true
	}
}
