package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/dockerauth"
)

func newImport() *cobra.Command {
	return family("import", "Translate what other token servers are configured with", newImportDockerAuth())
}

func newImportDockerAuth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "docker-auth FILE",
		Short: "Translate the ACL and the users of a docker_auth configuration",
		Long: `Translate a configuration of docker_auth, from FILE or on standard input for "-".
Nothing is sent anywhere: the policy document goes to standard output, or with
--htpasswd the users and their bcrypt hashes in the form that "sallyport user import
htpasswd" reads.

Only what means exactly the same is translated. Everything else is listed on
standard error, and the exit code is 1 then: regular expressions, variables,
addresses, labels, and entries that depend on the order of the list.`,
		Example: `  sallyport import docker-auth auth_config.yml >policy.yaml
  sallyport import docker-auth --htpasswd auth_config.yml >users.htpasswd`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	htpasswd := cmd.Flags().Bool("htpasswd", false, "print the users instead of the policy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, err := readInput(cmd, args[0])
		if err != nil {
			return err
		}
		found, err := dockerauth.Read(file)
		if err != nil {
			return fmt.Errorf("import %s: %w", args[0], err)
		}
		text := found.Policy
		if *htpasswd {
			text = found.Htpasswd
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
			return err
		}
		for _, left := range found.Left {
			say(cmd, "not taken: %s", oneLine(left))
		}
		if n := len(found.Left); n > 0 {
			return hintedError{fmt.Errorf("%d parts of %s were not taken", n, args[0]), "write rules for them by hand: docs/token-server.md"}
		}
		return nil
	}
	return cmd
}
