package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
)

// maxCAFile bounds a file of CA certificates, in bytes.
const maxCAFile = 1 << 20

func newLogin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login URL",
		Short: "Log in to a server",
		Long: `Log in to a server and make it the one that the other commands speak to.

The password is asked for, or read from standard input; an access key serves as
well. It is sent to the server once and not kept. What is kept, in the keychain
or else in $XDG_CONFIG_HOME/sallyport/login.json, is an identity token:
"sallyport logout" ends it, and so does "sallyport session revoke" from anywhere.`,
		Example: `  sallyport login https://localhost:5000 --ca-file data/tls/ca.pem
  sallyport login https://registry.example.com --username alice
  sallyport login https://registry.example.com --username ci --password-stdin <key.txt`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	username := cmd.Flags().StringP("username", "u", "", "user name; asked for on a terminal")
	caFile := cmd.Flags().String("ca-file", "", "PEM file with a CA to trust for this server; kept with the login")
	addPasswordStdin(cmd, "read the password, or an access key, from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := client.ParseAddress(args[0])
		if err != nil {
			return usage(cmd, err)
		}
		l, err := logIn(cmd, server, *username, *caFile)
		if err != nil {
			return explain(err, server, true)
		}
		return result(cmd, "logged in to %s as %s", server, l)
	}
	return cmd
}

// logIn proves, stores and returns who was logged in.
func logIn(cmd *cobra.Command, server client.Address, username, caFile string) (string, error) {
	store, err := client.NewStore()
	if err != nil {
		return "", err
	}
	ca, err := chooseCA(store, server, caFile)
	if err != nil {
		return "", err
	}
	keys, err := openKeyboard(cmd)
	if err != nil {
		return "", err
	}
	if username == "" {
		if username, err = keys.ask("user name"); err != nil {
			return "", err
		}
	}
	password, err := keys.secret("password")
	if err != nil {
		return "", err
	}
	login, err := client.LogIn(cmd.Context(), client.LoginRequest{
		Server: server, Username: username, Password: password, CA: ca,
	}, clientOptions())
	if err != nil {
		return "", err
	}
	who, err := describe(cmd.Context(), login)
	if err != nil {
		return "", err
	}
	if err := store.Save(login); err != nil {
		return "", err
	}
	if login, err = store.Find(server); err == nil && login.Keychain != "" {
		place, _ := store.Place(server)
		say(cmd, "the identity token is in %s", place)
	}
	return who, err
}

// describe asks the server whom it logged in.
func describe(ctx context.Context, l client.Login) (string, error) {
	c, err := client.New(l, clientOptions())
	if err != nil {
		return "", err
	}
	me, err := c.Whoami(ctx)
	if err != nil {
		return "", err
	}
	who := client.Printable(me.Principal)
	if me.Admin {
		who += ", an administrator"
	}
	return who, nil
}

// chooseCA returns the PEM text of the named file, or what an older login to
// the same server trusted.
func chooseCA(store client.Store, server client.Address, file string) (string, error) {
	if file == "" {
		old, err := store.Find(server)
		if _, none := errors.AsType[*client.NotLoggedIn](err); none {
			return "", nil
		}
		return old.CA, err
	}
	b, err := readFile(file, maxCAFile)
	return string(b), err
}

// readFile reads a file that is not larger than limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, nil
}

func newLogout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "End the session of a login and forget it",
		Example: `  sallyport logout
  sallyport logout --server https://registry.example.com`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd)
			if err != nil {
				return err
			}
			store, err := client.NewStore()
			if err != nil {
				return err
			}
			ended := c.LogOut(cmd.Context())
			if err := store.Remove(c.Server()); err != nil {
				return err
			}
			if ended != nil {
				return hintedError{
					fmt.Errorf("the login to %s is forgotten here, but its session could not be ended: %w", c.Server(), ended),
					"end it with sallyport session revoke, from another login",
				}
			}
			return result(cmd, "logged out of %s", c.Server())
		},
	}
}

func newWhoami() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who the server takes you for",
		Example: `  sallyport whoami
  sallyport whoami -o json`,
		Args: arguments(cobra.NoArgs),
	}
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		me, err := c.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		t := &table{head: []string{"PRINCIPAL", "ADMIN", "GROUPS", "PROVEN BY", "NARROWED", "SERVER"}}
		t.add(me.Principal, yesNo(me.Admin), words(me.Groups), me.Method, yesNo(me.Narrowed), string(c.Server()))
		return f.write(cmd, me, t)
	})
	return cmd
}
