package credential

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/client"
)

// A Program is one of the names that the binary serves by how it is called. It
// returns the exit status.
type Program func(args []string, in io.Reader, out, errs io.Writer, version string) int

// Called returns what serves a name, which may be a path; nil for another name.
func Called(as string) Program {
	switch base := filepath.Base(as); base {
	case HelperName, HelperName + ".exe":
		return runHelper
	case ProviderName:
		return runProvider
	}
	return nil
}

func runHelper(args []string, in io.Reader, out, errs io.Writer, version string) int {
	store, err := client.NewStore()
	if err != nil {
		fmt.Fprintln(out, client.Printable(err.Error()))
		return 1
	}
	options := client.Options{UserAgent: HelperName + "/" + version}
	h := Helper{Store: store, Options: options, Version: version, Notes: errs}
	h.Mint = Minter{Store: store, Options: options, Notes: errs}.Identity
	return h.Serve(context.Background(), args, in, out)
}
