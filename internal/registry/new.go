package registry

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// Options adjust New. The zero value works.
type Options struct {
	Now    func() time.Time // nil means time.Now
	Rand   io.Reader        // makes upload ids; nil means crypto/rand.Reader
	Logger *slog.Logger     // nil discards
}

// New returns the registry that remembers in c and keeps bytes in b. It asks
// nobody for permission: doors work on Guard's views of it.
func New(c Catalog, b blob.Store, o Options) Registry {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &registry{catalog: c, blobs: b, now: o.Now, rand: o.Rand, log: o.Logger}
}

type registry struct {
	catalog Catalog
	blobs   blob.Store
	now     func() time.Time
	rand    io.Reader
	log     *slog.Logger

	unrenewed atomic.Bool // it was logged that a lease was not renewed
}

// busy turns "another request holds this staging" into what the client may
// know: it looks like a chunk out of order, and like one it can be tried again.
func busy(err error) error {
	if errors.Is(err, blob.ErrStaging) {
		return oci.Errorf(oci.RangeInvalid, "%s", blob.ErrStaging.Error())
	}
	return err
}
