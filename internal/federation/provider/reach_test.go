package provider_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/federation/provider/providertest"
)

// trap counts who connects to an address of this machine.
func trap(t *testing.T, address string) (string, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var seen atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			seen.Add(1)
			c.Close()
		}
	}()
	return l.Addr().String(), &seen
}

// TestReach: H-12, what a provider says of itself leads to no address that its
// configuration does not allow, nor to any without TLS.
func TestReach(t *testing.T) {
	plain, onPlain := trap(t, "127.0.0.1") // which is allowed
	inside, onInside := trap(t, "127.0.0.2")
	redirect := httptest.NewTLSServer(http.RedirectHandler("https://"+inside+"/", http.StatusTemporaryRedirect))
	defer redirect.Close()
	for _, to := range []string{
		"http://" + plain + "/", "https://" + inside + "/", "https://" + strings.Replace(inside, "127.0.0.2", "[::ffff:127.0.0.2]", 1) + "/",
		redirect.URL + "/", "https://169.254.169.254/", "https://[fd00::1]/", "https://[::1]/", "https://100.64.0.1/", "https://0.0.0.0/", "https://user@idp.test/", "ftp://idp.test/", "/",
	} {
		for _, name := range []string{"token_endpoint", "jwks_uri", "userinfo_endpoint"} {
			op := providertest.New(t)
			op.Metadata, op.UserInfo = map[string]any{name: to}, map[string]any{"sub": "s1"}
			p := newProvider(t, op, nil)
			authorize, attempt, err := p.Begin(t.Context(), false)
			if err == nil {
				_, err = p.Finish(t.Context(), attempt, op.Authorize(authorize))
			}
			if err == nil {
				t.Errorf("%s may be %s", name, to)
			}
			if n, m := onPlain.Load(), onInside.Load(); n > 0 || m > 0 {
				t.Fatalf("%s %s was asked: %d, %d", name, to, n, m)
			}
		}
	}
	for _, to := range []string{"http://idp.test/authorize", "javascript:alert(1)", "https://user@idp.test/", "", "//idp.test/"} {
		op := providertest.New(t)
		op.Metadata = map[string]any{"authorization_endpoint": to}
		if at, _, err := newProvider(t, op, nil).Begin(t.Context(), false); err == nil {
			t.Errorf("people are sent to %s", at)
		}
	}
	op := providertest.New(t)
	for _, issuer := range []any{"https://evil.test", op.Issuer() + "/", nil, 1} {
		op.Do(func(op *providertest.Provider) { op.Metadata = map[string]any{"issuer": issuer} })
		if _, _, err := newProvider(t, op, nil).Begin(t.Context(), false); err == nil {
			t.Errorf("it may call itself %v", issuer)
		}
	}
}

// TestLongAnswer: what a provider says is bounded.
func TestLongAnswer(t *testing.T) {
	op := providertest.New(t)
	op.Metadata = map[string]any{"x": strings.Repeat("x", 1<<20)}
	if _, _, err := newProvider(t, op, nil).Begin(t.Context(), false); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long answer: %v", err)
	}
}
