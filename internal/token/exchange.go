package token

import (
	"net/url"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// exchangeGrant is the grant_type of RFC 8693.
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// exchangeCredential reads what is to be exchanged (RFC 8693 §2.1). Of the types
// of §3, access_token and refresh_token are those of tokens that we have issued
// ourselves, which are not exchanged: as whatever type they are declared, they are
// recognised by their form, and refused when the request is decided, so that it is
// on record (F-29).
func exchangeCredential(form url.Values, from access.Origin) (access.Credential, error) {
	for _, name := range []string{"actor_token", "actor_token_type"} {
		if form.Has(name) {
			return nil, refuse(invalidRequest, "%s: nobody acts for somebody else here; leave it out", name)
		}
	}
	if form.Has("resource") {
		return nil, refuse(invalidTarget, "resource: name the registry by audience instead")
	}
	switch of := form.Get("subject_token_type"); of {
	case typeJWT, typeIDToken:
	case "":
		return nil, refuse(invalidRequest, "the field subject_token_type is missing; use %s", typeJWT)
	default:
		return nil, refuse(invalidRequest, "subject_token_type %.80q is not exchanged here; use %s or %s", of, typeJWT, typeIDToken)
	}
	if want := form.Get("requested_token_type"); want != "" && want != typeAccessToken {
		return nil, refuse(invalidRequest, "requested_token_type %.80q is not issued here; leave it out, and ask with access_type=offline for an identity token beside", want)
	}
	secret := access.NewSecret(form.Get("subject_token"))
	if secret.IsZero() {
		return nil, refuse(invalidRequest, "the field subject_token is missing")
	}
	c := credentialOf("", secret, from)
	if _, other := c.(access.Password); other {
		c = access.IDToken{Secret: secret, From: from}
	}
	return c, nil
}

// errNotExchanged is about a credential of ours as a subject.
var errNotExchanged = refusedOutside("credentials of this registry are not exchanged")
