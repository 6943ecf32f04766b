package issuer

import (
	"context"
	"time"
)

// MaxIssuers bounds how many issuers are trusted.
const MaxIssuers = 1000

// A Stored is a definition in the database.
type Stored struct {
	Name     string
	Document []byte // YAML
	Author   string // who wrote it: "user:alice"
	Changed  time.Time
}

// Revision names these very bytes.
func (s Stored) Revision() string { return revisionOf(s.Document) }

// A Store keeps definitions. Each change advances the generation of
// access.Changes.
type Store interface {
	// Issuers returns all, by name.
	Issuers(ctx context.Context) ([]Stored, error)
	// SaveIssuer adds s, or replaces the one of its name whose Stored.Revision is
	// replaces; "" adds. Errors: ErrExists, ErrUnknown, ErrChanged.
	SaveIssuer(ctx context.Context, s Stored, replaces string) error
	// RemoveIssuer forgets one. Errors: ErrUnknown.
	RemoveIssuer(ctx context.Context, name string) error
}
