// Package browsertest is a browser for tests, and the person who signs in with it on
// the pages of a registry.
package browsertest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// A Browser signs in with a name and a password, or with a provider.
type Browser struct {
	Name, Password string
	// Provider names one, and At does there what its user would: it returns the query
	// with which the browser is sent back. "" for a password.
	Provider string
	At       func(authorize string) url.Values

	http *http.Client
}

// New returns a browser that trusts a CA.
func New(ca []byte) (*Browser, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no CA")
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Browser{http: &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

var (
	flowField = regexp.MustCompile(`name="flow" value="([^"]+)"`)
	backLink  = regexp.MustCompile(`url=(http://[^"]+)"`)
)

// Open goes from the page that a program opens back to the program, and returns the
// last page.
func (b *Browser) Open(page string) (string, error) {
	text, err := b.SignIn(page)
	if err != nil {
		return "", err
	}
	return b.get(text)
}

// SignIn goes from the page that a program opens to the one that leads back, and
// returns where that leads.
func (b *Browser) SignIn(page string) (string, error) {
	text, err := b.get(page)
	if err != nil {
		return "", err
	}
	if text, err = b.prove(page, text); err != nil {
		return "", err
	}
	back := backLink.FindStringSubmatch(text)
	if back == nil {
		return "", fmt.Errorf("no way back in %s", text)
	}
	return html.UnescapeString(back[1]), nil
}

// Approve types the code of a program elsewhere, signs in, and says yes or no. It
// returns the last page.
func (b *Browser) Approve(page, code, decision string) (string, error) {
	text, err := b.post(page, "user_code", code)
	if err != nil {
		return "", err
	}
	if text, err = b.prove(page, text); err != nil {
		return "", err
	}
	return b.post(origin(page)+"/oauth/device/confirm", "flow", flow(text), "decision", decision)
}

// prove signs in on a page that offers it.
func (b *Browser) prove(page, text string) (string, error) {
	at := origin(page)
	if b.Provider == "" {
		return b.post(at+"/oauth/password", "flow", flow(text), "name", b.Name, "password", b.Password)
	}
	resp, err := b.http.Get(at + "/oauth/provider/" + b.Provider + "?flow=" + flow(text))
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return b.get(at + "/oauth/callback/" + b.Provider + "?" + b.At(resp.Header.Get("Location")).Encode())
}

func flow(text string) string {
	if m := flowField.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func origin(page string) string {
	u, err := url.Parse(page)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (b *Browser) get(page string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, page, http.NoBody)
	if err != nil {
		return "", err
	}
	return b.do(r)
}

func (b *Browser) post(page string, pairs ...string) (string, error) {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, page, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", origin(page))
	return b.do(r)
}

func (b *Browser) do(r *http.Request) (string, error) {
	resp, err := b.http.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %d\n%s", r.Method, r.URL.Path, resp.StatusCode, text)
	}
	return string(text), err
}
