package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// HelperName is the name of the program; clients put "docker-credential-" before
// what their configuration says.
const (
	HelperName   = "docker-credential-" + HelperSuffix
	HelperSuffix = "sallyport"
)

// The errors that clients compare, to the letter. They go to standard output.
var (
	errNotFound   = errors.New("credentials not found in native keychain")
	errNoServer   = errors.New("no credentials server URL")
	errNoUsername = errors.New("no credentials username")
)

// Limits on what comes in, in bytes.
const (
	maxRequest  = 64 << 10
	maxUsername = 255
	maxSecret   = 32 << 10
)

// A logout waits so long for the server to end the session.
const revokePatience = 3 * time.Second

// Minting a credential takes no longer than this.
const mintPatience = 30 * time.Second

// A Helper is docker-credential-sallyport.
type Helper struct {
	Store   client.Store
	Options client.Options
	Version string
	Notes   io.Writer // what people may read: standard error
	// Mint returns an identity token for a host that the environment's own
	// identity is for; ok is false for every other host.
	Mint func(ctx context.Context, host string) (token client.Secret, ok bool, err error)
}

// pair is a credential as the protocol has it.
type pair struct{ ServerURL, Username, Secret string }

// Serve obeys one command: args is what follows the program's name. It returns
// the exit status.
func (h Helper) Serve(ctx context.Context, args []string, in io.Reader, out io.Writer) int {
	err := h.serve(ctx, args, in, out)
	if err == nil {
		return 0
	}
	fmt.Fprintln(out, client.Printable(err.Error()))
	if hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		h.note("hint: %s", hinted.Hint())
	}
	return 1
}

func (h Helper) serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("Usage: %s <store|get|erase|list|version>", HelperName)
	}
	switch args[0] {
	case "store":
		return h.store(in)
	case "get":
		return h.get(ctx, in, out)
	case "erase":
		return h.erase(ctx, in)
	case "list":
		return h.list(out)
	case "version", "--version", "-v":
		fmt.Fprintf(out, "%s (github.com/sallyport/sallyport) %s\n", HelperName, h.Version)
		return nil
	}
	return fmt.Errorf("%s: unknown action: %s", HelperName, args[0])
}

// note tells people what was done; clients pass it through.
func (h Helper) note(format string, args ...any) {
	fmt.Fprintf(h.Notes, "%s: %s\n", HelperName, client.Printable(fmt.Sprintf(format, args...)))
}

func (h Helper) store(in io.Reader) error {
	text, err := read(in)
	if err != nil {
		return err
	}
	var p pair
	if err := json.Unmarshal(text, &p); err != nil {
		return errors.New("what is to be stored is not the JSON of a credential") // err may quote it
	}
	if p.ServerURL == "" {
		return errNoServer
	}
	if p.Username == "" {
		return errNoUsername
	}
	host, err := hostOf(p.ServerURL)
	if err != nil {
		return err
	}
	if strings.HasPrefix(host, "http://") {
		return errors.New("the registry's name is a URL with http: nothing is kept for that")
	}
	if err := checkPair(p.Username, p.Secret); err != nil {
		return err
	}
	place, err := h.Store.Keep(host, p.Username, client.Secret{Secret: access.NewSecret(p.Secret)})
	if err != nil {
		return err
	}
	h.note("the credential for %s is in %s", host, place)
	return nil
}

func (h Helper) get(ctx context.Context, in io.Reader, out io.Writer) error {
	asked, host, err := readHost(in)
	if err != nil {
		return err
	}
	k, err := h.Store.Kept(host)
	if _, none := errors.AsType[*client.NotLoggedIn](err); none {
		k, err = h.mint(ctx, host)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(pair{asked, k.Username, k.Secret.Reveal()})
}

// mint returns a credential for what runs here, which is stored nowhere.
func (h Helper) mint(ctx context.Context, host string) (client.Kept, error) {
	if h.Mint == nil {
		return client.Kept{}, errNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, mintPatience)
	defer cancel()
	token, ok, err := h.Mint(ctx, host)
	if err == nil && !ok {
		err = errNotFound
	}
	return client.Kept{Username: client.TokenUser, Secret: token}, err
}

// erase forgets, and ends at the server what can be ended, whether it could be
// forgotten or not. That the server is not there does not keep anybody logged in here.
func (h Helper) erase(ctx context.Context, in io.Reader) error {
	_, host, err := readHost(in)
	if err != nil {
		return err
	}
	logins, _, kept := h.Store.Forget(host)
	ctx, cancel := context.WithTimeout(ctx, revokePatience)
	defer cancel()
	for _, l := range logins {
		ended, err := client.EndLogin(ctx, l, h.Options)
		switch {
		case err != nil:
			h.note("a session at %s could not be ended: %v; end it with: sallyport session revoke", host, err)
		case ended:
			h.note("ended the session at %s", host)
		}
	}
	return kept
}

func (h Helper) list(out io.Writer) error {
	hosts, err := h.Store.Hosts()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(hosts)
}

// read reads all there is, if that is not too much.
func read(in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxRequest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read standard input: %w", err)
	case len(text) > maxRequest:
		return nil, fmt.Errorf("standard input holds more than %d bytes", maxRequest)
	}
	return text, nil
}

// readHost reads the name of a registry: as it was asked for, and as it is kept.
func readHost(in io.Reader) (asked, host string, err error) {
	text, err := read(in)
	if err != nil {
		return "", "", err
	}
	// One line break at the end is how some clients end what they write.
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	asked = strings.Trim(string(text), " \t")
	if asked == "" {
		return "", "", errNoServer
	}
	host, err = hostOf(asked)
	return asked, host, err
}

// hostOf returns how a registry's name is kept. "https://HOST" and "HOST" are the
// same origin; nothing else is taken for anything but itself (C-02).
func hostOf(url string) (string, error) {
	if err := client.CheckHost(url); err != nil {
		return "", err
	}
	rest, cut := strings.CutPrefix(url, "https://")
	if host := strings.TrimSuffix(rest, "/"); cut && host != "" && !strings.Contains(host, "/") {
		return host, nil
	}
	return url, nil
}

// checkPair refuses what no client can present.
func checkPair(username, secret string) error {
	switch {
	case len(username) > maxUsername:
		return fmt.Errorf("the user name is longer than %d bytes", maxUsername)
	case strings.HasPrefix(username, "-") || strings.ContainsFunc(username, unfit):
		return fmt.Errorf("the user name %q holds what it may not", client.Printable(username))
	case secret == "":
		return errors.New("the secret is empty")
	case len(secret) > maxSecret:
		return fmt.Errorf("the secret is longer than %d bytes", maxSecret)
	case strings.ContainsFunc(secret, unfit):
		return errors.New("the secret holds a control character")
	}
	return nil
}

func unfit(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }
