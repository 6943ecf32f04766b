package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/ambient"
)

// ProviderName is the name that the kubelet calls the program by.
const ProviderName = "sallyport-credential-provider"

// The kubelet's API of image credential providers (KEP-2133, KEP-4412).
const (
	providerVersion = "credentialprovider.kubelet.k8s.io/v1"
	requestKind     = "CredentialProviderRequest"
	responseKind    = "CredentialProviderResponse"
)

// providerUser goes before a secret that is recognised by its form. Without a
// name containerd would ask as a stranger.
const providerUser = "kubernetes"

const (
	// The kubelet waits a minute.
	providerPatience = 45 * time.Second
	// What is cached ends so long before its secret does.
	cacheMargin = 30 * time.Second
)

// A providerRequest is CredentialProviderRequest.
type providerRequest struct {
	APIVersion                string            `json:"apiVersion"`
	Kind                      string            `json:"kind"`
	Image                     string            `json:"image"`
	ServiceAccountToken       string            `json:"serviceAccountToken"`
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations"`
}

// A providerResponse is CredentialProviderResponse.
type providerResponse struct {
	APIVersion   string                  `json:"apiVersion"`
	Kind         string                  `json:"kind"`
	CacheKeyType string                  `json:"cacheKeyType"`
	Duration     string                  `json:"cacheDuration"`
	Auth         map[string]providerAuth `json:"auth"`
}

type providerAuth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// A Provider is sallyport-credential-provider.
type Provider struct {
	Hosts       []string       // the registries it serves; others get nothing
	CA          string         // PEM, beside the system's CAs
	Node        string         // the node's identity, as for package ambient; "" for the pods'
	PassThrough bool           // the password is the service account's own token
	Find        ambient.Finder // of Node
	Options     client.Options
	Now         func() time.Time
}

func runProvider(args []string, in io.Reader, out, errs io.Writer, version string) int {
	p := Provider{Options: client.Options{UserAgent: ProviderName + "/" + version}, Now: time.Now}
	flags := flag.NewFlagSet(ProviderName, flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Func("registry", "a registry to serve, host[:port]; repeatable, required", func(host string) error {
		_, err := client.ServerOf(host)
		p.Hosts = append(p.Hosts, host)
		return err
	})
	caFile := flags.String("ca-file", "", "PEM file with a CA to trust for them, beside the system's")
	flags.StringVar(&p.Node, "node-identity", "", "show the identity of the node instead of the pods': "+strings.Join(ambient.Names, ", ")+", env:VARIABLE or file:PATH")
	flags.BoolVar(&p.PassThrough, "pass-through", false, "answer with the service account's own token (needs cacheType: Token)")
	err := flags.Parse(args)
	switch {
	case err == nil && (flags.NArg() > 0 || len(p.Hosts) == 0):
		err = errors.New("name the registries: --registry HOST")
	case err == nil && p.Node != "" && p.PassThrough:
		err = errors.New("--pass-through is for the tokens of service accounts, not for --node-identity")
	case err == nil && p.Node != "":
		err = ambient.Check(p.Node)
	}
	if err == nil {
		p.CA, err = ReadCA(*caFile)
	}
	if err == nil {
		err = p.Serve(context.Background(), in, out)
	}
	if err != nil {
		fmt.Fprintf(errs, "%s: %s\n", ProviderName, client.Printable(err.Error()))
		return 1
	}
	return 0
}

// Serve answers one request of the kubelet. Nothing is written but the answer.
func (p Provider) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, providerPatience)
	defer cancel()
	r, err := readRequest(in)
	if err != nil {
		return err
	}
	host, err := p.host(r.Image)
	if err != nil {
		return err
	}
	secret, life, err := p.secret(ctx, host, client.Secret{Secret: access.NewSecret(r.ServiceAccountToken)})
	if err != nil {
		return err
	}
	// In both modes the secret is good for the whole registry. Those of service
	// accounts the kubelet keeps apart by itself: its key has the account in it.
	answer, err := json.Marshal(providerResponse{
		APIVersion: providerVersion, Kind: responseKind, CacheKeyType: "Registry",
		Duration: max(0, life-cacheMargin).Truncate(time.Second).String(),
		Auth:     map[string]providerAuth{host: {providerUser, secret.Reveal()}},
	})
	if err != nil {
		return err
	}
	_, err = out.Write(append(answer, '\n'))
	return err
}

// readRequest is strict: what it does not know it may not pass over.
func readRequest(in io.Reader) (providerRequest, error) {
	var r providerRequest
	text, err := read(in)
	if err != nil {
		return r, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, errors.New("standard input holds no " + requestKind + " that this program knows") // err may quote it
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("standard input holds more than one request")
	}
	if r.APIVersion != providerVersion || r.Kind != requestKind {
		return r, fmt.Errorf("the request is not %s of %s: set that apiVersion in the kubelet's configuration", requestKind, providerVersion)
	}
	return r, nil
}

// host returns the registry of an image, which must be one of those to serve.
func (p Provider) host(image string) (string, error) {
	host, _, _ := strings.Cut(image, "/")
	for _, known := range p.Hosts {
		if host == known && len(image) > len(host)+1 {
			return host, nil
		}
	}
	return "", fmt.Errorf("the image %q is of no registry that --registry names", client.Printable(image))
}

// secret returns what to answer for a host and how long that lives.
func (p Provider) secret(ctx context.Context, host string, account client.Secret) (client.Secret, time.Duration, error) {
	none := client.Secret{}
	switch {
	case p.Node == "" && account.IsZero():
		return none, 0, errors.New("the request has no token of a service account: give the provider tokenAttributes, or use --node-identity")
	case p.Node != "" && !account.IsZero():
		return none, 0, errors.New("the request has a token of a service account, and --node-identity would answer it with the node's rights: leave out one of them")
	case p.PassThrough:
		return account, p.remaining(account), nil
	}
	server, err := client.ServerOf(host)
	if err != nil {
		return none, 0, err
	}
	l, err := client.Introduce(ctx, server, p.CA, p.Options)
	if err != nil {
		return none, 0, err
	}
	outside := account
	if p.Node != "" {
		if outside, err = p.Find.Token(ctx, p.Node, l.Service); err != nil {
			return none, 0, err
		}
	}
	asked := p.Now()
	grant, err := client.ExchangeForIdentity(ctx, l, outside, p.Options)
	if errors.Is(err, client.ErrOnlyAccess) && p.Node == "" {
		err = fmt.Errorf("%w: use --pass-through and cacheType: Token", err)
	}
	if err != nil {
		return none, 0, err
	}
	return grant.Token, min(grant.Life-p.Now().Sub(asked), p.remaining(outside)), nil
}

// remaining is how long a JWT says that it lives; 0 when it does not say. It is
// read and not verified: nothing depends on it but how soon it is asked for anew.
func (p Provider) remaining(token client.Secret) time.Duration {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return 0
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1<<40 {
		return 0
	}
	return min(max(0, time.Unix(int64(claims.Exp), 0).Sub(p.Now())), 24*time.Hour)
}
