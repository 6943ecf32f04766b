// Command docker-credential-sallyport is the credential helper alone, for
// systems that the server does not run on. Elsewhere sallyport serves its name.
package main

import (
	"os"
	"runtime/debug"

	"github.com/sallyport/sallyport/internal/credential"
)

func main() {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	os.Exit(credential.Called(credential.HelperName)(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, version))
}
