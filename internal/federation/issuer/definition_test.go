package issuer_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// kubernetesExample has the fields of the example in Kubernetes' documentation
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/,
// "Using Authentication Configuration"), and a name.
const kubernetesExample = `
name: example
issuer:
  url: https://example.com
  discoveryURL: https://discovery.example.com/.well-known/openid-configuration
  audiences:
  - my-app
  - my-other-app
  audienceMatchPolicy: MatchAny
claimValidationRules:
- claim: hd
  requiredValue: example.com
- expression: 'claims.hd == "example.com"'
  message: the hd claim must be set to example.com
- expression: 'claims.exp - claims.nbf <= 86400'
  message: total token lifetime must not exceed 24 hours
claimMappings:
  username:
    expression: 'claims.username + ":external-user"'
  uid:
    expression: 'claims.sub'
  extra:
  - key: 'example.com/tenant'
    valueExpression: 'claims.tenant'
userValidationRules:
- expression: "!user.username.startsWith('system:')"
  message: 'username cannot used reserved system: prefix'
- expression: "user.groups.all(group, !group.startsWith('system:'))"
  message: 'groups cannot used reserved system: prefix'
`

// TestParse: what Kubernetes takes is taken; the canonical form means the same and
// is one form.
func TestParse(t *testing.T) {
	for _, document := range []string{
		kubernetesExample,
		"name: gh\npreset: github\nparameters: {owner_id: 65}\nissuer: {audiences: [registry.example.com]}\nsessions: 0s\n",
		"name: k\npreset: kubernetes-in-cluster\nparameters: {review: \"true\"}\nissuer: {audiences: [registry.example.com]}\nmaxTokenLife: 90s\n",
	} {
		d, err := issuer.Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		again, err := issuer.Parse(d.YAML())
		if err != nil || !bytes.Equal(again.YAML(), d.YAML()) || again.Revision() != d.Revision() {
			t.Errorf("%s became\n%s, %v", document, again.YAML(), err)
		}
		other := d
		other.Issuer.Audiences = []string{"another.example.com"}
		if other.Revision() == d.Revision() || strings.Contains(d.Revision(), "@") {
			t.Error("a revision does not name the definition")
		}
	}
}

// TestInvalid: what is wrong is named with its field and its cure.
func TestInvalid(t *testing.T) {
	base := func(fields ...string) string {
		all := map[string]string{
			"name": "ci", "issuer": "{url: https://idp.test, audiences: [reg.test]}", "claimMappings": `{username: {claim: sub, prefix: ""}}`,
		}
		for _, f := range fields {
			key, value, _ := strings.Cut(f, "=")
			all[key] = value
		}
		var b strings.Builder
		for key, value := range all {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
		return b.String()
	}
	if _, err := issuer.Parse([]byte(base())); err != nil {
		t.Fatal(err)
	}
	aud := func(a string) string { return base("issuer={url: https://idp.test, audiences: ['" + a + "']}") }
	user := func(m string) string { return base("claimMappings={username: " + m + "}") }
	rule := func(r string) string { return base("claimValidationRules=[" + r + "]") }
	for _, c := range []struct{ name, document, want string }{
		{"nothing", "", "empty"},
		{"no YAML", "a: [", "not a definition"},
		{"a field that is not known", base("issuer2=x"), "issuer2"},
		{"a field of Kubernetes that is not here", base("issuer={url: https://idp.test, audiences: [reg.test], egressSelectorType: cluster}"), "egressSelectorType"},
		{"a field twice", base() + "name: other\n", "name"},
		{"two documents", base() + "---\nname: x\n", "more than one"},
		{"an anchor", base("name=&a ci"), "anchors"},
		{"too large", base("sessions=" + strings.Repeat(" ", issuer.MaxDocument) + "1h"), "larger"},
		{"no name", base("name=''"), "name:"},
		{"a name with @", base("name=a@b"), "name:"},
		{"a name with a slash", base("name=a/b"), "name:"},
		{"no url", base("issuer={audiences: [reg.test]}"), "issuer.url: missing"},
		{"F-02 http", base("issuer={url: http://idp.test, audiences: [reg.test]}"), "issuer.url: idp.test: only https"},
		{"F-02 a user", base("issuer={url: https://idp.test@evil, audiences: [reg.test]}"), "issuer.url"},
		{"F-02 capitals", base("issuer={url: https://IDP.test, audiences: [reg.test]}"), "lower case"},
		{"F-02 other letters", base("issuer={url: https://ідр.test, audiences: [reg.test]}"), "issuer.url"},
		{"a query", base("issuer={url: https://idp.test/?x=y, audiences: [reg.test]}"), "issuer.url"},
		{"a discovery URL that is no URL", base("issuer={url: https://idp.test, discoveryURL: idp, audiences: [reg.test]}"), "issuer.discoveryURL"},
		{"the same discovery URL", base("issuer={url: https://idp.test, discoveryURL: https://idp.test, audiences: [reg.test]}"), "issuer.discoveryURL: it is the same"},
		{"no PEM", base("issuer={url: https://idp.test, certificateAuthority: x, audiences: [reg.test]}"), "issuer.certificateAuthority"},
		{"F-10 no audience", base("issuer={url: https://idp.test}"), "issuer.audiences: missing"},
		{"F-10 an empty audience", aud(""), "issuer.audiences[0]"},
		{"several audiences without a policy", base("issuer={url: https://idp.test, audiences: [a.test, b.test]}"), "issuer.audienceMatchPolicy: missing"},
		{"another policy", base("issuer={url: https://idp.test, audiences: [a.test], audienceMatchPolicy: MatchAll}"), "MatchAll"},
		{"an audience twice", base("issuer={url: https://idp.test, audiences: [a.test, a.test], audienceMatchPolicy: MatchAny}"), "there twice"},
		{"F-09 GitHub's own", aud("https://github.com/acme"), "others too"},
		{"F-09 AWS", aud("sts.amazonaws.com"), "others too"},
		{"F-09 sigstore", aud("sigstore"), "others too"},
		{"F-09 the API server's", aud("https://kubernetes.default.svc"), "others too"},
		{"F-09 the API server's long one", aud("https://kubernetes.default.svc.cluster.local"), "others too"},
		{"F-09 the issuer's", aud("https://idp.test/acme"), "others too"},
		{"F-09 Azure's", aud("api://AzureADTokenExchange"), "others too"},
		{"F-09 Google's", aud("//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"), "others too"},
		{"F-09 any", aud("*"), "others too"},
		{"everybody at GitHub", base("issuer={url: https://token.actions.githubusercontent.com, audiences: [registry.example.com]}"), "for everybody"},
		{"F-09 CircleCI's", base("issuer={url: https://idp.test/org/o-1, audiences: [o-1]}"), "others too"},
		{"no username", base("claimMappings={}"), "claimMappings.username: it needs one of"},
		{"claim and expression", user("{claim: sub, prefix: '', expression: 'claims.sub'}"), "claimMappings.username: it needs one of"},
		{"a claim without prefix", user("{claim: sub}"), "claimMappings.username.prefix: missing"},
		{"an expression with prefix", user("{expression: claims.sub, prefix: x}"), "claimMappings.username.prefix"},
		{"an expression that gives a number", user("{expression: '1'}"), "gives a int"},
		{"an expression that cannot be read", user("{expression: 'claims.'}"), "at character"},
		{"an expression over something else", user("{expression: 'user.username'}"), "undeclared"},
		{"F-13 an address that nobody verified", user("{expression: claims.email}"), "email_verified"},
		{"F-13 by index", user("{expression: \"claims['email']\"}"), "email_verified"},
		{"groups", base("claimMappings={username: {claim: sub, prefix: ''}, groups: {claim: groups, prefix: ''}}"), "claimMappings.groups"},
		{"a key twice", base("claimMappings={username: {claim: sub, prefix: ''}, extra: [{key: a, claim: a}, {key: a, claim: b}]}"), "claimMappings.extra[1].key"},
		{"a key like uid", base("claimMappings={username: {claim: sub, prefix: ''}, uid: {claim: a}, extra: [{key: uid, claim: b}]}"), "claimMappings.extra[0].key"},
		{"an empty rule", rule("{}"), "claimValidationRules[0]"},
		{"a rule of two kinds", rule("{claim: a, expression: 'true'}"), "claimValidationRules[0]"},
		{"a message for a claim", rule("{claim: a, message: m}"), "claimValidationRules[0].message"},
		{"a rule that says a text", rule("{expression: \"'x'\"}"), "claimValidationRules[0].expression"},
		{"F-32 a regular expression from a token", rule("{expression: 'claims.a.matches(claims.b)'}"), "written out"},
		{"F-32 a regular expression that cannot be read", rule("{expression: \"claims.a.matches('(')\"}"), "cannot be read"},
		{"F-32 a long expression", rule("{expression: \"claims.a == '" + strings.Repeat("x", 3000) + "'\"}"), "the limit is"},
		{"F-32 a nested expression", rule("{expression: \"" + strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) + "\"}"), "cannot be read"},
		{"many rules", rule(strings.Repeat("{claim: a},", 40)), "more than"},
		{"a rule for the user over claims", base("userValidationRules=[{expression: 'claims.a'}]"), "userValidationRules[0].expression"},
		{"sessions without unit", base("sessions=10"), "duration"},
		{"sessions too long", base("sessions=48h"), "sessions"},
		{"sessions too short", base("sessions=1s"), "sessions"},
		{"a life too long", base("maxTokenLife=25h"), "maxTokenLife"},
		{"no keys", base("jwks={}"), "jwks"},
		{"keys of two kinds", base("jwks={keys: '{}', url: https://x.test}"), "jwks"},
		{"keys that are none", base("jwks={keys: '{\"keys\":[]}'}"), "jwks.keys"},
		{"keys by http", base("jwks={url: http://x.test}"), "jwks.url"},
		{"a host that is none", base("allowPrivateAddresses=['10.0.0.0/8']"), "allowPrivateAddresses"},
		{"a review without token", base("tokenReview={url: https://k.test}"), "tokenReview.tokenFile"},
		{"parameters without preset", base("parameters={a: b}"), "parameters"},
	} {
		_, err := issuer.Parse([]byte(c.document))
		if err == nil || !strings.Contains(err.Error(), c.want) || hint(err) == "" {
			t.Errorf("%s: %v (hint %q), want %q", c.name, err, hint(err), c.want)
		}
	}
}

// TestParseFile: a whole configuration, in which no two are one.
func TestParseFile(t *testing.T) {
	entry := func(name, url string) string {
		return "- name: " + name + "\n  issuer: {url: " + url + ", audiences: [reg.test]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n"
	}
	file := func(entries ...string) string {
		return "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n" + strings.Join(entries, "")
	}
	list, err := issuer.ParseFile([]byte(file(entry("a", "https://a.test"), entry("b", "https://b.test"))))
	if err != nil || len(list) != 2 || list[1].Name != "b" {
		t.Fatalf("%v, %v", list, err)
	}
	for _, c := range []struct{ document, want string }{
		{file(entry("a", "https://a.test"), entry("a", "https://b.test")), "jwt[1].name"},
		{file(entry("a", "https://a.test"), entry("b", "https://a.test")), "jwt[1].issuer.url"},
		{file(entry("a", "http://a.test")), "jwt[0].issuer.url"},
		{file(entry("a", "https://a.test")) + "anonymous: {enabled: true}\n", "anonymous"},
		{strings.Replace(file(), "/v1", "/v1alpha1", 1), "apiVersion"},
		{strings.Replace(file(), "Authentication", "Authorization", 1), "kind"},
		{"jwt: []\n", "apiVersion"},
		{file() + "x: y\n", "not a definition"},
	} {
		if _, err := issuer.ParseFile([]byte(c.document)); err == nil || !strings.Contains(err.Error(), c.want) || hint(err) == "" {
			t.Errorf("%q: %v, want %s", c.document, err, c.want)
		}
	}
}

// TestLives: how long a job's identity token may live.
func TestLives(t *testing.T) {
	p := newProvider(t)
	long := issuer.Duration(12 * time.Hour)
	for _, c := range []struct {
		sessions *issuer.Duration
		most     time.Duration
		want     time.Duration
	}{
		{nil, 0, time.Hour},
		{&long, 0, 12 * time.Hour},
		{&long, 2 * time.Hour, 2 * time.Hour},
		{nil, 10 * time.Minute, 10 * time.Minute},
		{new(issuer.Duration), 0, 0},
	} {
		clock, store := newClock(), newMemory()
		d := p.define("idp", func(d *issuer.Definition) { d.Sessions = c.sessions })
		set, err := issuer.New(issuer.Deps{Store: store, Changes: store, Fixed: []issuer.Definition{d}}, issuer.Options{Now: clock.now, MaxSessions: c.most})
		if err != nil {
			t.Fatal(err)
		}
		id := (&room{t, set, store, clock}).accepts(p.token(nil), "job")
		set.Close()
		if id.SessionLife != c.want {
			t.Errorf("%v of at most %s: %s, want %s", c.sessions, c.most, id.SessionLife, c.want)
		}
	}
}

// TestFixturesAreCited: each says where its claims come from.
func TestFixturesAreCited(t *testing.T) {
	for _, p := range issuer.Presets() {
		data, err := os.ReadFile("testdata/presets/" + p.Name + ".yaml")
		if err != nil || !strings.HasPrefix(string(data), "# Claims: https://") {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}
