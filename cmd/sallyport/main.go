// Command sallyport is a container registry with two gates, and the tool that
// administers it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/credential"
)

func main() {
	// Docker and the kubelet call it by another name, and often: that comes first.
	if program := credential.Called(os.Args[0]); program != nil {
		os.Exit(program(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, version()))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code: 0, or, after one
// line on stderr that says why and, where there is a cure, another for it, 1; 2
// for a command line that cannot be read.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		complain(stderr, err)
		if _, usage := errors.AsType[usageError](err); usage {
			return 2
		}
		return 1
	}
	return 0
}

// A hinter is an error that knows its cure.
type hinter interface {
	error
	Hint() string
}

func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "sallyport: %s\n", oneLine(err.Error()))
	if h, ok := errors.AsType[hinter](err); ok && h.Hint() != "" {
		fmt.Fprintf(w, "hint: %s\n", oneLine(h.Hint()))
	}
}

// oneLine makes s safe for a terminal, whatever a file name or a server put
// into it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(strings.Fields(s), " "))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "A container registry with two gates: who are you, and what may you do",
		Version:       versionLine(),
		Args:          arguments(cobra.NoArgs),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, "run: " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(newServe(), newConfig(), newDirectory(), newImport(), newVersion(), newCompletion(), newHelper())
	root.AddCommand(adminCommands()...)
	addCompletion(root)
	return root
}

// A usageError is a command line that cannot be read.
type usageError struct {
	error
	hint string
}

func (e usageError) Hint() string { return e.hint }
