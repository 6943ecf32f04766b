package ambient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
)

// Metadata servers, which every machine of the cloud reaches at this address and
// nobody else: plain HTTP that does not leave the host.
const metadataHost = "169.254.169.254"

// ask gets JSON or text. It follows no redirect and uses no proxy for addresses
// of the machine's own network.
func ask(ctx context.Context, to string, header http.Header, direct bool) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, http.NoBody)
	if err != nil {
		return nil, errors.New("ask for a token: the URL is none") // err quotes it
	}
	req.Header = header
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	if direct {
		transport.Proxy = nil
	}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		var outer *url.Error // its text repeats the whole URL
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, fmt.Errorf("ask %s for a token: %s", req.URL.Host, client.Printable(err.Error()))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 2*access.MaxIDToken))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answered %d", resp.StatusCode)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for a token: %w", req.URL.Host, err)
	}
	return b, nil
}

// field returns one text of a JSON object.
func field(b []byte, name string) (string, error) {
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return "", errors.New("the answer with the token is no JSON")
	}
	text, _ := all[name].(string)
	return text, nil
}

// github is docs.github.com, "OpenID Connect reference".
func (f Finder) github(ctx context.Context, audience string) (string, error) {
	u, err := url.Parse(f.getenv("ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !loopback(u.Hostname()) {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no https URL")
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	b, err := ask(ctx, u.String(), http.Header{"Authorization": {"Bearer " + f.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")}}, false)
	if err != nil {
		return "", err
	}
	return field(b, "value")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// onGoogle reports whether the environment says that it is Google's.
func (f Finder) onGoogle() bool {
	return f.getenv("GCE_METADATA_HOST") != "" || f.getenv("K_SERVICE") != "" || f.dmi("product_name", "Google Compute Engine")
}

// google is cloud.google.com, "Verify the identity of Compute Engine instances".
func (f Finder) google(ctx context.Context, audience string) (string, error) {
	host := f.getenv("GCE_METADATA_HOST")
	if host == "" {
		host = metadataHost
	}
	q := url.Values{"audience": {audience}, "format": {"full"}}
	b, err := ask(ctx, "http://"+host+"/computeMetadata/v1/instance/service-accounts/default/identity?"+q.Encode(), http.Header{"Metadata-Flavor": {"Google"}}, true)
	return string(b), err
}

// onAzure reports whether the environment says that it is Azure.
func (f Finder) onAzure() bool {
	return f.getenv("IDENTITY_ENDPOINT") != "" && f.getenv("IDENTITY_HEADER") != "" || f.dmi("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")
}

// azure is learn.microsoft.com, "How to use managed identities"; App Service and
// Container Apps have an endpoint of their own.
func (f Finder) azure(ctx context.Context, audience string) (string, error) {
	to, version, header := "http://"+metadataHost+"/metadata/identity/oauth2/token", "2018-02-01", http.Header{"Metadata": {"true"}}
	if e := f.getenv("IDENTITY_ENDPOINT"); e != "" {
		to, version, header = e, "2019-08-01", http.Header{"X-Identity-Header": {f.getenv("IDENTITY_HEADER")}}
	}
	b, err := ask(ctx, to+"?"+url.Values{"api-version": {version}, "resource": {audience}}.Encode(), header, true)
	if err != nil {
		return "", err
	}
	return field(b, "access_token")
}

// dmi compares what the machine's firmware says of it.
func (f Finder) dmi(name, want string) bool {
	b, err := os.ReadFile(f.Root + "/sys/class/dmi/id/" + name)
	return err == nil && strings.TrimSpace(string(b)) == want
}
