package account_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// A slowDirectory does not answer about the policy until told to.
type slowDirectory struct {
	account.Directory
	asked  chan struct{} // a value for each question
	answer chan struct{}
}

func (d slowDirectory) LatestPolicy(ctx context.Context) (account.PolicyVersion, error) {
	d.asked <- struct{}{}
	<-d.answer
	return d.Directory.LatestPolicy(ctx)
}

// D-18: while the database hangs, who goes away does not wait for it, and who
// stays costs one query together.
func TestPolicyWhileTheDatabaseHangs(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.bootstrap()
		slow := slowDirectory{f.db.Directory(), make(chan struct{}, 100), make(chan struct{})}
		s := account.New(slow, f.db, account.Options{Now: f.clock})
		defer s.Close()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				p, err := s.Current(context.Background())
				if err != nil || !allows(p, access.Principal{ID: access.ID{Name: "admin"}, Kind: access.User, Groups: []string{"admins"}}, access.Admin, "") {
					t.Errorf("policy %+v, %v", p, err)
				}
			})
		}
		<-slow.asked
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Current(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a request that has gone: %v", err)
		}
		close(slow.answer)
		group.Wait()
		if n := len(slow.asked); n != 0 {
			t.Errorf("%d more questions", n)
		}
		if _, err := s.Current(t.Context()); err != nil || len(slow.asked) != 0 {
			t.Errorf("steady state: %d questions, %v", len(slow.asked), err)
		}
	})
}
