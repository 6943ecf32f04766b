package token

import (
	"cmp"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
)

// maxForm bounds the body of POST /token, in bytes.
const maxForm = 64 << 10

// A request is a token request whose form is right.
type request struct {
	credential access.Credential // nil: anonymous
	scope      access.Scope
	from       access.Origin
	service    string // the audience: ours, or one of the others
	offline    bool   // an identity token is wanted too
	exchange   bool   // of a token from elsewhere (RFC 8693)
	client     string // who asks, for the list of sessions
	event      *ledger.Event
}

// parse reads a token request: docker's token.md for GET, RFC 6749 §4.3.2 and
// §6 with docker's oauth.md for POST. Errors: *refusal.
func (s *Service) parse(r *http.Request, from access.Origin) (request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request{}, refuse(invalidRequest, "the query is not well-formed")
	}
	for _, name := range []string{"access_token", "token", "id_token", "refresh_token", "password", "client_secret", "subject_token", "actor_token"} {
		if query.Has(name) {
			return request{}, refuse(invalidRequest, "%s in the query: credentials do not belong into a URL", name)
		}
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return request{}, refuse(invalidRequest, "more than one Authorization header")
	}
	var req request
	fields := query
	if r.Method == http.MethodPost {
		if fields, err = readForm(r); err != nil {
			return request{}, err
		}
	}
	if err := checkFields(fields); err != nil {
		return request{}, err
	}
	req.exchange = r.Method == http.MethodPost && fields.Get("grant_type") == exchangeGrant
	if req.service, err = s.serviceOf(fields, req.exchange); err != nil {
		return request{}, err
	}
	if r.Method == http.MethodPost {
		req.credential, err = formCredential(r, fields, from)
		// Who logs in with a browser wants to stay logged in.
		req.offline = fields.Get("access_type") == "offline" || grantOf(req.credential) != [32]byte{}
	} else {
		req.credential, err = basicCredential(r, from)
		if chain := inbound.Certificate(r); err == nil && req.credential == nil && len(chain) > 0 {
			// A credential in the request decides alone (T-31); without one the
			// connection's certificate counts, and a bad one is not anonymous.
			req.credential = access.Certificate{Chain: chain, From: from}
		}
		req.offline = fields.Get("offline_token") == "true"
	}
	if err != nil {
		return request{}, err
	}
	if req.scope, err = access.ParseScopes(fields["scope"]); err != nil {
		return request{}, refuse(invalidRequest, "%s", err)
	}
	req.from = from
	req.client = clientOf(from, fields.Get("client_id"))
	return req, nil
}

// readForm reads the body of a POST.
func readForm(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, refuse(invalidRequest, "the body must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	switch {
	case err != nil:
		return nil, refuse(invalidRequest, "the body could not be read")
	case len(body) > maxForm:
		return nil, refuse(invalidRequest, "the body is larger than %d bytes", maxForm)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(invalidRequest, "the body is not a well-formed form")
	}
	return form, nil
}

// checkFields refuses fields that come twice (RFC 6749 §3.2). A token is for one
// target (RFC 8693 §2.2.2).
func checkFields(fields url.Values) error {
	for name, values := range fields {
		if len(values) > 1 && name != "scope" {
			c := invalidRequest
			if name == "audience" || name == "resource" {
				c = invalidTarget
			}
			return refuse(c, "the field %.40q comes more than once", name)
		}
	}
	return nil
}

// serviceOf returns the audience that a request asks for; without one it means
// ours. An exchange may call it so, too.
func (s *Service) serviceOf(fields url.Values, exchange bool) (string, error) {
	asked, bad := fields.Get("service"), invalidRequest
	if exchange {
		audience := fields.Get("audience")
		bad = invalidTarget
		if asked != "" && audience != "" && asked != audience {
			return "", refuse(bad, "audience and service name two registries; leave one out")
		}
		asked = cmp.Or(asked, audience)
	}
	switch {
	case asked == "":
		return s.options.Service, nil
	case asked == s.options.Service, slices.Contains(s.options.Services, asked):
		return asked, nil
	}
	return "", refuse(bad, "service %.100q is not served here; ask for %q", asked, s.options.Service)
}

// basicCredential reads the Authorization header of a GET. Without one, and
// with an empty name and an empty password, the request is anonymous.
func basicCredential(r *http.Request, from access.Origin) (access.Credential, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, nil
	}
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, &refusal{status: http.StatusUnauthorized, code: invalidClient, text: "only Basic authentication is accepted here"}
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(encoded)
	name, password, found := strings.Cut(string(pair), ":")
	if err != nil || !found {
		return nil, refuse(invalidRequest, "the Authorization header is not well-formed Basic")
	}
	if name == "" && password == "" {
		return nil, nil
	}
	return credentialOf(name, access.NewSecret(password), from), nil
}

// formCredential reads the credential of a POST.
func formCredential(r *http.Request, form url.Values, from access.Origin) (access.Credential, error) {
	if r.Header.Get("Authorization") != "" {
		return nil, refuse(invalidRequest, "credentials come in the Authorization header or in the form, and a POST takes the form's")
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		return nil, refuse(invalidRequest, "the field grant_type is missing")
	case second(form, grant) != "":
		return nil, refuse(invalidRequest, "both a %s and a %s", slots[grant], second(form, grant))
	case grant == "password":
		if !form.Has("password") {
			return nil, refuse(invalidRequest, "the field password is missing")
		}
		return credentialOf(form.Get("username"), access.NewSecret(form.Get("password")), from), nil
	case grant == "refresh_token":
		secret := access.NewSecret(form.Get("refresh_token"))
		if secret.IsZero() {
			return nil, refuse(invalidRequest, "the field refresh_token is missing")
		}
		c, ok := credentialOf("", secret, from).(access.RefreshToken)
		if !ok {
			return nil, refuse(invalidGrant, "the refresh_token is not an identity token of ours")
		}
		return c, nil
	case grant == exchangeGrant:
		return exchangeCredential(form, from)
	case grant == "authorization_code", grant == deviceGrant:
		return codeCredential(form, grant, from)
	default:
		return nil, refuse(unsupportedGrantType, "grant_type %.60q is not supported; use password, refresh_token or %s", grant, exchangeGrant)
	}
}

// slots are the fields that hold the credential of a grant.
var slots = map[string]string{"password": "password", "refresh_token": "refresh_token", exchangeGrant: "subject_token"}

// second returns the field of another grant that holds a credential too, or "".
func second(form url.Values, grant string) string {
	for _, field := range []string{"password", "refresh_token", "subject_token"} {
		if own := slots[grant]; own != "" && field != own && form.Get(field) != "" {
			return field
		}
	}
	return ""
}

// deviceGrant is the grant_type of RFC 8628.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// codeCredential reads what a program of ours shows that logs in with a browser.
func codeCredential(form url.Values, grant string, from access.Origin) (access.Credential, error) {
	if form.Get("client_id") != ClientID {
		return nil, refuse(invalidRequest, "client_id: this grant is for %q", ClientID)
	}
	if form.Has("client_secret") || form.Has("password") || form.Has("refresh_token") {
		return nil, refuse(invalidRequest, "a second credential beside the code")
	}
	if grant == deviceGrant {
		return access.DeviceCode{Secret: access.NewSecret(form.Get("device_code")), From: from}, nil
	}
	c := access.Code{
		Secret: access.NewSecret(form.Get("code")), Verifier: access.NewSecret(form.Get("code_verifier")),
		Redirect: form.Get("redirect_uri"), From: from,
	}
	if n := len(c.Verifier.Reveal()); n < 43 || n > 128 {
		return nil, refuse(invalidRequest, "code_verifier: 43 to 128 characters (RFC 7636)")
	}
	return c, nil
}

// credentialOf says what kind of credential a secret is, by its form alone: it
// is never tried as anything else. Only a password goes with the name: clients
// send many beside a token ("", "<token>", "oauth2accesstoken").
func credentialOf(name string, secret access.Secret, from access.Origin) access.Credential {
	switch s := secret.Reveal(); {
	case access.RefreshSecret.Claims(s):
		return access.RefreshToken{Secret: secret, From: from}
	case access.KeySecret.Claims(s):
		return access.AccessKey{Secret: secret, From: from}
	case access.ResetSecret.Claims(s):
		return access.ResetCode{Secret: secret, From: from}
	case access.CodeSecret.Claims(s), access.DeviceSecret.Claims(s):
		return access.Code{Secret: secret, From: from} // without a verifier: good for nothing
	case looksLikeJWT(s):
		return access.IDToken{Secret: secret, From: from}
	}
	return access.Password{Name: name, Secret: secret, From: from}
}

// looksLikeJWT reports whether s has three parts and the first can be the
// header of a JWT: "eyJ" is how base64url writes `{"`.
func looksLikeJWT(s string) bool {
	return strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2
}

// maxClient bounds each part of the description of a client, in bytes.
const maxClient = 80

// clientOf describes who asks: client id, user agent and address, in printable
// ASCII.
func clientOf(from access.Origin, id string) string {
	address := ""
	if from.Address.IsValid() {
		address = from.Address.String()
	}
	var out []string
	for _, part := range []string{id, from.UserAgent, address} {
		if part = inbound.Printable(part, maxClient); part != "" {
			out = append(out, part)
		}
	}
	return strings.Join(out, " ")
}
