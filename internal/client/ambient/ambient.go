// Package ambient finds the identity that an environment gives to what runs in
// it: the ID tokens of CI systems, the projected service-account tokens of
// Kubernetes, the metadata servers of clouds. It asks nobody whom the environment
// does not name.
package ambient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// Auto looks for every identity, in the order of Names.
const Auto = "auto"

// Names are the identities that can be looked for by name. Beside them there are
// "env:VARIABLE" and "file:PATH".
var Names = []string{"variable", "github", "circleci", "buildkite", "kubernetes", "google", "azure"}

// Where tokens are when nothing else is said.
const (
	tokenVariable = "SALLYPORT_ID_TOKEN"      // a token, as GitLab's id_tokens make it
	fileVariable  = "SALLYPORT_ID_TOKEN_FILE" // a file with one
	projected     = "/var/run/secrets/sallyport/token"
)

const patience = 10 * time.Second

// ErrNone says that the environment gives no identity.
var ErrNone = errors.New("the environment gives no identity")

// A Finder finds an identity. The zero value looks at the process's environment.
type Finder struct {
	Getenv func(string) string // nil: os.Getenv
	Root   string              // "" for /; of files that a system has in a fixed place
}

func (f Finder) getenv(name string) string {
	if f.Getenv != nil {
		return f.Getenv(name)
	}
	return os.Getenv(name)
}

// Check refuses what cannot be looked for.
func Check(identity string) error {
	for _, name := range append([]string{Auto}, Names...) {
		if identity == name {
			return nil
		}
	}
	if kind, what, ok := strings.Cut(identity, ":"); ok && what != "" && (kind == "env" || kind == "file") {
		return nil
	}
	return fmt.Errorf("there is no identity %q: use %s, %s, env:VARIABLE or file:PATH", client.Printable(identity), Auto, strings.Join(Names, ", "))
}

// Token returns a token of the environment's identity for an audience. identity
// says which: Auto, one of Names, "env:VARIABLE" or "file:PATH". What issues no
// token for the audience gives the one it has. Errors: ErrNone.
func (f Finder) Token(ctx context.Context, identity, audience string) (client.Secret, error) {
	if err := Check(identity); err != nil {
		return client.Secret{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := f.find(ctx, identity, audience)
	if err != nil {
		return client.Secret{}, err
	}
	token = strings.TrimSpace(token)
	if token == "" || len(token) > access.MaxIDToken {
		return client.Secret{}, fmt.Errorf("the identity %s gives an empty token, or one that is too long", identity)
	}
	return client.Secret{Secret: access.NewSecret(token)}, nil
}

func (f Finder) find(ctx context.Context, identity, audience string) (string, error) {
	if kind, what, ok := strings.Cut(identity, ":"); ok {
		if kind == "file" {
			return readToken(what)
		}
		return f.variable(what)
	}
	for _, s := range f.sources() {
		switch {
		case identity == s.name && !s.here && !s.asked:
			return "", fmt.Errorf("%w: %s is not here", ErrNone, s.name)
		case identity == s.name, identity == Auto && s.here:
			return s.token(ctx, audience)
		}
	}
	return "", ErrNone
}

// A source is one of Names.
type source struct {
	name  string
	here  bool // the environment says so
	asked bool // it may be looked for by name although the environment does not
	token func(ctx context.Context, audience string) (string, error)
}

// sources is in the order in which Auto looks: what somebody set first, what is
// there for whoever runs on the machine last.
func (f Finder) sources() []source {
	variable := tokenVariable
	read := f.variable
	if f.getenv(tokenVariable) == "" && f.getenv(fileVariable) != "" {
		variable, read = fileVariable, func(name string) (string, error) { return readToken(f.getenv(name)) }
	}
	return []source{
		{"variable", f.getenv(variable) != "", false, func(context.Context, string) (string, error) { return read(variable) }},
		{"github", f.getenv("ACTIONS_ID_TOKEN_REQUEST_URL") != "" && f.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN") != "", false, f.github},
		{"circleci", f.getenv("CIRCLE_OIDC_TOKEN_V2") != "", false, func(context.Context, string) (string, error) { return f.variable("CIRCLE_OIDC_TOKEN_V2") }},
		{"buildkite", f.getenv("BUILDKITE") == "true" && f.getenv("BUILDKITE_JOB_ID") != "", false, buildkite},
		{"kubernetes", exists(f.Root + projected), false, func(context.Context, string) (string, error) { return readToken(f.Root + projected) }},
		{"google", f.onGoogle(), true, f.google},
		{"azure", f.onAzure(), true, f.azure},
	}
}

func (f Finder) variable(name string) (string, error) {
	token := f.getenv(name)
	if token == "" {
		return "", fmt.Errorf("%w: the variable %s is not set", ErrNone, client.Printable(name))
	}
	return token, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// readToken follows links: Kubernetes replaces a projected token by turning one. It
// does not wait for a writer, as opening a FIFO would.
func readToken(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read the identity's token: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("read the identity's token: %s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, access.MaxIDToken+1))
	if err != nil {
		return "", fmt.Errorf("read the identity's token: %w", err)
	}
	return string(b), nil
}

// buildkite asks the agent, which asks Buildkite.
func buildkite(ctx context.Context, audience string) (string, error) {
	cmd := exec.CommandContext(ctx, "buildkite-agent", "oidc", "request-token", "--audience", audience)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask buildkite-agent for a token: %w", err) // its stderr is not quoted
	}
	return string(out), nil
}
