// Command sallyport is a container registry with two gates, and the tool that
// administers it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code: 0, or 1 after one
// line that says why on stderr and, where there is a cure, another for it.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

// A hinter is an error that knows its cure.
type hinter interface{ Hint() string }

func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "sallyport: %v\n", err)
	var h hinter
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(w, "hint: %s\n", h.Hint())
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "A container registry with two gates: who are you, and what may you do",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, "run: " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(newServe(), newConfig(), newVersion())
	root.AddCommand(adminCommands()...)
	return root
}

// A usageError is a command line that cannot be read.
type usageError struct {
	error
	hint string
}

func (e usageError) Hint() string { return e.hint }
