package account_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

func TestImportIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("alice", "alice keeps a horse")
		hash := "$2y$10$" + strings.Repeat("a", 53)
		file := strings.Join([]string{
			"good:" + hash, "alice:" + hash, "", "# note", "nohash", "md5:$apr1$abc", "sha:{SHA}abc",
			"strong:$2y$13$" + strings.Repeat("a", 53), "Capital:" + hash, "good:" + hash, "fine:" + hash,
		}, "\n")
		_, err := f.s.ImportHtpasswd(f.ctx(), strings.NewReader(file), anybody)
		bad, ok := errors.AsType[*account.ImportError](err)
		if !ok {
			t.Fatalf("error %v", err)
		}
		got := map[int]string{}
		for _, l := range bad.Lines {
			got[l.Line] = l.Reason
		}
		for line, want := range map[int]string{2: "taken", 5: "name:hash", 6: "bcrypt", 7: "bcrypt", 8: "cost 4 to 12", 9: "lower-case", 10: "line 1"} {
			if !strings.Contains(got[line], want) {
				t.Errorf("line %d: %q, want %q", line, got[line], want)
			}
		}
		if len(got) != 7 || strings.Contains(err.Error(), "aaaa") {
			t.Errorf("complaints: %v", err)
		}
		if users, err := f.s.List(f.ctx(), access.User, "", 10); err != nil || len(users) != 1 {
			t.Errorf("users after a refused import: %v, %v", users, err)
		}
		_, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader("x:"+strings.Repeat("a", 5000)), anybody)
		if _, ok := errors.AsType[*account.ImportError](err); !ok {
			t.Errorf("a long line: %v", err)
		}
	})
}

// A racingDirectory does something before accounts are added.
type racingDirectory struct {
	account.Directory
	before func()
}

func (d racingDirectory) AddAccounts(ctx context.Context, as ...account.Account) error {
	d.before()
	return d.Directory.AddAccounts(ctx, as...)
}

// A name that is taken after the lines were checked stops the import as a whole.
func TestImportIsOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		hash := "$2y$10$" + strings.Repeat("a", 53)
		file := "one:" + hash + "\ntwo:" + hash + "\nthree:" + hash + "\n"
		s := account.New(racingDirectory{f.db.Directory(), func() { f.user("two", "two keeps a horse") }}, f.db, account.Options{Now: f.clock})
		defer s.Close()
		names, err := s.ImportHtpasswd(f.ctx(), strings.NewReader(file), anybody)
		wantError(t, err, account.ErrExists)
		if users, err := f.s.List(f.ctx(), access.User, "", 10); err != nil || len(users) != 1 || len(names) != 0 {
			t.Errorf("users after the race: %v, %v, reported %q", users, err, names)
		}
		f.ok(f.s.Remove(f.ctx(), user("two")))
		names, err = f.s.ImportHtpasswd(f.ctx(), strings.NewReader(file), anybody)
		if users, listed := f.s.List(f.ctx(), access.User, "", 10); err != nil || listed != nil || len(users) != 3 || len(names) != 3 {
			t.Errorf("users after the import: %v, %v, %q, %v", users, listed, names, err)
		}
	})
}
