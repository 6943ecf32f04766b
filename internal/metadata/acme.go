package metadata

import (
	"context"
	"errors"
	"time"
)

// An ACMEState is something that automatic certificates have to remember,
// sealed by the caller.
type ACMEState struct {
	KEK    string // id of the key-encryption key
	Sealed []byte
}

// ACMEStates keeps them by name for all processes on the database, so that any
// of them can answer the challenge that another has asked for.
type ACMEStates struct{ db *DB }

// ErrNoState says that nothing is kept under a name.
var ErrNoState = errors.New("no such state")

// ACME returns the states of automatic certificates.
func (db *DB) ACME() ACMEStates { return ACMEStates{db} }

// Find returns what is kept under name. Errors: ErrNoState.
func (s ACMEStates) Find(ctx context.Context, name string) (ACMEState, error) {
	if err := ctx.Err(); err != nil {
		return ACMEState{}, err
	}
	var v ACMEState
	err := s.db.reads.row(s.db.engine.detach(ctx), `SELECT kek, sealed FROM acme_state WHERE name = $1`, args{name}, &v.KEK, &v.Sealed)
	if errors.Is(err, errNone) {
		return ACMEState{}, ErrNoState
	}
	return v, wrap(err, "find ACME state %s", name)
}

// Save keeps v under name instead of what was there.
func (s ACMEStates) Save(ctx context.Context, name string, v ACMEState, at time.Time) error {
	err := s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO acme_state (name, kek, sealed, changed) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET kek = excluded.kek, sealed = excluded.sealed, changed = excluded.changed`,
			args{name, v.KEK, v.Sealed, micros(at)})
		return err
	})
	return wrap(err, "save ACME state %s", name)
}

// Remove forgets what is kept under name; twice is not an error.
func (s ACMEStates) Remove(ctx context.Context, name string) error {
	err := s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM acme_state WHERE name = $1`, args{name})
		return err
	})
	return wrap(err, "remove ACME state %s", name)
}
