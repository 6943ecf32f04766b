package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

// followEvery is the time between two questions of audit --follow.
const followEvery = time.Second

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show what happened: logins, tokens, pulls, pushes, refusals, changes",
		Long: `Show events of the audit record, the newest last. It takes the right
read-audit: over the whole registry, or over a part of the tree of names, whose
events are shown then.

With -o json each event is a line, in the form that audit verify checks.`,
		Example: `  sallyport audit --since 1h
  sallyport audit --who user:alice --what push
  sallyport audit --where 'team/**' --denied --follow
  sallyport audit --request REQUEST-ID -o json`,
		Args: arguments(cobra.NoArgs),
	}
	var q client.AuditQuery
	var since moment
	flags := cmd.Flags()
	flags.StringVar(&q.Who, "who", "", "events of this principal, such as user:alice, robot:ci, anonymous or system")
	flags.StringVar(&q.What, "what", "", "events of this kind, such as login, pull, push, account, key or policy")
	flags.StringVar(&q.Where, "where", "", "events of this repository, or with /** at its end of all below it too")
	flags.StringVar(&q.Request, "request", "", "events of the request with this id")
	flags.Var(&since, "since", "events since then: a duration before now, such as 90m or 7d, or a time such as 2026-11-25T08:00:00Z")
	flags.BoolVar(&q.Denied, "denied", false, "only what was denied or failed")
	count := flags.IntP("lines", "n", 100, "how many events at most; 0 is all of them")
	follow := flags.BoolP("follow", "f", false, "go on showing events as they happen")
	f := addFormat(cmd)
	cmd.RunE = with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		if *count < 0 {
			return usage(cmd, errors.New("-n is less than 0"))
		}
		q.Since = since.at(time.Now())
		return showAudit(cmd, c, q, *count, *follow, f)
	})
	cmd.AddCommand(newAuditVerify())
	return cmd
}

// A moment is a time, given as such or as a duration before now.
type moment struct {
	text string
	ago  time.Duration
	time time.Time
}

func (m *moment) String() string { return m.text }
func (m *moment) Type() string   { return "time" }

func (m *moment) Set(s string) error {
	m.text = s
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		m.time = at
		return nil
	}
	var ago life
	if err := ago.Set(s); err != nil {
		return errors.New("use a duration such as 90m or 7d, or a time such as 2026-11-25T08:00:00Z")
	}
	m.ago = time.Duration(ago)
	return nil
}

// at returns the time, zero if none was given.
func (m *moment) at(now time.Time) time.Time {
	if m.ago > 0 {
		return now.Add(-m.ago)
	}
	return m.time
}

// showAudit writes the last events that q asks for, and follows.
func showAudit(cmd *cobra.Command, c *client.Client, q client.AuditQuery, count int, follow bool, f *format) error {
	newest, err := newestEvents(cmd, c, q, count)
	if err != nil {
		return err
	}
	if err := writeEvents(cmd, newest, f, true); err != nil || !follow {
		return err
	}
	q.Oldest = true
	if len(newest) > 0 {
		q.After = newest[len(newest)-1].Seq
	}
	for {
		page, err := c.Audit(cmd.Context(), q)
		if err != nil {
			return err
		}
		if err := writeEvents(cmd, page.Items, f, false); err != nil {
			return err
		}
		if len(page.Items) > 0 {
			q.After = max(q.After, page.Items[len(page.Items)-1].Seq)
		}
		q.After = max(q.After, page.Through)
		if page.Next != "" {
			if q.After, err = strconv.ParseInt(page.Next, 10, 64); err != nil {
				return fmt.Errorf("the server's answer: %w", err)
			}
			continue
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// newestEvents returns the last count events, all of them for 0, in the order
// in which they happened.
func newestEvents(cmd *cobra.Command, c *client.Client, q client.AuditQuery, count int) ([]client.AuditEvent, error) {
	var events []client.AuditEvent
	for {
		if count > 0 {
			q.Limit = min(count-len(events), 1000)
		}
		page, err := c.Audit(cmd.Context(), q)
		if err != nil {
			return nil, err
		}
		events = append(events, page.Items...)
		if page.Next == "" || count > 0 && len(events) >= count {
			slices.Reverse(events)
			return events, nil
		}
		q.Before = page.Next
	}
}

// writeEvents writes events as lines of JSON, or as a table with its head.
func writeEvents(cmd *cobra.Command, events []client.AuditEvent, f *format, head bool) error {
	if *f == jsonFormat {
		for _, e := range events {
			line, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := ledger.ParseLine(line); err != nil {
				line = client.PrintableJSON(line) // no server of ours wrote it
			}
			if err := result(cmd, "%s", line); err != nil {
				return err
			}
		}
		return nil
	}
	if f.data() && len(events) > 0 {
		return f.write(cmd, events, nil)
	}
	t := &table{head: []string{"TIME", "WHO", "WHAT", "DECISION", "ON", "FROM", "REQUEST"}}
	for _, e := range events {
		decision := string(e.Decision)
		if e.Reason != "" {
			decision += " (" + e.Reason + ")"
		}
		if n := e.Detail["count"]; n != "" {
			decision += " ×" + n
		}
		t.add(e.Time.UTC().Format("2006-01-02 15:04:05Z"), e.Principal, string(e.Kind)+" "+e.Action, decision, place(&e.Event), e.Address, e.RequestID)
	}
	if head && !f.data() {
		return f.write(cmd, nil, t)
	}
	for _, row := range t.rows {
		if err := result(cmd, "%s", client.Printable(strings.Join(row, "  "))); err != nil {
			return err
		}
	}
	return nil
}

// place says what an event was done to.
func place(e *ledger.Event) string {
	switch {
	case e.Repository == "":
		return e.Object
	case e.Tag != "":
		return e.Repository + ":" + e.Tag
	case e.Digest != "":
		return e.Repository + "@" + e.Digest[:min(len(e.Digest), 19)]
	}
	return e.Repository
}
