package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// A pastDecision is what is on record about a request, why the policy of then
// decided so, and what the policy says to the same request now, where they can be
// asked.
type pastDecision struct {
	Event client.AuditEvent   `json:"event"`
	Then  *client.Explanation `json:"then,omitempty"`
	Now   *client.Explanation `json:"now,omitempty"`
	// Differs is set when the same would be decided otherwise now.
	Differs bool `json:"differs,omitempty"`
}

// explainRequest explains the decisions that are on record about a request.
func explainRequest(cmd *cobra.Command, c *client.Client, f *format, id string) error {
	page, err := c.Audit(cmd.Context(), client.AuditQuery{Request: id, Oldest: true})
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	if len(page.Items) == 0 {
		return hintedError{fmt.Errorf("nothing is on record about request %s", id),
			"the id is what the error named; a challenge to log in leaves no event, and where a network sends many requests that prove nothing they are counted: sallyport audit --denied"}
	}
	past := []pastDecision{}
	for _, e := range page.Items {
		p := pastDecision{Event: e}
		if q, ok := againAsked(e.Event); ok {
			if p.Now, err = explainAgain(cmd, c, q); err != nil {
				return err
			}
			p.Differs = p.Now != nil && p.Now.Allowed != (e.Decision == ledger.Allowed)
			if q.PolicyVersion = e.PolicyVersion; q.PolicyVersion != 0 {
				q.Key, q.Groups, q.Method = "", e.Groups, e.Method
				if p.Then, err = explainAgain(cmd, c, q); err != nil {
					return err
				}
			}
		}
		past = append(past, p)
	}
	if f.data() {
		return f.write(cmd, past, nil)
	}
	w := &explanationWriter{to: cmd.OutOrStdout()}
	for _, p := range past {
		w.past(p)
	}
	return w.err
}

// explainAgain asks what may be gone: the account, its key, that version of the
// policy. Then the answer is nil.
func explainAgain(cmd *cobra.Command, c *client.Client, q client.Question) (*client.Explanation, error) {
	x, err := c.Explain(cmd.Context(), q)
	if problem, refused := errors.AsType[*client.Problem](err); refused && problem.Status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	return &x, nil
}

// againAsked returns the question of an event that the policy decided.
func againAsked(e ledger.Event) (client.Question, bool) {
	action := cmp.Or(e.Detail["needs"], e.Action)
	switch {
	case e.Decision != ledger.Allowed:
	case e.Kind == ledger.Pull:
		action = string(access.Pull)
	case e.Kind == ledger.Delete:
		action = string(access.Delete)
	}
	q := client.Question{
		Principal: e.Principal, Claims: e.Claims, Action: action, Repository: cmp.Or(e.Repository, e.Detail["over"]), Tag: e.Tag,
		Address: e.Address, TLS: e.TLS, Time: &e.Time,
	}
	if e.Method == "key" {
		q.Key = e.Credential
	}
	refused := e.Detail["needs"] != "" && (e.Reason == ledger.ByPolicy || e.Reason == ledger.ByNarrowing)
	return q, refused || e.Repository != "" && e.Decision == ledger.Allowed
}

func (w *explanationWriter) past(p pastDecision) {
	e := p.Event
	what := strings.TrimSpace(e.Action + " " + cmp.Or(e.Repository, e.Object))
	if e.Tag != "" {
		what += ":" + e.Tag
	}
	w.line("%s %s: %s, %s", e.Time.UTC().Format("2006-01-02 15:04:05Z"), strings.ToUpper(string(e.Decision)), e.Principal, what)
	for _, fact := range []struct{ name, value string }{
		{"because of", e.Reason}, {"needed", e.Detail["needs"]}, {"rule", e.Rule}, {"groups then", strings.Join(e.Groups, ", ")},
		{"proven by", strings.TrimSpace(e.Method + " " + e.Credential)}, {"from", strings.TrimSpace(e.Address + " " + e.UserAgent)},
	} {
		if fact.value != "" {
			w.line("  %s: %s", fact.name, fact.value)
		}
	}
	q := client.Question{Repository: cmp.Or(e.Repository, e.Detail["over"]), Tag: e.Tag}
	if p.Then != nil {
		w.line("then, by policy version %d:", p.Then.PolicyVersion)
		w.explain(q, *p.Then)
	}
	if p.Now == nil {
		return
	}
	version := fmt.Sprintf("policy version %d", p.Now.PolicyVersion)
	if p.Now.PolicyVersion == e.PolicyVersion {
		version = "the same version of the policy"
	}
	if p.Then != nil && !p.Differs {
		w.line("now, by %s: decided alike", version)
		return
	}
	difference := ""
	if p.Differs {
		difference = ", decided otherwise"
	}
	w.line("now, by %s%s:", version, difference)
	w.explain(q, *p.Now)
}
