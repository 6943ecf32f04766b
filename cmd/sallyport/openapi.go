package main

import (
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

func newOpenAPI() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "openapi",
		Short: "Print the description of the admin API in OpenAPI 3.1",
		Long: `Print the description of the admin API that the server serves, in OpenAPI 3.1, from
which tools make clients and pages. All that this tool does goes through that API.`,
		Example: `  sallyport openapi
  sallyport openapi >sallyport-api.json`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		description, err := c.OpenAPI(cmd.Context())
		if err != nil {
			return err
		}
		return client.WriteJSON(cmd.OutOrStdout(), description)
	})
	return cmd
}
