package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/credential"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token [HOST]",
		Short: "Print a short-lived access token for a script",
		Long: `Print a short-lived access token for a script, and nothing else, on standard
output. It comes of the login to HOST[:PORT], or of the last one; without a login,
of the identity that the environment gives, if "sallyport helper install
--ambient" or SALLYPORT_REGISTRIES says that it is for that host.`,
		Example: `  sallyport token --scope repository:team/app:pull
  sallyport token registry.example.com --scope repository:team/app:pull,push --scope registry:catalog:*`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	scopes := cmd.Flags().StringArray("scope", nil, "what it is for: repository:NAME:ACTIONS; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, s := range *scopes {
			if s == "" {
				return usage(cmd, errors.New("--scope is empty"))
			}
		}
		token, err := accessToken(cmd, args, *scopes)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), token.Reveal())
		return err
	}
	return cmd
}

func accessToken(cmd *cobra.Command, args, scopes []string) (client.Secret, error) {
	store, err := client.NewStore()
	if err != nil {
		return client.Secret{}, err
	}
	server := client.Address("")
	if len(args) > 0 {
		if server, err = client.ParseAddress(args[0]); err != nil {
			return client.Secret{}, usage(cmd, err)
		}
	} else if server, err = selected(cmd); err != nil {
		return client.Secret{}, err
	}
	l, err := store.Find(server)
	if err == nil {
		token, err := client.AccessToken(cmd.Context(), l, scopes, clientOptions())
		return token, explain(err, l.Server, false)
	}
	if _, none := errors.AsType[*client.NotLoggedIn](err); !none || len(args) == 0 {
		return client.Secret{}, err
	}
	m := credential.Minter{Store: store, Options: clientOptions(), Notes: cmd.ErrOrStderr()}
	l, outside, ok, proven := m.Prove(cmd.Context(), args[0])
	if proven != nil || !ok {
		if proven != nil {
			err = explain(proven, server, false)
		}
		return client.Secret{}, err
	}
	grant, err := client.ExchangeForAccess(cmd.Context(), l, outside, scopes, clientOptions())
	return grant.Token, err
}
