package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/credential"
)

// logoutPatience is how long a server may take to end a session.
const logoutPatience = 15 * time.Second

func newLogout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout [HOST]",
		Short: "End a login at the server, and forget it here, also in docker and podman",
		Long: `End a login at the server, and forget it here: this tool's, what docker gave the
credential helper, and what docker's and podman's configurations hold for this
HOST[:PORT]. Without a name it is the login that the other commands use.

When the server cannot be reached, all is forgotten here all the same; the exit
status is 1 then, since the session goes on until somebody ends it.`,
		Example: `  sallyport logout
  sallyport logout registry.example.com`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := client.NewStore()
			if err != nil {
				return err
			}
			server, err := loggedInTo(cmd, store, args)
			if err != nil {
				return err
			}
			found, err := logOut(cmd.Context(), store, server)
			switch {
			case err != nil:
				return err
			case !found:
				return &client.NotLoggedIn{Server: server}
			}
			return result(cmd, "logged out of %s", server)
		},
	}
}

// loggedInTo returns the server that is named, or the one of the selected login.
func loggedInTo(cmd *cobra.Command, store client.Store, args []string) (client.Address, error) {
	if len(args) > 0 {
		if cmd.Flags().Changed("server") {
			return "", usage(cmd, errors.New("the server is named twice"))
		}
		server, err := client.ParseAddress(args[0])
		if err != nil {
			return "", usage(cmd, err)
		}
		return server, nil
	}
	server, err := selected(cmd)
	if err != nil {
		return "", err
	}
	l, err := store.Find(server)
	if _, none := errors.AsType[*client.NotLoggedIn](err); none || l.Server == "" {
		return "", err
	}
	return l.Server, nil // also of a login whose token is in a keychain that stays locked
}

// logOut forgets every credential for a server, and ends the sessions of those that
// are identity tokens. What fails keeps nothing else from that: who logs out again
// has neither the tokens nor the names of the files.
func logOut(ctx context.Context, store client.Store, server client.Address) (found bool, err error) {
	_, host, _ := strings.Cut(string(server), "://")
	logins, found, kept := store.Forget(host)
	var changed []string
	ca := ""
	for _, l := range logins {
		changed = append(changed, l.Clients...)
		ca = l.CA
	}
	clients, left := credential.FindClients(store)
	if left == nil {
		var tokens []client.Secret
		var inClients bool
		tokens, inClients, left = clients.Disconnect(ctx, host, changed)
		found = found || inClients
		for _, t := range tokens {
			logins = append(logins, client.Login{Server: server, Token: t, CA: ca})
		}
	}
	return found, errors.Join(kept, left, endAll(ctx, server, logins))
}

// endAll ends sessions at the server, each once.
func endAll(ctx context.Context, server client.Address, logins []client.Login) error {
	ctx, cancel := context.WithTimeout(ctx, logoutPatience)
	defer cancel()
	seen := map[string]bool{}
	var failed []error
	for _, l := range logins {
		token := l.Token.Reveal()
		if seen[token] {
			continue
		}
		seen[token] = true
		_, err := client.EndLogin(ctx, l, clientOptions())
		if token == "" {
			err = errors.New("the keychain did not give its identity token")
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	sessions := "its session"
	if len(failed) > 1 {
		sessions = fmt.Sprintf("%d of its sessions", len(failed))
	}
	return hintedError{
		fmt.Errorf("the login to %s is forgotten here, but %s could not be ended: %w", server, sessions, errors.Join(failed...)),
		"end it with sallyport session revoke, from another login",
	}
}
