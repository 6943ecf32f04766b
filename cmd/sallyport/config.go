package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// settingFlags are the flags that override a setting of the file.
var settingFlags = []struct{ flag, key, usage string }{
	{"data", "data", "directory for blobs, database and local CA"},
	{"listen", "listen", "address and port of the registry"},
	{"external-url", "external_url", "URL under which clients reach the registry"},
	{"database", "database", "sqlite:PATH or postgres://USER@HOST/NAME"},
	{"admin-password-file", "admin_password_file", "file with the administrator's first password"},
	{"health-listen", "health.listen", "address and port of /healthz and /readyz, or \"\" for none"},
	{"log-format", "log.format", "json or text"},
}

// A configSource is the flags from which a configuration is read.
type configSource struct {
	flags    *pflag.FlagSet
	file     string
	insecure bool
}

func addConfigFlags(flags *pflag.FlagSet) *configSource {
	s := &configSource{flags: flags}
	flags.StringVar(&s.file, "config", "", "configuration file")
	for _, f := range settingFlags {
		flags.String(f.flag, "", f.usage)
	}
	flags.BoolVar(&s.insecure, "insecure-http", false, "serve plain HTTP: only on loopback or behind trusted_proxies")
	return s
}

// load reads the file, if one is named, and lays the given flags over it.
func (s *configSource) load() (config.Config, error) {
	c := config.Default()
	if s.flags.Changed("config") {
		var err error
		if c, err = config.Read(s.file); err != nil {
			return c, err
		}
	}
	for _, f := range settingFlags {
		if !s.flags.Changed(f.flag) {
			continue
		}
		text, err := s.flags.GetString(f.flag)
		if err != nil {
			return c, err
		}
		if err := c.Set(f.key, text, "--"+f.flag); err != nil {
			return c, err
		}
	}
	if s.flags.Changed("insecure-http") {
		if err := c.Set("insecure_http", fmt.Sprint(s.insecure), "--insecure-http"); err != nil {
			return c, err
		}
	}
	return c, c.Validate()
}

func newConfig() *cobra.Command {
	return family("config", "Check and show the server's configuration", newConfigCheck(), newConfigPrint())
}

func newConfigCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file, and the files that it names",
		Example: "  sallyport config check sallyport.yaml",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0])
			if err != nil {
				return err
			}
			if err := server.CheckFiles(c); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			return err
		},
	}
}

func newConfigPrint() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "print",
		Short:   "Print the effective configuration, secrets redacted",
		Example: "  sallyport config print --config sallyport.yaml",
		Args:    arguments(cobra.NoArgs),
	}
	source := addConfigFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := source.load()
		if err != nil {
			return err
		}
		text, err := c.Effective().Print()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}
