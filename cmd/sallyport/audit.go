package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Check that no event was removed, altered or moved",
		Long: `Recompute the chain of hashes of the audit record and compare it with what is
written. Without FILE the server's whole record is read, which takes the right
read-audit over the whole registry; with FILE, lines that audit -o json or a
sink has written are read, - for standard input.

The end of a file can be cut off, and the whole of a record computed anew, without
a trace in it. Note the number and hash that verify prints somewhere else, and
give them with --through the next time: the record must still go through there.`,
		Example: `  sallyport audit verify
  sallyport audit verify audit.jsonl`,
		Args: arguments(cobra.ArbitraryArgs),
	}
	var through link
	f := addFormat(cmd)
	cmd.Flags().Var(&through, "through", "a number and hash, N:HASH, that the record must go through")
	online := with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return verifyServer(cmd, c, verification{through: through, format: f})
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return online(cmd, args)
		}
		return verifyFiles(cmd, args, verification{through: through, format: f})
	}
	return cmd
}

// A link is a place in the chain, "N:HASH".
type link struct {
	ledger.Link
	given bool
}

func (l *link) String() string { return "" }
func (l *link) Type() string   { return "N:HASH" }

func (l *link) Set(s string) error {
	number, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || l.Hash.UnmarshalText([]byte(hash)) != nil {
		return errors.New("use the number and hash that audit verify has printed")
	}
	l.Seq, l.given = n, true
	return nil
}

// A verification checks events in their order.
type verification struct {
	chain   ledger.Chain
	through link
	format  *format
	passed  bool
	events  int64
}

func (v *verification) add(line []byte) error {
	s, err := ledger.ParseLine(line)
	if err != nil {
		return err
	}
	if err := v.chain.Add(s); err != nil {
		return err
	}
	v.events++
	return v.pass(s.Link())
}

// pass compares a place with the one that the record must go through.
func (v *verification) pass(at ledger.Link) error {
	if !v.through.given || at.Seq != v.through.Seq {
		return nil
	}
	if at.Hash != v.through.Hash {
		return fmt.Errorf("%w: event %d does not have the hash that was noted", ledger.ErrBroken, at.Seq)
	}
	v.passed = true
	return nil
}

// end tells the result, and what to note.
func (v *verification) end(cmd *cobra.Command) error {
	at := v.chain.At()
	if v.through.given && !v.passed {
		return fmt.Errorf("%w: it does not hold event %d, whose hash was noted", ledger.ErrBroken, v.through.Seq)
	}
	if v.format.data() {
		return v.format.write(cmd, struct {
			Events int64       `json:"events"`
			Last   ledger.Link `json:"last"`
		}{v.events, at}, nil)
	}
	return result(cmd, "%d events, whole; the last is %d:%s", v.events, at.Seq, at.Hash)
}

func verifyServer(cmd *cobra.Command, c *client.Client, v verification) error {
	first, err := c.Audit(cmd.Context(), client.AuditQuery{Oldest: true, Limit: 1})
	if err != nil {
		return err
	}
	if first.Anchor == nil || first.Head == nil {
		return hintedError{errors.New("the whole record is needed, and part of it is not for you"), "ask for the right read-audit over the whole registry"}
	}
	anchor, err := first.Anchor.Link()
	if err != nil {
		return err
	}
	head, err := first.Head.Link()
	if err != nil {
		return err
	}
	v.chain = ledger.From(anchor)
	if err := v.pass(anchor); err != nil {
		return err
	}
	q := client.AuditQuery{Oldest: true, After: anchor.Seq}
	for v.chain.At().Seq < head.Seq {
		page, err := c.Audit(cmd.Context(), q)
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			line, err := json.Marshal(e)
			if err == nil {
				err = v.add(line)
			}
			if err != nil {
				return err
			}
			if e.Seq == head.Seq && v.chain.At() != head {
				return fmt.Errorf("%w: event %d does not have the hash of the end", ledger.ErrBroken, e.Seq)
			}
		}
		if page.Next == "" {
			break
		}
		if q.After, err = strconv.ParseInt(page.Next, 10, 64); err != nil {
			return fmt.Errorf("the server's answer: %w", err)
		}
	}
	if at := v.chain.At(); at.Seq < head.Seq {
		return v.chain.EndsAt(head)
	}
	return v.end(cmd)
}

func verifyFiles(cmd *cobra.Command, paths []string, v verification) error {
	for _, path := range paths {
		in := cmd.InOrStdin()
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		if err := v.addLines(in); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if v.events == 0 {
		return errors.New("there is no event to verify")
	}
	return v.end(cmd)
}

// addLines reads a line for each event. The last one is whole too.
func (v *verification) addLines(in io.Reader) error {
	r := bufio.NewReaderSize(in, ledger.MaxLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the last line is cut off", ledger.ErrBroken)
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%w: a line is longer than any event", ledger.ErrBroken)
		case err != nil:
			return err
		}
		if err := v.add(bytes.TrimSuffix(line, []byte{'\n'})); err != nil {
			return err
		}
	}
}
