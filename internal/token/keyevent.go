package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
)

// errNotDue ends a change that another process has made meanwhile.
var errNotDue = errors.New("nothing is due")

// keep does what the schedule says is due, and leaves an event of it in the same
// transaction. Nobody asked for it, so the principal is the system.
func (r *keyring) keep(ctx context.Context) error {
	stored, err := r.list(ctx)
	if err != nil || !r.due(r.now(), stored) {
		return err
	}
	e := &ledger.Event{Kind: ledger.SigningKey, Decision: ledger.Allowed, Principal: ledger.System}
	err = r.change(ledger.With(ctx, e), func(keys []SigningKey) ([]SigningKey, error) {
		if !r.due(r.now(), keys) {
			return nil, errNotDue
		}
		return r.plan(r.now(), keys)
	})
	if errors.Is(err, errNotDue) {
		return nil
	}
	return err
}

// describe says in e what a change did to the keys. A key needs no second event
// when it begins to sign: the time is in that of its making. An event that is
// nobody's answer gets its action here.
func describe(e *ledger.Event, before, after []SigningKey) {
	if e == nil || e.Recorded() {
		return
	}
	e.Detail = nil // the transaction may run again
	find := func(keys []SigningKey, id string) int {
		return slices.IndexFunc(keys, func(k SigningKey) bool { return k.ID == id })
	}
	var removed, sealed []string
	for _, k := range before {
		if find(after, k.ID) < 0 {
			removed = append(removed, k.ID)
		}
	}
	action := "remove"
	for _, k := range after {
		i := find(before, k.ID)
		switch {
		case i < 0:
			action = "add"
			fallthrough
		case !before[i].Activates.Equal(k.Activates):
			e.Set("next", k.ID)
			e.Set("signs", k.Activates.UTC().Format(time.RFC3339))
		case before[i].KEK != k.KEK:
			sealed = append(sealed, k.ID)
		}
	}
	if action == "remove" && len(removed) == 0 {
		action = "seal"
	}
	if e.Principal == ledger.System {
		e.Action = action
	}
	e.Set("removed", strings.Join(removed, " "))
	e.Set("sealed", strings.Join(sealed, " "))
}
