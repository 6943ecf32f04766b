package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/outbound"
)

// How an API server is asked about tokens (F-25).
const (
	reviewFor  = 30 * time.Second // an answer counts
	reviewEnds = 90 * time.Second // from the question: what comes of a token lives no longer
	reviewWait = 5 * time.Second
	reviewRest = 5 * time.Second // after no answer
	maxReviews = 64              // under way
	reviewPath = "/apis/authentication.k8s.io/v1/tokenreviews"
)

// reviews asks an API server whether tokens still count: it knows of the pod, the
// node and the account that they are bound to. No answer is no.
type reviews struct {
	review    TokenReview
	audiences []string
	line      *line
	run       func(func(ctx context.Context)) bool
	now       func() time.Time

	answers *otter.Cache[[sha256.Size]byte, answer]
	mu      sync.Mutex
	flights map[[sha256.Size]byte]*flight
	rest    time.Time // nobody is asked before
	problem error     // why
}

// An answer is what the API server said of a token.
type answer struct {
	asked  time.Time
	name   string // whose it is; "": it does not count
	reason string
}

// A flight is a question under way.
type flight struct {
	done   chan struct{}
	answer answer
	err    error
}

func newReviews(whole Definition, run func(func(ctx context.Context)) bool, now func() time.Time) *reviews {
	r := *whole.TokenReview
	return &reviews{
		review: r, audiences: whole.Issuer.Audiences, run: run, now: now,
		line:    &line{file: r.CertificateAuthorityFile, allow: whole.AllowPrivateAddresses},
		answers: otter.Must(&otter.Options[[sha256.Size]byte, answer]{MaximumSize: maxRemembered}),
		flights: map[[sha256.Size]byte]*flight{},
	}
}

// confirm returns when what comes of the token has to end. sub is whose it is.
// Errors: a refusal; access.ErrBusy when there was no answer.
func (r *reviews) confirm(ctx context.Context, secret access.Secret, sub string) (time.Time, error) {
	sum := secret.Sum()
	a, ok := r.answers.GetIfPresent(sum)
	if age := r.now().Sub(a.asked); !ok || age < 0 || age >= reviewFor {
		var err error
		if a, err = r.ask(ctx, sum, secret); err != nil {
			return time.Time{}, fmt.Errorf("%w: token review: %w", access.ErrBusy, err)
		}
	}
	switch {
	case a.name == "":
		return time.Time{}, refuse("see that the pod and the service account exist, and that the API server has the audience", "the API server does not accept it: %s", a.reason)
	case a.name != sub:
		return time.Time{}, refuse("", "for the API server it is somebody else's")
	}
	return a.asked.Add(reviewEnds), nil
}

// ask asks once for all who want to know the same.
func (r *reviews) ask(ctx context.Context, sum [sha256.Size]byte, secret access.Secret) (answer, error) {
	r.mu.Lock()
	f := r.flights[sum]
	if f == nil {
		switch {
		case r.now().Before(r.rest):
			defer r.mu.Unlock()
			return answer{}, r.problem
		case len(r.flights) >= maxReviews:
			defer r.mu.Unlock()
			return answer{}, errors.New("too many are under way")
		}
		f = &flight{done: make(chan struct{})}
		if !r.run(func(ctx context.Context) { r.fly(ctx, f, sum, secret) }) {
			defer r.mu.Unlock()
			return answer{}, errClosed
		}
		r.flights[sum] = f
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

func (r *reviews) fly(ctx context.Context, f *flight, sum [sha256.Size]byte, secret access.Secret) {
	defer close(f.done)
	ctx, cancel := context.WithTimeout(ctx, reviewWait)
	defer cancel()
	asked := r.now()
	f.answer, f.err = r.post(ctx, secret.Reveal())
	f.answer.asked = asked
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, sum)
	if f.err != nil {
		r.rest, r.problem = r.now().Add(reviewRest), f.err
		return
	}
	r.answers.Set(sum, f.answer)
}

// post makes a TokenReview (authentication.k8s.io/v1).
func (r *reviews) post(ctx context.Context, token string) (answer, error) {
	client, err := r.line.open()
	if err != nil {
		return answer{}, err
	}
	ours, err := readFile(r.review.TokenFile)
	if err != nil {
		return answer{}, err
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
		"spec": map[string]any{"token": token, "audiences": r.audiences},
	})
	if err != nil {
		return answer{}, err
	}
	header := bearer(ours)
	maps.Copy(header, map[string][]string{"Content-Type": {"application/json"}, "Accept": {"application/json"}})
	data, err := client.Post(ctx, strings.TrimSuffix(r.review.URL, "/")+reviewPath, header, body)
	if status, ok := errors.AsType[outbound.Status](err); ok && (status == 401 || status == 403) {
		return answer{}, refuse("bind the role system:auth-delegator to the service account of tokenReview.tokenFile", "the API server does not let us ask (%d)", int(status))
	}
	if err != nil {
		return answer{}, err
	}
	return r.readAnswer(data)
}

func (r *reviews) readAnswer(data []byte) (answer, error) {
	var review struct {
		Status *struct {
			Authenticated bool     `json:"authenticated"`
			Audiences     []string `json:"audiences"`
			Error         string   `json:"error"`
			User          struct {
				Username string `json:"username"`
			} `json:"user"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &review); err != nil || review.Status == nil {
		return answer{}, refuse("see that tokenReview.url is an API server's", "the answer is no TokenReview")
	}
	s := *review.Status
	switch {
	case !s.Authenticated || s.User.Username == "":
		return answer{reason: "not authenticated"}, nil
	case !slices.ContainsFunc(s.Audiences, func(a string) bool { return slices.Contains(r.audiences, a) }):
		// One that knows no audiences would accept tokens for anything.
		return answer{reason: "not for our audience"}, nil
	}
	return answer{name: s.User.Username}, nil
}

// examine asks about our own token: any answer shows that we may ask.
func (r *reviews) examine(ctx context.Context, report *Report) {
	ours, err := readFile(r.review.TokenFile)
	if err == nil {
		_, err = r.post(ctx, strings.TrimSpace(string(ours)))
	}
	if err != nil {
		report.fail("token review", err)
		return
	}
	report.add("token review", Good, "", "%s answers", r.review.URL)
}
