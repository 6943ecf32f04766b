package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/browser"
)

// browserPatience is how long somebody may take to sign in; the server's page lives
// as long.
const browserPatience = 10 * time.Minute

// withBrowser lets a person sign in on the server's page.
func withBrowser(cmd *cobra.Command, server client.Address, ca string, f loginFlags) (client.Login, error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	l, err := signIn(ctx, cmd, server, ca, f)
	switch {
	case errors.Is(err, context.Canceled):
		err = errors.New("canceled: nobody is logged in")
	case errors.Is(err, context.DeadlineExceeded):
		err = hintedError{fmt.Errorf("%w: nobody did within %d minutes", client.ErrNotSignedIn, browserPatience/time.Minute), "run it again; --device shows a code for the browser of another machine"}
	case errors.Is(err, client.ErrNoSignIn):
		err = hintedError{err, "log in with a password or an access key: sallyport login " + string(server) + " --username NAME"}
	case errors.Is(err, client.ErrNotSignedIn):
		err = hintedError{err, "run: sallyport login " + string(server)}
	}
	return l, err
}

func signIn(ctx context.Context, cmd *cobra.Command, server client.Address, ca string, f loginFlags) (client.Login, error) {
	in, err := client.NewSignIn(ctx, server, ca, clientOptions())
	if err != nil {
		return client.Login{}, err
	}
	why := browser.Missing()
	switch {
	case f.device:
		return signInElsewhere(ctx, cmd, in, "")
	case why != "" && !f.noBrowser:
		return signInElsewhere(ctx, cmd, in, why+": ")
	}
	return signInHere(ctx, cmd, in, f.noBrowser)
}

// signInHere uses a browser on this machine.
func signInHere(ctx context.Context, cmd *cobra.Command, in *client.SignIn, noBrowser bool) (client.Login, error) {
	ctx, cancel := context.WithTimeout(ctx, browserPatience)
	defer cancel()
	listener, err := browser.Listen(ctx)
	if err != nil {
		return client.Login{}, err
	}
	defer listener.Close()
	attempt, err := in.Begin(listener.Redirect())
	if err != nil {
		return client.Login{}, err
	}
	byHand := func() { say(cmd, "sign in, with a browser on this machine, at %s", attempt.URL()) }
	if noBrowser {
		byHand()
	} else if ended, err := browser.Open(attempt.URL()); err != nil {
		byHand()
	} else {
		say(cmd, "sign in on the page that your browser shows (--no-browser prints its address, --device shows a code for another machine)")
		go func() {
			select {
			case err := <-ended:
				if err != nil {
					byHand()
				}
			case <-ctx.Done():
			}
		}()
	}
	answer, err := listener.Wait(ctx, attempt.IsAnswer)
	if err != nil {
		return client.Login{}, err
	}
	return attempt.Finish(ctx, answer)
}

// signInElsewhere uses a browser on another machine.
func signInElsewhere(ctx context.Context, cmd *cobra.Command, in *client.SignIn, why string) (client.Login, error) {
	d, err := in.Device(ctx)
	if err != nil {
		return client.Login{}, err
	}
	say(cmd, "%ssign in with any browser at %s and type the code %s, until %s", why, d.Page, d.UserCode, d.Ends.UTC().Format("15:04Z"))
	return d.Wait(ctx)
}
