package issuer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/issuer"
)

const serviceAccount = "system:serviceaccount:my-namespace:my-serviceaccount"

// An apiServer answers TokenReviews as a kube-apiserver does.
type apiServer struct {
	*provider
	mu     sync.Mutex
	status map[string]any // of the answer
	asked  int
}

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{provider: newProvider(t)}
	a.say(map[string]any{"authenticated": true, "audiences": []string{audience}, "user": map[string]any{"username": serviceAccount}})
	a.do(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			return false
		}
		var review struct {
			APIVersion, Kind string
			Spec             struct {
				Token     string
				Audiences []string
			}
		}
		err := json.NewDecoder(r.Body).Decode(&review)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked++
		switch {
		case err != nil || review.APIVersion != "authentication.k8s.io/v1" || review.Kind != "TokenReview" || review.Spec.Token == "" || !slices.Equal(review.Spec.Audiences, []string{audience}) || r.Method != http.MethodPost:
			t.Errorf("asked with %+v, %v", review, err)
			w.WriteHeader(http.StatusBadRequest)
		case r.Header.Get("Authorization") != "Bearer ours":
			w.WriteHeader(http.StatusForbidden)
		case a.status == nil:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusCreated)
			json.NewEncoder(w).Encode(map[string]any{"kind": "TokenReview", "status": a.status})
		}
		return true
	})
	return a
}

func (a *apiServer) say(status map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

func (a *apiServer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// reviewed is the preset for a cluster with a review of each token.
func (a *apiServer) reviewed(t *testing.T, bearer string) issuer.Definition {
	dir := t.TempDir()
	for name, text := range map[string]string{"token": bearer + "\n", "ca.crt": a.ca()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := readFixture(t, "kubernetes").definition(t, "kubernetes", presetCase{})
	d.TokenReview = &issuer.TokenReview{URL: a.server.URL, CertificateAuthorityFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}
	d.AllowPrivateAddresses = []string{"127.0.0.1"}
	return d
}

// TestReview: the rights of a pod that is deleted end 90 s later at most; an answer
// is asked for once in 30 s; there is no identity token (F-25).
func TestReview(t *testing.T) {
	a := newAPIServer(t)
	r := newRoom(t, a.reviewed(t, "ours"))
	f := readFixture(t, "kubernetes")
	token := f.token(t, presetCase{Life: "10m"})
	for _, at := range []time.Duration{0, 29 * time.Second} {
		r.clock.forward(at)
		id := r.accepts(token, serviceAccount)
		if id.SessionLife != 0 || !id.Expires.Equal(start.Add(90*time.Second)) {
			t.Errorf("after %s: until %s, sessions of %s", at, id.Expires, id.SessionLife)
		}
	}
	if a.count() != 1 {
		t.Errorf("asked %d times in 30 s", a.count())
	}
	a.say(map[string]any{"authenticated": false, "error": "pod is gone"})
	r.clock.forward(time.Second)
	r.refuses(token, "the API server does not accept it")
	r.refuses(token, "the API server does not accept it")
	if a.count() != 2 {
		t.Errorf("asked %d times", a.count())
	}
	if id, err := newRoom(t, a.reviewed(t, "ours")).ask(f.token(t, presetCase{Change: map[string]any{"sub": "x"}})); err == nil || a.count() != 2 {
		t.Errorf("a token that the rules refuse was shown to the API server: %v", id)
	}
}

// TestReviewEndsWithTheToken: not later than it.
func TestReviewEndsWithTheToken(t *testing.T) {
	a := newAPIServer(t)
	id := newRoom(t, a.reviewed(t, "ours")).accepts(readFixture(t, "kubernetes").token(t, presetCase{Life: "1m"}), serviceAccount)
	if !id.Expires.Equal(start.Add(time.Minute)) {
		t.Errorf("until %s", id.Expires)
	}
}

// TestReviewAnswers: only a yes for our audience and for this account is one; no
// answer is no, soon, and not kept.
func TestReviewAnswers(t *testing.T) {
	user := map[string]any{"username": serviceAccount}
	for _, c := range []struct {
		name   string
		bearer string
		status map[string]any
		busy   bool
		why    string
	}{
		{"no audience", "ours", map[string]any{"authenticated": true, "user": user}, false, "not for our audience"},
		{"another audience", "ours", map[string]any{"authenticated": true, "audiences": []string{"x"}, "user": user}, false, "not for our audience"},
		{"no user", "ours", map[string]any{"authenticated": true, "audiences": []string{audience}}, false, "not authenticated"},
		{"another user", "ours", map[string]any{"authenticated": true, "audiences": []string{audience}, "user": map[string]any{"username": "system:admin"}}, false, "somebody else"},
		{"a yes that is a text", "ours", map[string]any{"authenticated": "true", "audiences": []string{audience}, "user": user}, true, ""},
		{"an error", "ours", nil, true, ""},
		{"we may not ask", "theirs", map[string]any{"authenticated": true, "audiences": []string{audience}, "user": user}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPIServer(t)
			a.say(c.status)
			r, token := newRoom(t, a.reviewed(t, c.bearer)), readFixture(t, "kubernetes").token(t, presetCase{})
			if !c.busy {
				r.refuses(token, c.why)
				return
			}
			for range 3 {
				if _, err := r.ask(token); !errors.Is(err, access.ErrBusy) || errors.Is(err, access.ErrBadCredential) {
					t.Fatalf("%v", err)
				}
			}
			if a.count() != 1 {
				t.Errorf("asked %d times at once after no answer", a.count())
			}
			report, err := r.set.Check(t.Context(), "it")
			if err != nil || report.Ok() || !strings.Contains(fmt.Sprint(report.Findings), "token review") {
				t.Errorf("report %+v, %v", report, err)
			}
			if trial, err := r.set.Test(t.Context(), access.NewSecret(token)); err != nil || trial.Refused == "" || trial.Cure == "" {
				t.Errorf("trial %+v, %v", trial, err)
			}
			a.say(map[string]any{"authenticated": true, "audiences": []string{audience}, "user": user})
			if c.bearer != "ours" {
				return
			}
			r.clock.forward(5 * time.Second)
			r.accepts(token, serviceAccount)
			if report, err := r.set.Check(t.Context(), "it"); err != nil || !report.Ok() {
				t.Errorf("report %+v, %v", report, err)
			}
		})
	}
}
