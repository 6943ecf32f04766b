package issuer

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/outbound"
)

// Limits on a definition.
const (
	maxName      = 64
	maxAudiences = 16
	maxText      = 1024 // bytes of an audience, a value, a message
	maxRules     = 32
	maxHosts     = 16
	maxKeysText  = 24 << 10
	longestToken = 24 * time.Hour
)

// Validate says what is wrong with d, whoever wrote it. Errors: *Invalid.
func (d Definition) Validate() error {
	if err := d.checkName(); err != nil {
		return err
	}
	whole, err := d.expand()
	if err != nil {
		return err
	}
	if err := whole.checkForm(); err != nil {
		return err
	}
	_, err = whole.compile()
	return err
}

func (d Definition) checkName() error {
	if err := access.ValidName(d.Name); err != nil || len(d.Name) > maxName || strings.Contains(d.Name, "/") {
		return invalid("name", fmt.Sprintf("write lower-case letters, digits, '.', '_' and '-', at most %d", maxName), "%.80q is no name for an issuer", d.Name)
	}
	return nil
}

// checkForm checks a definition that is expanded, but for its rules.
func (d Definition) checkForm() error {
	for _, check := range []func() error{d.checkIssuer, d.checkAudiences, d.checkWhose, d.checkKeys, d.checkTimes, d.checkHosts, d.checkReview} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkIssuer: the URL is compared with iss byte for byte, so it is written in
// the one form that issuers write.
func (d Definition) checkIssuer() error {
	const cure = "write it as the issuer writes iss into its tokens: https://HOST/PATH"
	i := d.Issuer
	if i.URL == "" {
		return invalid("issuer.url", cure, "missing")
	}
	u, err := outbound.ParseURL(i.URL)
	switch {
	case err != nil:
		return invalid("issuer.url", cure, "%v", err)
	case u.RawQuery != "" || u.ForceQuery || u.String() != i.URL || u.Host != strings.ToLower(u.Host) || len(i.URL) > maxText:
		return invalid("issuer.url", cure, "%.200q is not a plain URL in lower case", i.URL)
	}
	if i.DiscoveryURL != "" {
		switch _, err := outbound.ParseURL(i.DiscoveryURL); {
		case err != nil:
			return invalid("issuer.discoveryURL", "write the whole address of the discovery document", "%v", err)
		case i.DiscoveryURL == i.URL:
			return invalid("issuer.discoveryURL", "write the whole address of the discovery document, with /.well-known/openid-configuration", "it is the same as issuer.url")
		}
	}
	if i.CertificateAuthority != "" && i.CertificateAuthorityFile != "" {
		return invalid("issuer.certificateAuthorityFile", "leave one of them out", "there is certificateAuthority too")
	}
	if _, err := outbound.New(outbound.Options{CA: []byte(i.CertificateAuthority)}); err != nil {
		return invalid("issuer.certificateAuthority", "give certificates in PEM form, or leave it out for the machine's authorities", "%v", err)
	}
	return nil
}

func (d Definition) checkAudiences() error {
	list, policy := d.Issuer.Audiences, d.Issuer.AudienceMatchPolicy
	switch {
	case len(list) == 0:
		return invalid("issuer.audiences", "name this registry, as in [registry.example.com], and let the jobs ask for a token with this audience", "missing")
	case len(list) > maxAudiences:
		return invalid("issuer.audiences", "leave out what nobody uses", "more than %d", maxAudiences)
	case policy != "" && policy != "MatchAny":
		return invalid("issuer.audienceMatchPolicy", "write MatchAny", "%.40q is not known", policy)
	case len(list) > 1 && policy == "":
		return invalid("issuer.audienceMatchPolicy", "write MatchAny beside several audiences", "missing")
	}
	seen := map[string]bool{}
	for n, audience := range list {
		field := fmt.Sprintf("issuer.audiences[%d]", n)
		switch {
		case !plain(audience) || len(audience) > maxText:
			return invalid(field, "write the name of this registry", "%.80q is no audience", audience)
		case seen[audience]:
			return invalid(field, "leave one out", "%.80q is there twice", audience)
		case shared(audience, d.Issuer.URL):
			return invalid(field, "name this registry, as in registry.example.com, and let the jobs ask for a token with this audience",
				"%.80q is in tokens for others too, who could use them here", audience)
		}
		seen[audience] = true
	}
	return nil
}

// sharedAudiences are what tokens are made for when nobody says what for, or for
// well-known others (F-09); a "*" at the end stands for anything.
var sharedAudiences = []string{
	"api", "vault", "kubernetes", "default", "account", "*",
	"sts.amazonaws.com", "https://sts.amazonaws.com*", "sts.amazonaws.com.cn",
	"sigstore", "fulcio", "https://fulcio.sigstore.dev", "pypi", "testpypi", "crates.io", "rubygems.org", "npm:*",
	"api://AzureADTokenExchange*", "00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com*",
	"https://management.azure.com*", "https://management.core.windows.net*", "https://vault.azure.net*",
	"https://iam.googleapis.com/*", "//iam.googleapis.com/*", "https://sts.googleapis.com*", "https://www.googleapis.com/*",
	"https://kubernetes.default*", "kubernetes.default.svc*", "https://container.googleapis.com*",
	"https://github.com*", "https://gitlab.com*", "https://buildkite.com*", "https://circleci.com*", "https://app.circleci.com*",
}

// shared reports whether others accept an audience too: a well-known one, the
// issuer itself, or what the issuer is called by.
func shared(audience, issuer string) bool {
	a := strings.TrimSuffix(audience, "/")
	for _, s := range sharedAudiences {
		if start, any := strings.CutSuffix(s, "*"); any && start != "" && strings.HasPrefix(a, start) || a == s {
			return true
		}
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return true
	}
	// GHES and GitLab default to URLs of their own host, CircleCI to the last
	// part of the issuer's path.
	host := "https://" + u.Host
	return a == u.Host || a == host || strings.HasPrefix(a, host+"/") || u.Path != "" && a == u.Path[strings.LastIndexByte(u.Path, '/')+1:]
}

// everybodys are issuers that make tokens for all the world.
var everybodys = []string{
	"https://token.actions.githubusercontent.com", "https://gitlab.com", "https://accounts.google.com", "https://agent.buildkite.com",
}

// checkWhose: who is proven is everyone to a policy, so an issuer of everybody's
// tokens needs a rule about whose they are.
func (d Definition) checkWhose() error {
	if len(d.ClaimValidationRules) == 0 && slices.Contains(everybodys, d.Issuer.URL) {
		return invalid("claimValidationRules", "say whose tokens are meant, or use the preset for it", "%s makes tokens for everybody", d.Issuer.URL)
	}
	return nil
}

func (d Definition) checkKeys() error {
	if d.JWKS == nil {
		return nil
	}
	k := *d.JWKS
	given := 0
	for _, text := range []string{k.Keys, k.File, k.URL} {
		if text != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return invalid("jwks", "write the document into keys, or a path into file, or an address into url", "it needs one of keys, file and url")
	case d.Issuer.DiscoveryURL != "":
		return invalid("jwks", "leave out this or issuer.discoveryURL", "keys that are given are not discovered")
	case k.TokenFile != "" && k.URL == "":
		return invalid("jwks.tokenFile", "leave it out", "it is for url")
	case len(k.Keys) > maxKeysText:
		return invalid("jwks.keys", "leave out keys that sign nothing any more", "larger than %d bytes", maxKeysText)
	}
	if k.URL != "" {
		if _, err := outbound.ParseURL(k.URL); err != nil {
			return invalid("jwks.url", "write https://HOST/PATH", "%v", err)
		}
	}
	if k.Keys != "" {
		if _, _, err := readKeys([]byte(k.Keys), d.Preset); err != nil {
			return invalid("jwks.keys", "paste the whole answer of the issuer's jwks_uri", "%v", err)
		}
	}
	return nil
}

func (d Definition) checkTimes() error {
	if d.Sessions != nil {
		if s := time.Duration(*d.Sessions); s < 0 || s > 0 && s < time.Minute || s > longestToken {
			return invalid("sessions", "write 1m to 24h, or 0s for none", "%s is not a useful life", s)
		}
	}
	if m := time.Duration(d.MaxTokenLife); m < 0 || m > 0 && m < time.Minute || m > longestToken {
		return invalid("maxTokenLife", "write 1m to 24h", "%s is not a useful life", m)
	}
	return nil
}

func (d Definition) checkHosts() error {
	if len(d.AllowPrivateAddresses) > maxHosts {
		return invalid("allowPrivateAddresses", "leave out what is not asked", "more than %d", maxHosts)
	}
	if _, err := outbound.New(outbound.Options{Allow: d.AllowPrivateAddresses}); err != nil {
		return invalid("allowPrivateAddresses", "write HOST or HOST:PORT", "%v", err)
	}
	return nil
}

func (d Definition) checkReview() error {
	if d.TokenReview == nil {
		return nil
	}
	r := *d.TokenReview
	if _, err := outbound.ParseURL(r.URL); err != nil {
		return invalid("tokenReview.url", "write the address of the API server, as in https://kubernetes.default.svc", "%v", err)
	}
	if r.TokenFile == "" {
		return invalid("tokenReview.tokenFile", "name the file with the token of a service account that may create tokenreviews", "missing")
	}
	return nil
}

// checkNoFiles refuses what reads files of this machine: whoever may write to
// the database could otherwise have them sent anywhere.
func (d Definition) checkNoFiles() error {
	const cure = "put the definition into the configured file of issuers"
	for field, value := range map[string]string{
		"issuer.certificateAuthorityFile": d.Issuer.CertificateAuthorityFile, "jwks.file": fileOf(d.JWKS), "tokenReview.tokenFile": tokenOf(d.TokenReview),
	} {
		if value != "" {
			return invalid(field, cure, "only definitions of the configured file name files")
		}
	}
	return nil
}

func fileOf(k *JWKS) string {
	if k == nil {
		return ""
	}
	return k.File + k.TokenFile
}

func tokenOf(r *TokenReview) string {
	if r == nil {
		return ""
	}
	return r.TokenFile + r.CertificateAuthorityFile
}

// plain reports whether s is not empty, has no space around it and nothing that
// cannot be seen.
func plain(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && !strings.ContainsFunc(s, unseen)
}
