package issuer_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

// rawClaims writes the claims of a good token with more text at their end, which
// json.Marshal would not write.
func (p *provider) rawClaims(change map[string]any, more string) string {
	body, err := json.Marshal(p.claims(change))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSuffix(string(body), "}") + more + "}"
}

// TestClaims: tokens that an evil issuer has signed. Each is refused, and for
// its reason.
func TestClaims(t *testing.T) {
	p := newProvider(t)
	r := newRoom(t, p.define("idp"))
	unix := func(d time.Duration) int64 { return start.Add(d).Unix() }
	for _, c := range []struct {
		name   string
		change map[string]any
		more   string
		why    string // "": it is accepted
	}{
		{name: "good"},
		{name: "T-10 no exp", change: map[string]any{"exp": nil}, why: "exp is no time"},
		{name: "T-10 exp 0", change: map[string]any{"exp": 0}, why: "exp is no time"},
		{name: "T-10 exp -1", change: map[string]any{"exp": -1}, why: "exp is no time"},
		{name: "T-10 exp as text", change: map[string]any{"exp": "9999999999"}, why: "exp is no time"},
		{name: "T-10 exp 1e300", change: map[string]any{"exp": 1e300}, why: "exp is no time"},
		{name: "T-10 exp 2^63", change: map[string]any{"exp": nil}, more: `,"exp":9223372036854775808`, why: "exp is no time"},
		{name: "T-10 exp 1e999", change: map[string]any{"exp": nil}, more: `,"exp":1e999`, why: "too large"},
		{name: "T-10 exp null", change: map[string]any{"exp": nil}, more: `,"exp":null`, why: "exp is no time"},
		{name: "exp with a fraction", change: map[string]any{"exp": float64(unix(time.Minute)) + 0.5}},
		{name: "iat as text", change: map[string]any{"iat": "1"}, why: "iat is no time"},
		{name: "F-33 ended 59 s ago", change: map[string]any{"iat": unix(-5 * time.Minute), "nbf": nil, "exp": unix(-59 * time.Second)}},
		{name: "F-33 ended 60 s ago", change: map[string]any{"iat": unix(-5 * time.Minute), "nbf": nil, "exp": unix(-60 * time.Second)}, why: "it ended"},
		{name: "F-33 not before 60 s from now", change: map[string]any{"nbf": unix(60 * time.Second)}},
		{name: "F-33 not before 61 s from now", change: map[string]any{"nbf": unix(61 * time.Second)}, why: "nbf is in the future"},
		{name: "F-33 made 2 min from now", change: map[string]any{"iat": unix(2 * time.Minute)}, why: "iat is in the future"},
		{name: "for more than a day", change: map[string]any{"exp": unix(25 * time.Hour)}, why: "the limit is 24h"},
		{name: "for more than a day, not said since when", change: map[string]any{"iat": nil, "nbf": nil, "exp": unix(25 * time.Hour)}, why: "the limit is 24h"},
		{name: "T-17 sub twice", more: `,"sub":"mallory"`, why: "there twice"},
		{name: "T-17 aud twice", more: `,"aud":"other"`, why: "there twice"},
		{name: "T-17 sub twice, once escaped", more: `,"\u0073ub":"mallory"`, why: "there twice"},
		{name: "T-17 twice inside", more: `,"x":{"a":1,"a":2}`, why: "there twice"},
		{name: "T-18 SUB", more: `,"SUB":"root"`, why: "there twice"},
		{name: "T-18 ſub", more: `,"ſub":"root"`, why: "there twice"},
		{name: "T-18 SUB alone", change: map[string]any{"sub": nil}, more: `,"SUB":"root"`, why: "like that of another"},
		{name: "T-18 ſub alone", change: map[string]any{"sub": nil}, more: `,"ſub":"root"`, why: "like that of another"},
		{name: "T-18 EXP alone", change: map[string]any{"exp": nil}, more: `,"EXP":99999999999`, why: "like that of another"},
		{name: "half a character", more: `,"x":"\ud800"`, why: "not Unicode"},
		{name: "T-29 no sub", change: map[string]any{"sub": nil}, why: "is no name"},
		{name: "T-29 sub null", change: map[string]any{"sub": nil}, more: `,"sub":null`, why: "sub is no text"},
		{name: "T-29 sub empty", change: map[string]any{"sub": ""}, why: "sub is no text"},
		{name: "T-29 sub blank", change: map[string]any{"sub": " "}, why: "sub is no text"},
		{name: "T-29 sub 0", change: map[string]any{"sub": 0}, why: "sub is no text"},
		{name: "T-29 sub a list", change: map[string]any{"sub": []string{"job"}}, why: "sub is no text"},
		{name: "T-29 anonymous", change: map[string]any{"sub": "anonymous"}, why: "names nobody"},
		{name: "T-29 System", change: map[string]any{"sub": "System"}, why: "names nobody"},
		{name: "T-29 everyone", change: map[string]any{"sub": "everyone"}, why: "names nobody"},
		{name: "space around sub", change: map[string]any{"sub": "job "}, why: "is no name"},
		{name: "sub with a line end", change: map[string]any{"sub": "job\nroot"}, why: "cannot be seen"},
		{name: "sub turned around", change: map[string]any{"sub": "job\u202e"}, why: "cannot be seen"},
		{name: "sub too long", change: map[string]any{"sub": strings.Repeat("x", 1025)}, why: "is no name"},
		{name: "F-09 another audience", change: map[string]any{"aud": "staging.example.com"}, why: "it is made for"},
		{name: "F-09 no audience", change: map[string]any{"aud": nil}, why: "it is made for"},
		{name: "F-09 an audience that goes on", change: map[string]any{"aud": audience + ".evil"}, why: "it is made for"},
		{name: "F-09 in capitals", change: map[string]any{"aud": strings.ToUpper(audience)}, why: "it is made for"},
		{name: "aud of several", change: map[string]any{"aud": []string{"a", audience}}},
		{name: "aud of none", change: map[string]any{"aud": []string{}}, why: "it is made for"},
		{name: "aud with a number", change: map[string]any{"aud": []any{1, audience}}, why: "not made of texts"},
		{name: "F-02 http", change: map[string]any{"iss": strings.Replace(p.server.URL, "https", "http", 1)}, why: "not trusted"},
		{name: "F-02 a slash", change: map[string]any{"iss": p.server.URL + "/"}, why: "not trusted"},
		{name: "F-02 HTTPS", change: map[string]any{"iss": strings.Replace(p.server.URL, "https", "HTTPS", 1)}, why: "not trusted"},
		{name: "F-02 a user", change: map[string]any{"iss": p.server.URL + "@evil"}, why: "not trusted"},
		{name: "F-02 a dot", change: map[string]any{"iss": strings.Replace(p.server.URL, "127.0.0.1", "127.0.0.1.", 1)}, why: "not trusted"},
		{name: "no iss", change: map[string]any{"iss": nil}, why: "names no issuer"},
		{name: "iss of two", change: map[string]any{"iss": []string{p.server.URL}}, why: "names no issuer"},
		{name: "very deep", more: `,"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20), why: "too many values"},
		{name: "very many", more: `,"x":[` + strings.Repeat("1,", 3000) + "1]", why: "too many values"},
		{name: "very large", more: `,"x":"` + strings.Repeat("x", 16<<10) + `"`, why: "at most 16384 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := signRaw(t, `{"alg":"ES256","kid":"k1","typ":"JWT"}`, p.rawClaims(c.change, c.more), "ec", jose.ES256)
			if r := r.in(t); c.why == "" {
				r.accepts(token, "job")
			} else {
				r.refuses(token, c.why)
			}
		})
	}
}

// TestForm: headers, signatures and texts that are not those of a good token.
func TestForm(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	p.show(jwk("k1", "ec"), jwk("r", "rsa"), jwk("e384", "ec384"), jwk("e521", "ec521"))
	other.show(jwk("k1", "ec2")) // the same kid (F-01)
	r := newRoom(t, p.define("idp"), other.define("other"))
	body := p.rawClaims(nil, "")
	header := func(more string) string { return `{"alg":"ES256","kid":"k1"` + more + `}` }
	es := func(head string) string { return signRaw(t, head, body, "ec", jose.ES256) }
	good := es(header(""))
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	for _, c := range []struct{ name, token, why string }{
		{"good", good, ""},
		{"typ in lower case", es(header(`,"typ":"jwt"`)), ""},
		{"x5t", es(header(`,"x5t":"x"`)), ""},
		{"RS256", p.signed("r", "rsa", jose.RS256, p.claims(nil)), ""},
		{"PS512", p.signed("r", "rsa", jose.PS512, p.claims(nil)), ""},
		{"ES384", p.signed("e384", "ec384", jose.ES384, p.claims(nil)), ""},
		{"ES512", p.signed("e521", "ec521", jose.ES512, p.claims(nil)), ""},
		{"F-01 signed by another issuer", other.signed("k1", "ec2", jose.ES256, p.claims(nil)), "signature is wrong"},
		{"F-01 says it is another's", p.signed("k1", "ec", jose.ES256, other.claims(nil)), "signature is wrong"},
		{"alg none", b64([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + ".", "alg is none of"},
		{"alg HS256 with the public key", es(`{"alg":"HS256","kid":"k1"}`), "alg is none of"},
		{"EdDSA", es(`{"alg":"EdDSA","kid":"k1"}`), "alg is none of"},
		{"alg in lower case", es(`{"alg":"es256","kid":"k1"}`), "alg is none of"},
		{"alg of another key", es(`{"alg":"RS256","kid":"k1"}`), "a key that the issuer does not show"},
		{"T-17 alg twice", es(`{"alg":"ES256","kid":"k1","alg":"none"}`), "there twice"},
		{"ALG", es(`{"ALG":"ES256","kid":"k1"}`), "like that of another"},
		{"T-19 crit", es(header(`,"crit":["x"],"x":1`)), "crit is not for tokens"},
		{"T-19 b64", es(header(`,"b64":false,"crit":["b64"]`)), "is not for tokens"},
		{"jwk", es(header(`,"jwk":{}`)), "jwk is not for tokens"},
		{"jku", es(header(`,"jku":"https://evil.example"`)), "jku is not for tokens"},
		{"x5u", es(header(`,"X5U":"https://evil.example"`)), "x5u is not for tokens"},
		{"cty", es(header(`,"cty":"JWT"`)), "another token"},
		{"typ of an access token", es(header(`,"typ":"at+jwt"`)), "typ is not JWT"},
		{"typ a number", es(header(`,"typ":1`)), "typ is not JWT"},
		{"kid a number", es(`{"alg":"ES256","kid":1}`), "kid is no text"},
		{"kid a path", es(`{"alg":"ES256","kid":"../../k1"}`), "a key that the issuer does not show"},
		{"no kid where there are several keys", es(`{"alg":"ES256"}`), "a key that the issuer does not show"},
		{"one character changed", parts[0] + "." + parts[1] + "." + swapped(parts[2]), "signature is wrong"},
		{"no signature", parts[0] + "." + parts[1] + ".", ""},
		{"padding", parts[0] + "." + parts[1] + "=." + parts[2], "not a signed token"},
		{"four parts", good + ".x", "not a signed token"},
		{"five parts", good + ".x.y", "not a signed token"},
		{"the JSON form", `{"payload":"x"}`, "not a signed token"},
		{"nothing", "", "not a signed token"},
		{"a line end", good + "\n", "not a signed token"},
		{"bits that mean nothing", parts[0] + "." + parts[1][:len(parts[1])-1] + "." + parts[2], ""},
		{"something after the header", es(header("") + " {}"), "something follows"},
		{"a list", signRaw(t, header(""), `[1]`, "ec", jose.ES256), "not an object"},
		{"bytes", signRaw(t, header(""), "{\"iss\":\"\xff\"}", "ec", jose.ES256), "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := r.in(t)
			switch {
			case c.why != "":
				r.refuses(c.token, c.why)
			case c.name == "no signature" || c.name == "bits that mean nothing":
				r.refuses(c.token, "")
			default:
				r.accepts(c.token, "job")
			}
		})
	}
}

// swapped returns s with its first character changed.
func swapped(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// TestMapping: what claims become, by the rules of a definition.
func TestMapping(t *testing.T) {
	p := newProvider(t)
	extra := func(key, expression string) issuer.Mappings {
		return issuer.Mappings{Username: issuer.Mapping{Claim: "sub", Prefix: new(string)}, Extra: []issuer.Extra{{Key: key, ValueExpression: expression}}}
	}
	rule := func(expression string) func(*issuer.Definition) {
		return func(d *issuer.Definition) {
			d.ClaimValidationRules = []issuer.ClaimRule{{Expression: expression, Message: "said no"}}
		}
	}
	mapping := func(m issuer.Mappings) func(*issuer.Definition) {
		return func(d *issuer.Definition) { d.ClaimMappings = m }
	}
	email := mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "email", Prefix: new(string)}})
	prefix := "gh:"
	verified := func(v any) map[string]any { return map[string]any{"email": "a@corp.test", "email_verified": v} }
	long := strings.Repeat("x", 1025)
	for _, c := range []struct {
		name   string
		change func(*issuer.Definition)
		claims map[string]any
		want   string // name, and claims behind it
		why    string
	}{
		{"a prefix", mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "sub", Prefix: &prefix}}), nil, "gh:job map[]", ""},
		{"T-29 a prefix alone", mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "x", Prefix: &prefix}}), map[string]any{"x": ""}, "", "is no name"},
		{"T-29 a prefix before a reserved name", mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "sub", Prefix: &prefix}}), map[string]any{"sub": "system"}, "", "names nobody"},
		{"an expression", mapping(issuer.Mappings{Username: issuer.Mapping{Expression: "'r:' + claims.x"}}), map[string]any{"x": "y"}, "r:y map[]", ""},
		{"an expression without its claim", mapping(issuer.Mappings{Username: issuer.Mapping{Expression: "'r:' + claims.x"}}), nil, "", "no such key"},
		{"an expression that gives a number", mapping(issuer.Mappings{Username: issuer.Mapping{Expression: "claims.x"}}), map[string]any{"x": 1}, "", "is no text"},
		{"a username that is a number", mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "x", Prefix: new(string)}}), map[string]any{"x": 1}, "", "is no text"},
		{"uid", mapping(issuer.Mappings{Username: issuer.Mapping{Claim: "sub", Prefix: new(string)}, UID: issuer.Mapping{Claim: "x"}}), map[string]any{"x": "u"}, "job map[uid:u]", ""},
		{"F-13 verified", email, verified(true), "a@corp.test map[]", ""},
		{"F-13 false", email, verified(false), "", "not verified"},
		{"F-13 a text", email, verified("true"), "", "not verified"},
		{"F-13 a number", email, verified(1), "", "not verified"},
		{"F-13 missing", email, verified(nil), "", "not verified"},
		{"F-14 two @", email, map[string]any{"email": "a@corp.test@evil", "email_verified": true}, "", "not verified"},
		{"F-14 quotes", email, map[string]any{"email": `"a@corp.test"@evil`, "email_verified": true}, "", "not verified"},
		{"F-14 a comment", email, map[string]any{"email": "a@evil(@corp.test)", "email_verified": true}, "", "not verified"},
		{"F-14 other letters", email, map[string]any{"email": "a@cоrp.test", "email_verified": true}, "", "not verified"},
		{"F-16 one of a list", mapping(extra("g", "claims.groups")), map[string]any{"groups": []string{"dev"}}, "job map[g:dev]", ""},
		{"F-16 what is left of a list", mapping(extra("g", "claims.groups.filter(g, g.startsWith('d'))")), map[string]any{"groups": []string{"a", "dev"}}, "job map[g:dev]", ""},
		{"F-13 an expression that looks", mapping(issuer.Mappings{Username: issuer.Mapping{Expression: "claims.?email_verified.orValue(false) == true ? claims.email : ''"}}), verified("true"), "", "is no name"},
		{"F-13 a rule that looks", func(d *issuer.Definition) {
			d.ClaimMappings = issuer.Mappings{Username: issuer.Mapping{Expression: "claims.email"}}
			d.ClaimValidationRules = []issuer.ClaimRule{{Expression: "claims.email_verified == true", Message: "said no"}}
		}, verified(1), "", "said no"},
		{"F-13 an extra that looks", func(d *issuer.Definition) {
			d.ClaimMappings = extra("mail", "claims['email_verified'] ? 'yes' : ''")
			d.ClaimMappings.Username = issuer.Mapping{Expression: "claims['email']"}
		}, verified(true), "a@corp.test map[mail:yes]", ""},
		{"F-16 none of a list", mapping(extra("g", "claims.groups")), map[string]any{"groups": []string{}}, "job map[]", ""},
		{"F-16 several of a list", mapping(extra("g", "claims.groups")), map[string]any{"groups": []string{"a", "b"}}, "", "is no text"},
		{"F-16 lists in lists", mapping(extra("g", "claims.groups")), map[string]any{"groups": []any{[]any{map[string]any{}}}}, "", "is no text"},
		{"F-16 asked of a list", mapping(extra("g", "'dev' in claims.groups ? 'yes' : ''")), map[string]any{"groups": []string{"a", "dev"}}, "job map[g:yes]", ""},
		{"F-16 asked of a text", mapping(extra("g", "'dev' in claims.groups ? 'yes' : ''")), map[string]any{"groups": "dev"}, "", "no such overload"},
		{"null", mapping(extra("g", "claims.x")), map[string]any{"x": json.RawMessage("null")}, "job map[]", ""},
		{"a claim too long", mapping(extra("g", "claims.x")), map[string]any{"x": long}, "", "too long"},
		{"a rule", rule("claims.x == 'y'"), map[string]any{"x": "y"}, "job map[]", ""},
		{"a rule that says no", rule("claims.x == 'y'"), map[string]any{"x": "z"}, "", "said no"},
		{"F-32 a missing claim", rule("claims.x == 'y'"), nil, "", "said no"},
		{"F-32 not of a missing claim", rule("claims.x != 'y'"), nil, "", "said no"},
		{"F-32 another type", rule("claims.x.startsWith('y')"), map[string]any{"x": 1}, "", "said no"},
		{"F-32 neither yes nor no", rule("claims.x"), map[string]any{"x": "true"}, "", "said no"},
		{"F-32 loops in loops", rule("claims.x.all(a, claims.x.all(b, claims.x.all(c, a + b + c > 0)))"), map[string]any{"x": ones(500)}, "", "cost"},
		{"F-22 a text is no boolean", rule("claims.ref_protected == true"), map[string]any{"ref_protected": "true"}, "", "said no"},
		{"optional values", rule("claims.?a.?b.orValue('none') == 'none'"), nil, "job map[]", ""},
		{"a required value of another type", func(d *issuer.Definition) {
			d.ClaimValidationRules = []issuer.ClaimRule{{Claim: "x", RequiredValue: "1"}}
		}, map[string]any{"x": 1}, "", "claim x"},
		{"a required empty value that is missing", func(d *issuer.Definition) {
			d.ClaimValidationRules = []issuer.ClaimRule{{Claim: "x"}}
		}, nil, "", "claim x"},
		{"a rule for the user", func(d *issuer.Definition) {
			d.ClaimMappings = extra("k", "'v'")
			d.UserValidationRules = []issuer.UserRule{{Expression: "user.username == 'job' && user.extra['k'] == ['v'] && user.groups == [] && user.uid == ''"}}
		}, nil, "job map[k:v]", ""},
		{"a rule for the user says no", func(d *issuer.Definition) {
			d.UserValidationRules = []issuer.UserRule{{Expression: "!user.username.startsWith('j')", Message: "reserved"}}
		}, nil, "", "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, token := newRoom(t, p.define("idp", c.change)), p.token(c.claims)
			if c.why != "" {
				r.refuses(token, c.why)
				return
			}
			id, err := r.ask(token)
			if got := fmt.Sprint(id.Principal.Name, " ", id.Principal.Claims); err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func ones(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = 1
	}
	return out
}
