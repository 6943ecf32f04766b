package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

var b64 = base64.RawURLEncoding

// A forger makes tokens that are right but for one thing. It holds our key, so
// that each is refused for that one thing.
type forger struct {
	*fixture
	key  *ecdsa.PrivateKey
	kid  string
	good map[string]any
	text string // the good token
}

func newForger(f *fixture) forger {
	f.t.Helper()
	private, kid := f.signingKey()
	text := f.access("alice:"+password("alice"), "repository:team-a/app:pull,push")
	return forger{f, private.(*ecdsa.PrivateKey), kid, claims(f.t, text), text}
}

// raw signs the two texts as they are.
func (f forger) raw(header, payload string) string {
	f.t.Helper()
	return f.sign(b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)))
}

// sign signs the first two parts of a token as they are.
func (f forger) sign(signed string) string {
	f.t.Helper()
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, f.key, sum[:])
	f.ok(err)
	if n := elliptic.P256().Params().N; s.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		s.Sub(n, s)
	}
	return signed + "." + b64.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// header returns our header with text put into it.
func (f forger) header(insert string) string {
	return `{"alg":"ES256",` + insert + `"kid":"` + f.kid + `","typ":"JWT"}`
}

// payload returns the good payload, in our order, with one text replaced.
func (f forger) payload(from, to string) string {
	f.t.Helper()
	raw, err := b64.DecodeString(strings.Split(f.text, ".")[1])
	f.ok(err)
	if !strings.Contains(string(raw), from) {
		f.t.Fatalf("%q is not in %s", from, raw)
	}
	return strings.Replace(string(raw), from, to, 1)
}

func TestForgery(t *testing.T) {
	onSQLite(t, func(t *testing.T, fx *fixture) {
		f := newForger(fx)
		f.alive("the good token", f.text)
		f.alive("the forger's own good token", f.raw(f.header(""), f.payload("", "")))
		parts := strings.Split(f.text, ".")
		signature, err := b64.DecodeString(parts[2])
		f.ok(err)
		signed := parts[0] + "." + parts[1] + "."

		for _, alg := range []string{"none", "None", "NONE", "nOnE", "HS256", "ES384", "EdDSA", ""} {
			h := b64.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"` + f.kid + `","typ":"JWT"}`))
			for _, sig := range []string{"", ".", parts[2]} {
				f.dead("T-01 alg "+alg, h+"."+parts[1]+"."+sig)
			}
			f.dead("T-01 two parts", h+"."+parts[1])
		}
		f.hmacForgeries("T-02")
		f.rsaForgeries("T-03")
		f.embeddedKeys()

		for _, insert := range []string{`"crit":["x"],"x":1,`, `"crit":["b64"],"b64":false,`, `"b64":false,`, `"crit":[],`, `"cty":"JWT",`, `"zip":"DEF",`, `"alg":"ES256",`, `"KID":"x",`, ` `} {
			f.dead("T-19 header "+insert, f.raw(f.header(insert), f.payload("", "")))
		}
		f.dead("T-14 typ", f.raw(`{"alg":"ES256","kid":"`+f.kid+`","typ":"at+jwt"}`, f.payload("", "")))
		f.dead("typ absent", f.raw(`{"alg":"ES256","kid":"`+f.kid+`"}`, f.payload("", "")))
		f.dead("T-05 kid absent", f.raw(`{"alg":"ES256","typ":"JWT"}`, f.payload("", "")))
		f.dead("T-05 kid of nobody", f.raw(`{"alg":"ES256","kid":"`+strings.Repeat("A", 43)+`","typ":"JWT"}`, f.payload("", "")))
		f.dead("kid with a path", f.raw(`{"alg":"ES256","kid":"../../etc/passwd","typ":"JWT"}`, f.payload("", "")))

		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		high := new(big.Int).Sub(elliptic.P256().Params().N, s)
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		f.ok(err)
		for name, sig := range map[string][]byte{
			"T-23 (r, n-s)": append(signature[:32:32], high.FillBytes(make([]byte, 32))...),
			"T-25 zeros":    make([]byte, 64),
			"T-25 DER":      der,
			"T-25 r > n":    []byte(strings.Repeat("\xff", 64)),
			"T-25 r = 0":    append(make([]byte, 32), signature[32:]...),
			"T-25 s = n":    append(signature[:32:32], elliptic.P256().Params().N.Bytes()...),
			"T-25 short":    signature[:63],
			"T-25 long":     append(signature[:64:64], 0),
			"T-25 empty":    nil,
		} {
			f.dead(name, signed+b64.EncodeToString(sig))
		}
		f.dead("T-23 padding", f.text+"==")
		f.dead("T-23 unused bits", f.text[:len(f.text)-1]+string(rune(f.text[len(f.text)-1]+1)))
		f.dead("T-23 space behind", f.text+" ")
		f.dead("T-23 space before", " "+f.text)
		f.dead("T-23 line feed in the signature", f.text[:len(f.text)-4]+"\n"+f.text[len(f.text)-4:])
		f.dead("T-23 line feed in the payload, signed", f.sign(parts[0]+"."+parts[1][:8]+"\n"+parts[1][8:]))
		f.dead("T-23 unused bits in the header, signed", f.sign(parts[0]+"="+"."+parts[1]))
		f.dead("T-23 line feed in the payload", parts[0]+"."+parts[1][:8]+"\r\n"+parts[1][8:]+"."+parts[2])
		f.dead("T-23 base64 with + and /", strings.NewReplacer("-", "+", "_", "/").Replace(f.text)+"=")

		jsonForm, err := json.Marshal(map[string]any{"payload": parts[1], "protected": parts[0], "signature": parts[2]})
		f.ok(err)
		general, err := json.Marshal(map[string]any{"payload": parts[1], "signatures": []any{map[string]any{"protected": parts[0], "signature": parts[2]}}})
		f.ok(err)
		f.dead("T-21 flattened JSON", string(jsonForm))
		f.dead("T-21 general JSON", string(general))
		f.dead("T-21 two signatures", f.text+"."+parts[2])
		f.dead("T-22 8 KiB", f.raw(f.header(""), f.payload(`"team-a/app"`, `"`+strings.Repeat("x", 8<<10)+`"`)))
		f.dead("T-22 64 KiB", strings.Repeat("x", 64<<10))
		f.dead("T-22 a million dots", strings.Repeat(".", 1_000_000))
		for _, s := range []string{".", "..", "...", "a.b.c", "\x00", "\xff.\xff.\xff", "eyJ", "Bearer " + f.text} {
			f.dead("T-33", s)
		}
	})
}

// T-02: HMAC with anything of ours that is public.
func (f forger) hmacForgeries(id string) {
	spki, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	f.ok(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	w := httptest.NewRecorder()
	f.s.JWKS().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	point, err := f.key.PublicKey.Bytes()
	f.ok(err)
	for _, key := range [][]byte{text, []byte(strings.TrimSpace(string(text))), spki, w.Body.Bytes(), point, point[1:], nil} {
		for _, alg := range []string{"HS256", "HS384", "HS512", "ES256"} {
			h := b64.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"` + f.kid + `","typ":"JWT"}`))
			signed := h + "." + strings.Split(f.text, ".")[1]
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(signed))
			f.dead(id+" "+alg, signed+"."+b64.EncodeToString(mac.Sum(nil)))
			f.dead(id+" "+alg+", doubled", signed+"."+b64.EncodeToString(append(mac.Sum(nil), mac.Sum(nil)...)))
		}
	}
}

// T-03: other algorithms under the right key id.
func (f forger) rsaForgeries(id string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	f.ok(err)
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS512", "ES256"} {
		signed := b64.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"`+f.kid+`","typ":"JWT"}`)) + "." + strings.Split(f.text, ".")[1]
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		f.ok(err)
		f.dead(id+" "+alg, signed+"."+b64.EncodeToString(sig))
	}
	for _, alg := range []string{"ES384", "ES512", "PS256"} {
		f.dead(id+" right key under "+alg, f.raw(`{"alg":"`+alg+`","kid":"`+f.kid+`","typ":"JWT"}`, f.payload("", "")))
	}
}

// T-05, T-06: keys that come in the header are not read, and no address in it is
// visited.
func (f forger) embeddedKeys() {
	f.t.Helper()
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { f.t.Errorf("T-06: the server visited %s", r.URL) }))
	defer sink.Close()
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.ok(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &mine.PublicKey, mine)
	f.ok(err)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: &mine.PublicKey, KeyID: f.kid, Algorithm: "ES256", Use: "sig"})
	f.ok(err)
	for name, insert := range map[string]string{
		"T-05 jwk": `"jwk":` + string(jwk) + `,`,
		"T-06 x5c": `"x5c":["` + base64.StdEncoding.EncodeToString(cert) + `"],`,
		"T-06 jku": `"jku":"` + sink.URL + `/jwks.json",`,
		"T-06 x5u": `"x5u":"` + sink.URL + `/cert.pem",`,
		"T-05 own": ``,
	} {
		attacker := f
		attacker.key = mine
		f.dead(name+", attacker's key", attacker.raw(f.header(insert), f.payload("", "")))
		if insert != "" {
			f.dead(name+", our key", f.raw(f.header(insert), f.payload("", "")))
		}
	}
}

func TestClaimForgery(t *testing.T) {
	onSQLite(t, func(t *testing.T, fx *fixture) {
		f := newForger(fx)
		uid := f.good["uid"].(string)
		session := func(a answer) string { return claims(t, a.Token)["sid"].(string) }
		own, bobs := session(f.login("alice")), session(f.login("bob"))
		narrowing, err := access.NewNarrowing(nil, []string{"pull"}, nil)
		f.ok(err)
		k, key := f.fixture.key(user("alice"), account.NewKey{Narrowing: narrowing})
		narrowed := session(f.do(get("offline_token=true", "alice:"+key)))
		f.alive("session", f.raw(f.header(""), f.payload(`"method":"password"`, `"method":"session","sid":"`+own+`"`)))
		f.alive("session of a key", f.raw(f.header(""), f.payload(`"method":"password"`, `"method":"session","key":"`+k.ID+`","sid":"`+narrowed+`"`)))
		for _, tt := range []struct{ name, from, to string }{
			{"T-09 iss absent", `"iss":"` + issuer + `",`, ``},
			{"T-09 iss with a slash", `"iss":"` + issuer, `"iss":"` + issuer + `/`},
			{"T-09 iss in capitals", `"iss":"` + issuer, `"iss":"` + strings.ToUpper(issuer)},
			{"T-09 iss empty", `"iss":"` + issuer, `"iss":"`},
			{"T-13 aud of another", `"aud":"` + service, `"aud":"other`},
			{"T-13 aud a list", `"aud":"` + service + `"`, `"aud":["` + service + `"]`},
			{"T-13 aud absent", `"aud":"` + service + `",`, ``},
			{"T-10 exp absent", `"exp":1777864021,`, ``},
			{"T-10 exp 0", `"exp":1777864021`, `"exp":0`},
			{"T-10 exp -1", `"exp":1777864021`, `"exp":-1`},
			{"T-10 exp a text", `"exp":1777864021`, `"exp":"9999999999"`},
			{"T-10 exp 1e300", `"exp":1777864021`, `"exp":1e300`},
			{"T-10 exp 2^63", `"exp":1777864021`, `"exp":9223372036854775808`},
			{"T-10 exp 2^63-1", `"exp":1777864021`, `"exp":9223372036854775807`},
			{"T-10 exp in years", `"exp":1777864021`, `"exp":1977864021`},
			{"T-10 exp null", `"exp":1777864021`, `"exp":null`},
			{"T-10 exp a fraction", `"exp":1777864021`, `"exp":1777864021.5`},
			{"T-10 exp as float", `"exp":1777864021`, `"exp":1777864021.0`},
			{"T-10 iat absent", `"iat":1777863721,`, ``},
			{"T-10 iat 0", `"iat":1777863721`, `"iat":0`},
			{"T-10 nbf absent", `"nbf":1777863721,`, ``},
			{"T-10 nbf later", `"nbf":1777863721`, `"nbf":1777863722`},
			{"T-10 nbf sooner", `"nbf":1777863721`, `"nbf":1777863720`},
			{"T-29 a name without an account", `"uid":"` + uid + `","method":"password"`, `"uid":""`},
			{"T-29 a name alone", `,"uid":"` + uid + `","method":"password"`, ``},
			{"I-19 another password", `"method":"password"`, `"method":"password","pwset":1`},
			{"a password before 1970", `"method":"password"`, `"method":"password","pwset":-1`},
			{"a password set at 0", `"method":"password"`, `"method":"password","pwset":0`},
			{"a key with a password", `"method":"password"`, `"method":"key","key":"` + k.ID + `","pwset":1`},
			{"session of another", `"method":"password"`, `"method":"session","sid":"` + bobs + `"`},
			{"S-36 session of a narrowed key without the key", `"method":"password"`, `"method":"session","sid":"` + narrowed + `"`},
			{"session with a key it was not begun with", `"method":"password"`, `"method":"session","key":"` + k.ID + `","sid":"` + own + `"`},
			{"jti absent", `"jti":"` + f.good["jti"].(string) + `",`, ``},
			{"jti empty", `"jti":"` + f.good["jti"].(string), `"jti":"`},
			{"T-17 sub twice", `"sub":"user:alice"`, `"sub":"user:mallory","sub":"user:alice"`},
			{"T-17 sub twice, the other way", `"sub":"user:alice"`, `"sub":"user:alice","sub":"user:mallory"`},
			{"T-17 aud twice", `"aud":"` + service + `"`, `"aud":"other","aud":"` + service + `"`},
			{"T-17 access twice", `"access":`, `"access":[],"access":`},
			{"T-17 sub escaped", `"sub":"user:alice"`, `"\u0073ub":"user:alice"`},
			{"T-17 alice escaped", `"sub":"user:alice"`, `"sub":"user:\u0061lice"`},
			{"T-17 inside access", `"actions":["pull","push"]`, `"actions":["pull"],"actions":["pull","push"]`},
			{"T-18 SUB", `"sub":"user:alice"`, `"SUB":"user:alice"`},
			{"T-18 SUB beside", `"sub":"user:alice"`, `"SUB":"user:alice","sub":"user:alice"`},
			{"T-18 ſub", `"sub":"user:alice"`, `"ſub":"user:alice"`},
			{"T-18 Access beside", `"access":`, `"Access":[],"access":`},
			{"T-18 AUD", `"aud"`, `"AUD"`},
			{"T-18 one more claim", `"iss"`, `"admin":true,"iss"`},
			{"access null", `"access":[{"type":"repository","name":"team-a/app","actions":["pull","push"]}]`, `"access":null`},
			{"access a text", `"access":[{"type":"repository","name":"team-a/app","actions":["pull","push"]}]`, `"access":"*"`},
			{"T-29 sub empty", `"sub":"user:alice"`, `"sub":""`},
			{"T-29 sub null", `"sub":"user:alice"`, `"sub":null`},
			{"T-29 sub a space", `"sub":"user:alice"`, `"sub":" "`},
			{"T-29 sub absent", `"sub":"user:alice",`, ``},
			{"T-29 sub 0", `"sub":"user:alice"`, `"sub":0`},
			{"T-29 sub anonymous", `"sub":"user:alice"`, `"sub":"anonymous"`},
			{"T-29 sub system", `"sub":"user:alice"`, `"sub":"system"`},
			{"T-29 sub of another", `"sub":"user:alice"`, `"sub":"user:bob"`},
			{"T-29 sub of another kind", `"sub":"user:alice"`, `"sub":"robot:alice"`},
			{"T-29 uid absent", `"uid":"` + uid + `",`, ``},
			{"T-29 uid unknown", `"uid":"` + uid, `"uid":"x` + uid},
			{"method absent", `,"method":"password"`, ``},
			{"key of nobody", `"method":"password"`, `"method":"key","key":"nosuchkey"`},
			{"session of nobody", `"method":"password"`, `"method":"session","sid":"nosuchsession"`},
			{"trailing data", `"method":"password"}`, `"method":"password"} `},
			{"two values", `"method":"password"}`, `"method":"password"}{}`},
			{"leading space", `{"iss"`, ` {"iss"`},
			{"another order", `"iss":"` + issuer + `","aud":"` + service + `"`, `"aud":"` + service + `","iss":"` + issuer + `"`},
		} {
			f.dead(tt.name, f.raw(f.header(""), f.payload(tt.from, tt.to)))
		}
		for _, payload := range []string{"", "null", "[]", "{}", "1", `"x"`, strings.Repeat("[", 3000)} {
			f.dead("payload "+payload[:min(len(payload), 5)], f.raw(f.header(""), payload))
		}
		anonymous := f.access("", "repository:public/x:pull")
		if au := f.alive("anonymous", anonymous); !au.Identity.Principal.IsAnonymous() || au.Check(access.Pull, "public/x") != nil {
			t.Errorf("anonymous: %+v", au)
		}
		f.text = anonymous
		f.dead("T-29 anonymous with a session", f.raw(f.header(""), f.payload(`}]}`, `}],"sid":"x"}`)))
		f.dead("T-29 anonymous with a method", f.raw(f.header(""), f.payload(`}]}`, `}],"method":"password"}`)))
	})
}

// Law: a token with any byte changed, added or taken away does not verify.
func FuzzChangedToken(f *testing.F) {
	fx := fuzzFixture(f)
	good := fx.access("alice:"+password("alice"), "repository:team-a/app:pull,push")
	for i := range len(good) {
		f.Add(i, good[i]^1, false)
	}
	f.Add(len(good), byte('A'), true)
	f.Fuzz(func(t *testing.T, at int, b byte, insert bool) {
		if at < 0 || at > len(good) || !insert && (at == len(good) || good[at] == b) {
			return
		}
		changed := good[:at] + string([]byte{b}) + good[at:]
		if !insert {
			changed = good[:at] + string([]byte{b}) + good[at+1:]
		}
		if _, err := fx.s.Authorize(t.Context(), changed); !errors.Is(err, access.ErrInvalidToken) {
			t.Errorf("byte %d as %q: %v", at, b, err)
		}
		if _, err := fx.s.Authorize(t.Context(), good); err != nil {
			t.Errorf("the good token: %v", err)
		}
	})
}

// Law: of all texts only ours verify.
func FuzzBearer(f *testing.F) {
	fx := fuzzFixture(f)
	good := fx.access("alice:"+password("alice"), "")
	for _, s := range []string{"x", "a.b.c", good + ".", "." + good, strings.ToLower(good), good + good} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := fx.s.Authorize(t.Context(), s)
		if s != "" && s != good && !errors.Is(err, access.ErrInvalidToken) {
			t.Errorf("%q: %v", s, err)
		}
	})
}
