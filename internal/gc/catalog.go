// Package gc owns finding and deleting what nothing refers to, while pushes go
// on: facts are forgotten before bytes are removed, and only what no lease
// protects.
package gc

import (
	"context"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// A Catalog is what the sweep asks the metadata database. Every method is one
// short transaction; none holds a lock that a push waits for longer than that.
type Catalog interface {
	// ExpiredUploads returns up to limit sessions that are past their life, or
	// were finished so long ago that no push grace needs them.
	ExpiredUploads(ctx context.Context, limit int) ([]string, error)
	// DropUploads forgets sessions.
	DropUploads(ctx context.Context, ids []string) error
	// KnownUpload reports whether an open session has this id.
	KnownUpload(ctx context.Context, id string) (bool, error)

	// UnusedLinks counts the links that no manifest of their repository refers
	// to and whose lease was last renewed before the given time.
	UnusedLinks(ctx context.Context, before time.Time) (int64, error)
	// DropUnusedLinks removes up to limit of them and returns how many it did.
	DropUnusedLinks(ctx context.Context, before time.Time, limit int) (int64, error)

	// UnusedBlobs yields the blobs whose lease was last renewed before the given
	// time and that no link holds, except links that DropUnusedLinks would
	// remove at the same time: so a dry run sees what a sweep would do. The loop
	// may call other methods, RemoveBlob of what it was given among them.
	UnusedBlobs(ctx context.Context, before time.Time) iter.Seq2[oci.Descriptor, error]
	// RemoveBlob forgets d if that is still so, and calls free, which removes
	// the bytes, before it commits: a push that renews the lease afterwards
	// publishes anew. It reports whether d was removed.
	RemoveBlob(ctx context.Context, d oci.Digest, before time.Time, free func() error) (bool, error)
	// AdoptBlob makes known a blob whose bytes are stored but which no row
	// names, with its lease last renewed at the given time, so that RemoveBlob
	// can judge it. It reports whether d was unknown.
	AdoptBlob(ctx context.Context, d oci.Descriptor, leased time.Time) (bool, error)
	// UnknownBlobs returns those of ds that no row names, in any order. At most
	// a few hundred are asked about at a time.
	UnknownBlobs(ctx context.Context, ds []oci.Digest) ([]oci.Digest, error)
	// CountBlobs returns how many blobs are known.
	CountBlobs(ctx context.Context) (int64, error)

	// BeginSweep leaves an event of a sweep that is about to remove what r says. A
	// sweep that cannot be recorded removes nothing.
	BeginSweep(ctx context.Context, r Report) error
	// SaveSweep records a finished sweep; LastSweep returns the newest.
	SaveSweep(ctx context.Context, r Report) error
	LastSweep(ctx context.Context) (Report, bool, error)
}

// A Report says what a sweep found and did.
type Report struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	DryRun   bool      `json:"dryRun"`
	Uploads  int64     `json:"uploads"`         // sessions forgotten, and staged bytes without one
	Links    int64     `json:"links"`           // links forgotten
	Blobs    int64     `json:"blobs"`           // blobs removed
	Bytes    int64     `json:"bytes"`           // bytes of blobs given back
	Err      string    `json:"error,omitempty"` // why it ended early
}
