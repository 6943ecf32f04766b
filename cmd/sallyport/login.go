package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/credential"
)

// maxCAFile bounds a file of CA certificates, in bytes.
const maxCAFile = 1 << 20

// loginFlags are how somebody wants to log in.
type loginFlags struct {
	username, caFile            string
	device, noBrowser, noDocker bool
}

func newLogin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login HOST",
		Short: "Log in to a server, for this tool, docker and podman",
		Long: `Log in to a server, for this tool, docker and podman, and make it the one that the
other commands speak to.

A browser shows the server's page to sign in. Over SSH, and where there is no
display, a code is shown instead, which is typed on that page on another machine.
With --username nothing of that: the password, or an access key, is asked for, or
read from standard input, sent to the server once and not kept.

What is kept, in the keychain or else in $XDG_CONFIG_HOME/sallyport/login.json, is
an identity token. docker and podman get it from docker-credential-sallyport, if
they find that on PATH, and else from docker's own configuration. "sallyport
logout" ends it, and so does "sallyport session revoke" from anywhere.`,
		Example: `  sallyport login registry.example.com
  sallyport login registry.example.com --device
  sallyport login https://localhost:5000 --ca-file data/tls/ca.pem
  sallyport login registry.example.com --username alice
  sallyport login registry.example.com --username ci --password-stdin <key.txt`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	var f loginFlags
	cmd.Flags().StringVarP(&f.username, "username", "u", "", "log in with a password, or an access key, as this user or robot")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "PEM file with a CA to trust for this server; kept with the login")
	cmd.Flags().BoolVar(&f.device, "device", false, "show a code, to sign in with the browser of another machine")
	cmd.Flags().BoolVar(&f.noBrowser, "no-browser", false, "print the address of the page instead of opening it")
	cmd.Flags().BoolVar(&f.noDocker, "no-docker", false, "leave the configurations of docker and podman alone")
	addPasswordStdin(cmd, "read the password, or an access key, from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := client.ParseAddress(args[0])
		if err == nil {
			err = f.check(cmd, server)
		}
		if err != nil {
			return usage(cmd, err)
		}
		return explain(logIn(cmd, server, f), server, true)
	}
	return cmd
}

// dockerHub are names of what docker login without a name is for.
var dockerHub = []client.Address{"https://docker.io", "https://index.docker.io", "https://registry-1.docker.io"}

// check refuses what contradicts itself.
func (f loginFlags) check(cmd *cobra.Command, server client.Address) error {
	ways := 0
	for _, name := range []string{"device", "no-browser", "username"} {
		if cmd.Flags().Changed(name) {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("--device, --no-browser and --username are three ways to log in: choose one")
	case cmd.Flags().Changed("password-stdin") && f.username == "":
		return errors.New("the user name is missing: give it as --username NAME")
	case slices.Contains(dockerHub, server):
		return errors.New("that is Docker Hub, which is no Sallyport: use docker login")
	}
	return nil
}

// logIn proves, stores, and lets docker and podman use what is stored.
func logIn(cmd *cobra.Command, server client.Address, f loginFlags) error {
	store, err := client.NewStore()
	if err != nil {
		return err
	}
	ca, err := chooseCA(store, server, f.caFile)
	if err != nil {
		return err
	}
	var login client.Login
	if cmd.Flags().Changed("username") {
		login, err = withPassword(cmd, server, ca, f.username)
	} else {
		login, err = withBrowser(cmd, server, ca, f)
	}
	if err != nil {
		return err
	}
	me, err := keep(cmd.Context(), store, &login)
	if err != nil {
		return err
	}
	if err := result(cmd, "logged in to %s as %s", server, describe(me)); err != nil {
		return err
	}
	place, err := store.Place(server)
	if err != nil {
		return err
	}
	if f.noDocker {
		say(cmd, "the identity token is in %s", place)
		return nil
	}
	return connectClients(cmd, store, login, place)
}

// keep stores a login, with the name that the server says. One that cannot be stored
// is ended: nobody would have its token.
func keep(ctx context.Context, store client.Store, login *client.Login) (client.Whoami, error) {
	me, err := whoIs(ctx, *login)
	if err == nil {
		if _, name, ok := strings.Cut(me.Principal, ":"); ok && login.Username == "" {
			login.Username = name
		}
		err = store.Save(*login)
	}
	if err != nil {
		// Also when it was interrupted.
		err = errors.Join(err, endAll(context.WithoutCancel(ctx), login.Server, []client.Login{*login}))
	}
	return me, err
}

// withPassword asks for a password, or an access key, and shows it to the server.
func withPassword(cmd *cobra.Command, server client.Address, ca, username string) (client.Login, error) {
	keys, err := openKeyboard(cmd)
	if err != nil {
		return client.Login{}, err
	}
	password, err := keys.secret("password")
	if err != nil {
		return client.Login{}, err
	}
	return client.LogIn(cmd.Context(), client.LoginRequest{
		Server: server, Username: username, Password: password, CA: ca,
	}, clientOptions())
}

// connectClients lets docker and podman use a login, and says how.
func connectClients(cmd *cobra.Command, store client.Store, login client.Login, place string) error {
	_, host, _ := strings.Cut(string(login.Server), "://")
	clients, err := credential.FindClients(store)
	if err != nil {
		return err
	}
	c, err := clients.Connect(cmd.Context(), login)
	if err = errors.Join(err, store.Connected(login.Server, c.Changed)); err != nil {
		return hintedError{
			fmt.Errorf("this tool is logged in, but docker and podman are not: %w", err),
			"then run: sallyport login " + host + ", or keep their configurations as they are: --no-docker",
		}
	}
	for _, file := range c.Dropped {
		say(cmd, "the password for %s that was in %s is taken out", host, file)
	}
	for _, what := range c.Hidden {
		say(cmd, "podman uses %s before this login; take it out with podman logout, or, with all for %s, sallyport logout", what, host)
	}
	switch {
	case len(c.Plain) > 0:
		say(cmd, "docker and podman read the identity token in %s, mode 0600: whoever can read your files can read it; better: sallyport helper install %s", words(c.Plain), host)
	case c.Helper != credential.HelperName:
		say(cmd, "docker gets the identity token from %s; this tool has it in %s", c.Helper, place)
	default:
		say(cmd, "docker and podman get the identity token from %s, which has it in %s", c.Helper, place)
	}
	return nil
}

// whoIs asks the server whom it logged in.
func whoIs(ctx context.Context, l client.Login) (client.Whoami, error) {
	c, err := client.New(l, clientOptions())
	if err != nil {
		return client.Whoami{}, err
	}
	return c.Whoami(ctx)
}

func describe(me client.Whoami) string {
	who := client.Printable(me.Principal)
	if me.Admin {
		who += ", an administrator"
	}
	if me.Expires != nil {
		who += ", until " + date(me.Expires)
	}
	return who
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
