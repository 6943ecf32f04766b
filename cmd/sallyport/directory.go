package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/server"
)

func newDirectory() *cobra.Command {
	return family("directory", "Check the LDAP directories that people log in with", newDirectoryCheck())
}

func newDirectoryCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check NAME",
		Short: "Go through every step of asking a directory, and say what is wrong",
		Long: `Go through every step of asking a directory of the configuration, at each of its
servers: connection and certificate, bind_dn, people, groups. With --user, say what
that person would be here; no password is asked for. Nothing is changed, and no
server of ours needs to run. The exit code is 1 if there is a problem.`,
		Example: `  sallyport directory check corp --config sallyport.yaml
  sallyport directory check corp --config sallyport.yaml --user alice`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	source := addConfigFlags(cmd.Flags())
	user := cmd.Flags().String("user", "", "also look at this person, as they would type their name")
	f := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := source.load()
		if err != nil {
			return err
		}
		found, err := server.CheckDirectory(cmd.Context(), c, args[0], *user)
		if err != nil {
			return err
		}
		t := &table{head: []string{"SERVER", "STEP", "LEVEL", "FOUND", "CURE"}}
		for _, of := range found {
			t.add(of.Server, of.Step, string(of.Level), of.Text, of.Cure)
		}
		if err := f.write(cmd, found, t); err != nil {
			return err
		}
		if slices.ContainsFunc(found, func(of ldap.Finding) bool { return of.Level == ldap.Bad }) {
			return errUntrusted
		}
		return nil
	}
	return cmd
}
