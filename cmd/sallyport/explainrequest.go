package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// A pastDecision is what is on record about a request, and what the policy says
// to the same request now, where it can be asked again.
type pastDecision struct {
	Event client.AuditEvent   `json:"event"`
	Now   *client.Explanation `json:"now,omitempty"`
}

// explainRequest explains the decisions that are on record about a request.
func explainRequest(cmd *cobra.Command, c *client.Client, f *format, id string) error {
	page, err := c.Audit(cmd.Context(), client.AuditQuery{Request: id, Oldest: true})
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	if len(page.Items) == 0 {
		return hintedError{fmt.Errorf("nothing is on record about request %s", id),
			"the id is what the error named; a challenge to log in leaves no event"}
	}
	past := []pastDecision{}
	for _, e := range page.Items {
		p := pastDecision{Event: e}
		if q, ok := againAsked(e.Event); ok {
			x, err := c.Explain(cmd.Context(), q)
			if problem, refused := errors.AsType[*client.Problem](err); err != nil && !(refused && problem.Status == 404) {
				return fmt.Errorf("explain: %w", err)
			}
			if err == nil {
				p.Now = &x
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

// againAsked returns the question of an event that the policy decided.
func againAsked(e ledger.Event) (client.Question, bool) {
	action := cmp.Or(e.Detail["needs"], e.Action)
	if e.Decision == ledger.Allowed && e.Kind == ledger.Pull {
		action = string(access.Pull)
	}
	q := client.Question{
		Principal: e.Principal, Claims: e.Claims, Action: action, Repository: e.Repository, Tag: e.Tag,
		Address: e.Address, TLS: e.TLS, Time: &e.Time,
	}
	if e.Method == "key" {
		q.Key = e.Credential
	}
	return q, e.Repository != "" && (e.Decision == ledger.Allowed || e.Reason == ledger.ByPolicy || e.Reason == ledger.ByNarrowing)
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
	if p.Now != nil {
		w.line("the same now:")
		w.explain(client.Question{Repository: e.Repository, Tag: e.Tag}, *p.Now)
	}
}
