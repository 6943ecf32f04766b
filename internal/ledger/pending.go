package ledger

import "context"

type pendingKey struct{}

// With returns a context in which a change is made on behalf of e: whoever
// writes the change writes e in the same transaction, once, and may fill in
// what only it knows. It is no authority and decides nothing.
func With(ctx context.Context, e *Event) context.Context {
	return context.WithValue(ctx, pendingKey{}, e)
}

// Pending returns the event of With, or nil.
func Pending(ctx context.Context) *Event {
	e, _ := ctx.Value(pendingKey{}).(*Event)
	return e
}
