package token_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

const benchScope = "repository:team-a/app:pull,push"

func benchFixture(b *testing.B) *fixture {
	return newFixture(b, metadatatest.Open(b, metadatatest.SQLite(b), metadata.Options{}))
}

// A request with a token that was seen before.
func BenchmarkAuthorize(b *testing.B) {
	f := benchFixture(b)
	text := f.access("alice:"+password("alice"), benchScope)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.s.Authorize(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

// A request with a token that was not seen before.
func BenchmarkAuthorizeFirst(b *testing.B) {
	f := benchFixture(b)
	var texts []string
	for range 2000 {
		texts = append(texts, f.access("alice:"+password("alice"), benchScope))
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i++; i%len(texts) == 0 {
			b.StopTimer()
			f.s.ForgetVerified()
			b.StartTimer()
		}
		if _, err := f.s.Authorize(b.Context(), texts[i%len(texts)]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchIssue(b *testing.B, f *fixture, request func() *http.Request) {
	h := f.s.Endpoint()
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request().WithContext(b.Context()))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}

func BenchmarkIssueForSession(b *testing.B) {
	f := benchFixture(b)
	form := refreshForm(f.login("alice").RefreshToken, "scope", benchScope)
	benchIssue(b, f, func() *http.Request { return post(form) })
}

func BenchmarkIssueForKey(b *testing.B) {
	f := benchFixture(b)
	_, key := f.key(user("alice"), account.NewKey{})
	query := form("service", service, "scope", benchScope).Encode()
	benchIssue(b, f, func() *http.Request { return get(query, "alice:"+key) })
}

// The floor that the two above are held against: a handler that looks up one
// row, signs with ES256 and writes JSON.
func BenchmarkIssueFloor(b *testing.B) {
	f := benchFixture(b)
	private, _ := f.signingKey()
	key := private.(*ecdsa.PrivateKey)
	sum := access.NewSecret(f.login("alice").RefreshToken).Sum()
	form := refreshForm("x", "scope", benchScope)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			b.Fatal(err)
		}
		session, err := f.db.Tokens().SessionBySum(r.Context(), sum)
		if err != nil {
			b.Fatal(err)
		}
		payload, err := json.Marshal(map[string]any{"sub": session.Owner, "exp": f.clock().Unix() + 300, "scope": r.PostForm.Get("scope")})
		if err != nil {
			b.Fatal(err)
		}
		signed := b64.EncodeToString([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + b64.EncodeToString(payload)
		digest := sha256.Sum256([]byte(signed))
		rr, ss, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		text := signed + "." + b64.EncodeToString(append(rr.FillBytes(make([]byte, 32)), ss.FillBytes(make([]byte, 32))...))
		if err := json.NewEncoder(w).Encode(map[string]any{"token": text, "access_token": text, "expires_in": 300}); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, post(form).WithContext(b.Context()))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
