// Package blob owns immutable bytes by digest: the Store interface, its
// guarantees, and verification. Backends are its sub-packages; blobtest examines
// them all.
package blob

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// A Store keeps immutable bytes under their digest. It knows nothing of
// repositories. What Seal has accepted survives power loss. Safe for
// concurrent use. A store that is out of space answers oci.StorageFull and
// leaves nothing half-written.
type Store interface {
	// Open returns the bytes of d. Errors: oci.BlobUnknown.
	Open(ctx context.Context, d oci.Digest) (Reader, error)

	// Stage begins, or resumes after a restart, writing under key, which is 1
	// to 128 letters, digits, '_' and '-'. One key is open once at a time.
	// Errors: ErrStaging when it is open already; oci.StorageFull only when
	// nothing is staged under key.
	Stage(ctx context.Context, key string) (Staging, error)

	// Unstage discards what was staged under key; absent is not an error. It
	// needs no room.
	// Errors: ErrStaging when it is open.
	Unstage(ctx context.Context, key string) error

	// Staged yields every staging, in no order, for the sweep.
	Staged(ctx context.Context) iter.Seq2[StagedInfo, error]

	// Delete removes d; deleting what is absent is not an error.
	Delete(ctx context.Context, d oci.Digest) error

	// All yields every sealed blob, in no order, for the sweep.
	All(ctx context.Context) iter.Seq2[Info, error]

	// Check writes, flushes, reads back and removes a few bytes: readiness.
	Check(ctx context.Context) error
}

// Info describes a sealed blob. Size is bytes.
type Info struct {
	Digest   oci.Digest
	Size     int64
	Modified time.Time
}

// StagedInfo describes a staging.
type StagedInfo struct {
	Key      string
	Modified time.Time
}

// A Reader reads one blob. It seeks, so that ranges are http.ServeContent's
// work. A Reader over a file is also a syscall.Conn: given as it is, not
// wrapped, to http.ServeContent or io.CopyN, net finds the file by that and
// sends it with sendfile. Not safe for concurrent use.
type Reader interface {
	io.ReadSeekCloser
	Size() int64 // bytes
}

// A Staging is bytes on their way in. Not safe for concurrent use. Whoever has
// one calls Close in the end, also after Seal, where it does nothing.
type Staging interface {
	io.Writer
	// ReadFrom copies from r until EOF and returns the bytes written. Bytes
	// received before an error of r stay. After oci.StorageFull, here and in
	// Write, the size is what it was before the call, its space is given back,
	// and the staging can go on.
	io.ReaderFrom
	Size() int64 // bytes written so far, over all requests; 0 once discarded

	// Close keeps the bytes, if there are any, for a later Stage, and lets
	// others have the key.
	Close() error

	// Seal verifies the bytes against want and publishes them at once, durably,
	// and ends the staging. On oci.DigestInvalid nothing is published and the
	// staged bytes are discarded, and so they are when the storage may have lost
	// some. After any other error the staging is as it was. Sealing what is
	// stored already stores it anew.
	Seal(ctx context.Context, want oci.Digest) error

	// Discard removes the bytes and gives their space back, for which it needs
	// no room; nothing can be written any more. Until Close nobody else has the
	// key. After Seal has published, and a second time, it does nothing.
	Discard(ctx context.Context) error
}

// ErrStaging says that another request holds the same staging open.
var ErrStaging = stagingError{}

type stagingError struct{}

func (stagingError) Error() string { return "another request is writing this upload" }
