package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the registry",
		Example: `  sallyport serve
  sallyport serve --config sallyport.yaml`,
		Args: arguments(cobra.NoArgs),
	}
	source := addConfigFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := source.load()
		if err != nil {
			return err
		}
		// What lives long in this process is small and what each request
		// allocates dies with it: collecting at every 4 MiB would cost a
		// tenth of the processor. The environment variable GOGC goes first.
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(400)
		}
		// Whatever this process creates, nobody else may read.
		syscall.Umask(0o077)
		// Who reads our output may leave: that is a write that fails, and no end.
		signal.Ignore(syscall.SIGPIPE)
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		// A second signal then has its default effect and ends the process.
		context.AfterFunc(ctx, stop)
		s, err := server.New(ctx, c, server.Options{
			Logger: newLogger(c.Log),
			Out:    cmd.OutOrStdout(),
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
	return cmd
}

// newLogger writes to standard error; both handlers escape control characters.
func newLogger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic("sallyport: level that config accepted: " + c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
