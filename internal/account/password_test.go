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
		f.user("alice", "alice's password")
		f.user("dora", "dora's password")
		f.ok(f.s.Disable(f.ctx(), user("dora")))
		_, err := f.s.AddRobot(f.ctx(), "ci")
		f.ok(err)
		hash, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("b", 72)), bcrypt.MinCost)
		f.ok(err)
		_, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader("bert:"+string(hash)))
		f.ok(err)
		for _, tt := range []struct{ name, user, password string }{
			{"I-04 wrong password", "alice", "bob's password"},
			{"I-04 unknown user", "nobody", "alice's password"},
			{"I-04 disabled", "dora", "dora's password"},
			{"I-04 disabled, wrong password", "dora", "wrong password"},
			{"I-04 robot without password", "ci", "anything at all"},
			{"I-04 robot, empty password", "ci", ""},
			{"I-06 password of 1 MiB", "alice", strings.Repeat("a", 1<<20)},
			{"I-06 password of 1025 bytes", "alice", strings.Repeat("a", 1025)},
			{"I-07 bcrypt, right 72 bytes and more", "bert", strings.Repeat("b", 72) + "c"},
			{"bcrypt, wrong password", "bert", "bbbb"},
			{"I-08 empty password", "alice", ""},
			{"I-08 null", "alice", "null"},
			{"I-08 leading space", "alice", " alice's password"},
			{"I-08 trailing space", "alice", "alice's password "},
			{"I-08 NUL inside", "alice", "alice's\x00password"},
			{"I-08 NUL behind", "alice", "alice's password\x00"},
			{"I-15 empty name", "", "alice's password"},
			{"I-15 name with a colon", "alice:", "alice's password"},
			{"I-15 name with a line feed", "alice\n", "alice's password"},
			{"I-15 name with a NUL", "alice\x00", "alice's password"},
			{"I-15 name that is not UTF-8", "\xff\xfe", "alice's password"},
			{"I-15 name of 300 bytes", strings.Repeat("a", 300), "alice's password"},
			{"I-15 name with a slash and a quote", `a/"lice`, "alice's password"},
			{"I-15 right-to-left mark", "\u200falice", "alice's password"},
			{"I-12 capitals", "Alice", "alice's password"},
			{"I-12 full width", "ａlice", "alice's password"},
			{"S-11 wildcard", "*", "alice's password"},
			{"D-16 SQL wildcard", "alic_", "alice's password"},
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
		a := f.user("alice", "alice's password")
		hashes := func(want int64, what string) {
			t.Helper()
			before := f.s.Hashes()
			id, err := f.login("alice", "alice's password")
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
		if _, err := f.login("alice", "alice's password"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("I-19 disabled, remembered: %v", err)
		}
		f.ok(f.s.Enable(f.ctx(), user("alice")))
		f.ok(f.s.SetPassword(f.ctx(), "alice", access.NewSecret("a new password")))
		if _, err := f.login("alice", "alice's password"); !errors.Is(err, access.ErrBadCredential) {
			t.Errorf("old password, remembered: %v", err)
		}
		if _, err := f.login("alice", "a new password"); err != nil {
			t.Errorf("new password: %v", err)
		}
	})
}

// A password that was right moments ago does not wait for those who guess.
func TestRememberedPasswordDoesNotQueue(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice's password")
		_, secret := f.key(user("alice"), account.NewKey{})
		_, err := f.login("alice", "alice's password")
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
		if _, err := f.login("alice", "alice's password"); err != nil {
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
				f.user("alice", "alice's password")
				release := f.s.HoldTurn()
				done := make(chan error)
				go func() {
					_, err := f.login("alice", "alice's password")
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
		f.user("alice", "alice's password")
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
		if _, err := slow.Passwords().Authenticate(t.Context(), access.Password{Name: "alice", Secret: access.NewSecret("alice's password")}); err != nil {
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
		names, err := f.s.ImportHtpasswd(f.ctx(), strings.NewReader(file))
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
		key, err := access.KeySecret.New(rand.Reader)
		f.ok(err)
		for _, tt := range []struct{ password, want string }{
			{"", "at least 8"}, {"1234567", "at least 8"}, {strings.Repeat("x", 1025), "at most 1024"},
			{"with\x00a NUL", "NUL"}, {"with\na line", "line break"},
			{key.Reveal(), "access key"}, {"sallyport_idt_mine", "access key"}, {"eyJhbGci.eyJpc3Mi.abc", "token"},
		} {
			_, err := f.s.AddUser(f.ctx(), "alice", access.NewSecret(tt.password))
			wantInvalid(t, err, tt.want)
			if tt.password != "" && strings.Contains(err.Error(), tt.password) {
				t.Errorf("L-01: the error shows the password: %v", err)
			}
		}
		for _, password := range []string{"12345678", strings.Repeat("x", 1024), "pässwörd ‮ e\u0301", "undefined"} {
			a := f.user("alice", password)
			if _, err := f.login("alice", password); err != nil {
				t.Errorf("login with %.20q: %v", password, err)
			}
			f.ok(f.s.Remove(f.ctx(), user(a.Name)))
		}
	})
}

func TestChangePassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice's password")
		change := func(current, next string) error {
			return f.s.ChangePassword(f.ctx(), "alice", access.NewSecret(current), access.NewSecret(next), access.Origin{})
		}
		wantError(t, change("wrong password", "a new password"), access.ErrBadCredential)
		wantInvalid(t, change("alice's password", "short"), "at least 8")
		f.ok(change("alice's password", "a new password"))
		_, err := f.login("alice", "a new password")
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
